"""Untrusted names: compared in one Unicode form, escaped on output, safe in a terminal."""

from __future__ import annotations

import html
import re
import unicodedata

# C0 and C1 controls, bidirectional overrides, zero-width characters, and lone surrogates; not the joiners and direction
# marks that transcripts in Persian, Hindi, Arabic or Hebrew need.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
# Markdown syntax inside a line; an underscore between letters or a lone ampersand is plain text.
_MARKDOWN = re.compile(r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])|(?<=\])\(|&(?=#?\w+;)")
# What has a meaning in Markdown at the beginning of a line: headings, lists, quotations, rules.
_BLOCK = re.compile(r"(?:#{1,6}(?=\s|$)|[-+=](?=\s|$)|[-=]{2,}$|(?:-\s*){3,}$|\d+(?=[.)](?:\s|$)))")

_APOSTROPHES = str.maketrans(dict.fromkeys("‘’‛ʼʻʽˈ`´΄", "'"))  # noqa: RUF001 - they are the point


def same_form(name: str) -> str:
    """A name in the form in which names are compared: Unicode's NFC."""
    return unicodedata.normalize("NFC", name)


def plain_apostrophes(text: str) -> str:
    """Replace whatever is written for an apostrophe, such as an accent without a letter, by `'`."""
    return text.translate(_APOSTROPHES)


def printable(text: str) -> str:
    """Text without characters that control a terminal; line feeds and tabs stay.

    An escape sequence in a label or a file name could otherwise clear the screen or retitle the window.
    """
    return _UNSAFE.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


def one_line(text: str) -> str:
    """Printable text in one line, so that a name cannot pretend to be a line of its own."""
    return " ".join(printable(text).split())


def escape_markdown(text: str) -> str:
    """Text as Markdown that shows it, in one line; also safe as raw HTML in a Markdown file and in a table cell."""
    line = _MARKDOWN.sub(r"\\\g<0>", one_line(text))
    if block := _BLOCK.match(line):
        # A number is kept from beginning a list by escaping the sign after it.
        at = block.end() if block.group()[0].isdigit() else 0
        line = f"{line[:at]}\\{line[at:]}"
    return line.replace("<", "&lt;").replace(">", "&gt;")


def escape_html(text: str) -> str:
    """Text as HTML that shows it, inside elements and attributes."""
    return html.escape(printable(text), quote=True)


def spreadsheet_cell(text: str) -> str:
    """Text that a spreadsheet shows and does not compute: a first `=`, `+`, `-`, `@` or tab gets an apostrophe."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") and not _is_number(text) else text


def column_width(text: str) -> int:
    """Columns that text takes in a terminal or a subtitle: wide characters take two, combining marks none."""
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
