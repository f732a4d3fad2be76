"""Reads text files with one line per utterance, such as lists of transcripts, speakers and recordings.

Byte order marks, UTF-16, Windows line ends and backslashes in paths are supported, since many programs write such
lists. An unreadable list raises an error.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

from hf_speech.common.reading import text_encoding
from hf_speech.common.text import nfc
from hf_speech.errors import CorpusError


def read_text(path: Path) -> str:
    r"""Returns the text of a file with "\n" as the only line end.

    Raises:
        CorpusError: If the file cannot be read, or is not text in UTF-8 (or in UTF-16 or UTF-32 with a byte order
            mark).
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CorpusError(f"{path} cannot be read ({error.strerror or error}): give the complete corpus.") from error
    return decode_text(content, str(path))


def decode_text(content: bytes, name: str) -> str:
    r"""Decodes bytes to text with "\n" as the only line end.

    Args:
        content: Bytes in UTF-8, or in the encoding of their byte order mark.
        name: The name of the text in error messages.

    Raises:
        CorpusError: If the bytes are not text.
    """
    try:
        text = content.decode(text_encoding(content[:4]))
    except UnicodeDecodeError as error:
        raise CorpusError(f"{name} is not readable text ({error}): save it as UTF-8 text.") from error
    if "\0" in text:
        raise CorpusError(
            f"{name} is not readable text (it has null characters, like UTF-16 without a byte order mark): save it as "
            "UTF-8 text."
        )
    # A byte order mark inside the text was the start of an appended file.
    return io.StringIO(text, newline=None).read().replace("\ufeff", "")


def read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yields the lines of a file that are not blank, each after its location for errors ("FILE, line 3,")."""
    # splitlines would also split at characters inside a line, such as a form feed.
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line := line.strip():
            yield f"{path}, line {number},", line


def read_pairs(path: Path) -> dict[str, str]:
    """Reads lines of the form "ID VALUE" as `{id: value}`, with "" for a missing value.

    Ids are normalized to NFC, so that the ids of different files can be compared.
    """
    pairs: dict[str, str] = {}
    for where, line in read_lines(path):
        key, *rest = line.split(maxsplit=1)
        key = nfc(key)
        if key in pairs:
            raise CorpusError(f"{where} repeats {key!r}: remove one of the lines.")
        pairs[key] = rest[0] if rest else ""
    return pairs


def path_key(name: str) -> str:
    r"""Returns a path in a form for comparisons: with "/", without "./", in NFC."""
    parts = [part for part in nfc(name).replace("\\", "/").split("/") if part not in ("", ".")]
    return "/".join(parts)
