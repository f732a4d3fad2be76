"""Decodes text in which a secret may be hidden: escapes, invisible characters, encodings, and splits over lines.

A secret in a file may be written as `"\\u0068f_..."` in JSON, as Base64 in a note, or as a token wrapped over two items
of a YAML list. `readings` yields the text and everything it decodes to, so that each pattern of a secret only has to
match the plain form.
"""

from __future__ import annotations

import base64
import binascii
import html
import re
import unicodedata
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

# The text itself and three nested levels of encoding.
_DEPTH = 4
_MAX_UNPACKED = 1 << 20
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\ufe00-\ufe0f\ufeff\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
# Any number of backslashes, because each level of JSON inside JSON doubles them.
_ESCAPE = re.compile(
    r"\\+(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|u\{([0-9a-fA-F]{1,6})\}|x([0-9a-fA-F]{2})|(\r?\n[ \t]*)"
    r"|([nrtbfvaeNLP_])|([\"'/]))|%([0-9a-fA-F]{2})"
)
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}")
_BASE32 = re.compile(r"[A-Z2-7]{24,}={0,6}")
_HEXADECIMAL = re.compile(r"(?:[0-9a-fA-F]{2}[ :,]?){10,}")
_PART = re.compile(r"(?:[A-Za-z0-9_~%]|[./+-](?=[A-Za-z0-9_]))[A-Za-z0-9_./+=~:%-]*")
# Separators between the parts of a split token: line ends, list markers, quotation marks, commas, pluses.
_SEPARATOR = re.compile(r"[\s\"'`,;\[\]()|+\\#>*&-]{1,40}")
_PREFIX = re.compile(r"[A-Za-z0-9]{1,8}[_-]")
_MAX_STARTS = 50
_WORD = re.compile(r"[A-Za-z]?[a-z]*|[A-Z]*|[\d.]*")


@dataclass(frozen=True)
class Reading:
    """A text, or one decoded form of it.

    Attributes:
        text: The text; decoded parts are on separate lines.
        lines: For each line, the line of the original text that it comes from, counted from 1. None if line numbers
            did not change.
    """

    text: str
    lines: tuple[int, ...] | None = None

    def line(self, position: int) -> int:
        """Returns the line of the original text that a position in this reading comes from, counted from 1."""
        row = self.text.count("\n", 0, position)
        return row + 1 if self.lines is None else self.lines[row]


def readings(text: str) -> Iterator[Reading]:
    """Yields a text, then everything it can be decoded to."""
    seen: set[str] = set()
    level = [Reading(text)]
    for _ in range(_DEPTH):
        deeper = []
        for reading in level:
            if reading.text in seen:
                continue
            seen.add(reading.text)
            yield reading
            deeper.append(Reading(unescape(reading.text), reading.lines))
            deeper.append(_decode_parts(reading))
        level = deeper


def _decode_parts(reading: Reading) -> Reading:
    """Decodes and joins the parts of a reading, one per line."""
    found: list[str] = []
    lines: list[int] = []
    row = last = 0
    for position, part in sorted((*_decode_runs(reading.text), *_join_split_tokens(reading.text))):
        row += reading.text.count("\n", last, position)
        last = position
        found.append(part.replace("\n", " "))
        lines.append(row + 1 if reading.lines is None else reading.lines[row])
    # The null character keeps unrelated parts from being joined.
    return Reading("\0\n".join(found), tuple(lines))


def unescape(text: str) -> str:
    """Removes invisible characters and replaces escapes of JSON, YAML, URLs and HTML, without adding lines."""
    if not text.isascii():
        text = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text))
    if "\\" in text or "%" in text:
        text = _ESCAPE.sub(_decode_escape, text)
    if "&" in text:
        text = re.sub(r"&#?\w{1,8};", lambda match: html.unescape(match.group()).replace("\n", " "), text)
    return text


def _decode_escape(match: re.Match[str]) -> str:
    code = next((group for group in match.group(1, 2, 3, 4, 8) if group), None)
    if code is not None:
        number = int(code, 16)
        return chr(number).replace("\n", " ") if number <= 0x10FFFF else ""
    if match.group(5) is not None:  # A backslash at the end of a line joins it to the next one.
        return ""
    return match.group(7) or " "


def _decode_runs(text: str) -> Iterator[tuple[int, str]]:
    """Yields the position and text of each run of Base64, Base32 or hexadecimal digits that decodes to text."""
    for match in _BASE64.finditer(text):
        run = match.group()
        # The characters that join a word to the run may be Base64 digits themselves.
        for part in {run, *re.split(r"[_-]", run), *re.split(r"[+/]", run)}:
            if len(part) >= 16:
                yield from _decode_text(match.start(), _decode_base64(part))
    for match in _BASE32.finditer(text):
        digits = match.group().rstrip("=")
        digits = digits[: len(digits) // 8 * 8 + (0, 0, 2, 2, 4, 5, 5, 7)[len(digits) % 8]]
        try:
            yield from _decode_text(match.start(), base64.b32decode(digits + "=" * (-len(digits) % 8)))
        except binascii.Error:
            continue
    for match in _HEXADECIMAL.finditer(text):
        yield from _decode_text(match.start(), bytes.fromhex(re.sub("[ :,]", "", match.group())))


def _decode_base64(run: str) -> bytes:
    digits = run.rstrip("=").replace("-", "+").replace("_", "/")
    if len(digits) % 4 == 1:
        digits = digits[:-1]
    return base64.b64decode(digits + "=" * (-len(digits) % 4))


def _decode_text(position: int, content: bytes) -> Iterator[tuple[int, str]]:
    """Yields the bytes, decompressed if necessary, as text if nearly all of them are printable."""
    if content[:2] in (b"\x1f\x8b", b"\x78\x01", b"\x78\x9c", b"\x78\xda"):
        try:
            content = zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(content, _MAX_UNPACKED)
        except zlib.error:
            return
    printable = sum(32 <= byte < 127 or byte in b"\t\n\r" for byte in content)
    if content and printable >= 0.9 * len(content):
        yield position, content.decode("latin-1")


def _join_split_tokens(text: str) -> Iterator[tuple[int, str]]:
    """Joins tokens that were split over lines, list items or adjacent strings.

    A part is joined to the part before it only if it looks like a piece of a token: short, or a mix of letters and
    digits or of upper and lower case that is no word.
    """
    chain: list[tuple[int, str]] = []
    end = 0
    for match in _PART.finditer(text):
        part = match.group().strip("-.:=")
        is_piece = bool(part) and (len(part) <= 3 or not _WORD.fullmatch(part))
        if not (chain and is_piece and _SEPARATOR.fullmatch(text[end : match.start()])):
            yield from _suffixes(chain)
            chain = []
        if part:
            chain.append((match.start(), part))
        end = match.end()
    yield from _suffixes(chain)


def _suffixes(chain: list[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Yields the joined parts from each possible start of a token: after leading words, and at prefixes like `hf_`."""
    after_words = True
    starts = 0
    for index, (position, part) in enumerate(chain[:-1]):
        if after_words or (_PREFIX.match(part) and starts < _MAX_STARTS):
            starts += 1
            yield position, "".join(piece for _, piece in chain[index:])
        after_words = after_words and (len(part) <= 3 or _WORD.fullmatch(part) is not None)
