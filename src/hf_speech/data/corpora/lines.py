"""Text files with a line for each utterance, as corpora list their transcripts, speakers and recordings.

Lists are written by many programs, so a byte order mark, UTF-16, Windows line ends and backslashes in paths are
understood. Anything else is refused: an unreadable list is never ignored.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

from hf_speech.common.reading import text_encoding
from hf_speech.common.text import same_form
from hf_speech.errors import CorpusError


def read_text(path: Path) -> str:
    r"""The text of a file with "\n" as the only line end.

    Raises:
        CorpusError: If the file cannot be read, or is not text in UTF-8 (or in UTF-16 or UTF-32 with a byte order
            mark).
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CorpusError(f"{path} cannot be read ({error.strerror or error}): give the whole corpus.") from error
    return decode_text(content, str(path))


def decode_text(content: bytes, name: str) -> str:
    r"""Bytes as text with "\n" as the only line end.

    Args:
        content: Bytes in UTF-8, or in the encoding that their byte order mark tells.
        name: What the error calls them.

    Raises:
        CorpusError: If they are not text.
    """
    try:
        text = content.decode(text_encoding(content[:4]))
    except UnicodeDecodeError as error:
        raise CorpusError(f"{name} is not text that can be read ({error}): save it as UTF-8 text.") from error
    if "\0" in text:
        raise CorpusError(
            f"{name} is not text that can be read (it has null characters, as UTF-16 without a byte order mark has): "
            "save it as UTF-8 text."
        )
    # A mark inside the text was the beginning of a file to which others were appended.
    return io.StringIO(text, newline=None).read().replace("\ufeff", "")


def read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the lines of a file that are not blank, each after what an error calls it ("FILE, line 3,")."""
    # Not splitlines, which also splits at characters that belong to a line, such as a form feed.
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line := line.strip():
            yield f"{path}, line {number},", line


def read_pairs(path: Path) -> dict[str, str]:
    """Read lines "ID anything": the rest of each line by its id, "" where there is none.

    Ids are in one form of Unicode, so that those of two files compare as equal.
    """
    pairs: dict[str, str] = {}
    for where, line in read_lines(path):
        key, *rest = line.split(maxsplit=1)
        key = same_form(key)
        if key in pairs:
            raise CorpusError(f"{where} has {key!r} a second time: leave one of the lines out.")
        pairs[key] = rest[0] if rest else ""
    return pairs


def path_key(name: str) -> str:
    r"""A path as lists are compared by it: with "/", without "./", in one form of Unicode."""
    parts = [part for part in same_form(name).replace("\\", "/").split("/") if part not in ("", ".")]
    return "/".join(parts)
