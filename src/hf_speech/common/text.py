"""Functions for untrusted text: Unicode normalization, escaping, and safe output in a terminal."""

from __future__ import annotations

import html
import re
import unicodedata

# C0 and C1 controls, bidirectional overrides, zero-width characters and lone surrogates, but not the joiners and
# direction marks that transcripts in Persian, Hindi, Arabic or Hebrew need.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
# Markdown syntax inside a line. An underscore between letters or a lone ampersand is plain text.
_MARKDOWN = re.compile(r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])|(?<=\])\(|&(?=#?\w+;)")
# Markdown syntax at the beginning of a line: headings, lists and rules.
_BLOCK = re.compile(r"(?:#{1,6}(?=\s|$)|[-+=](?=\s|$)|[-=]{2,}$|(?:-\s*){3,}$|\d+(?=[.)](?:\s|$)))")

_APOSTROPHES = str.maketrans(dict.fromkeys("‘’‛ʼʻʽˈ`´΄", "'"))  # noqa: RUF001 - they are the point


def nfc(name: str) -> str:
    """Returns a name in Unicode's NFC, the form in which names are compared."""
    return unicodedata.normalize("NFC", name)


def plain_apostrophes(text: str) -> str:
    """Replaces all variants of an apostrophe, such as a free-standing accent, with `'`."""
    return text.translate(_APOSTROPHES)


def printable(text: str) -> str:
    """Escapes the characters that control a terminal, except line feeds and tabs.

    Otherwise an escape sequence in a label or file name could clear the screen or change the window title.
    """
    return _UNSAFE.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


def one_line(text: str) -> str:
    """Returns printable text on one line, so that a name cannot imitate a separate line of output."""
    return " ".join(printable(text).split())


def escape_markdown(text: str) -> str:
    """Escapes text for Markdown, on one line. The result is also safe in raw HTML and in a table cell."""
    line = _MARKDOWN.sub(r"\\\g<0>", one_line(text))
    if block := _BLOCK.match(line):
        # To keep a number from starting a list, escape the character after it.
        index = block.end() if block.group()[0].isdigit() else 0
        line = f"{line[:index]}\\{line[index:]}"
    return line.replace("<", "&lt;").replace(">", "&gt;")


def escape_html(text: str) -> str:
    """Escapes text for HTML elements and attributes."""
    return html.escape(printable(text), quote=True)


def spreadsheet_cell(text: str) -> str:
    """Puts an apostrophe before a leading `=`, `+`, `-`, `@` or tab, so that a spreadsheet does not run a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") and not _is_number(text) else text


def plural(count: float, one: str, many: str | None = None) -> str:
    """Returns the form of a noun or a verb for a count: `one` for 1, else `many` (default: `one` with an s)."""
    return one if count == 1 else many or f"{one}s"


def counted(count: int, one: str, many: str | None = None) -> str:
    """Returns a count with its noun, such as "1 recording" or "1,234 recordings"."""
    return f"{count:,} {plural(count, one, many)}"


def column_width(text: str) -> int:
    """Returns the width of text in terminal columns: two for a wide character, none for a combining mark."""
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
