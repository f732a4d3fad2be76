"""Reads text files from other programs line by line, so that their size does not matter.

UTF-8 with or without a byte order mark is detected, as are UTF-16 and UTF-32 with one. Other encodings raise an error
instead of being guessed, since a wrong guess would silently change words.
"""

from __future__ import annotations

import codecs
import io
import os
from collections.abc import Iterator

from hf_speech.errors import HFSpeechError

JSON_SUFFIXES = frozenset({".jsonl", ".json", ".ndjson"})
TABLE_SUFFIXES = JSON_SUFFIXES | {".csv", ".tsv", ".parquet"}
"""File name suffixes of tables."""

# Longer marks first, since the UTF-32 mark begins with the UTF-16 mark.
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def text_encoding(start: bytes) -> str:
    """Returns the encoding of a text file given its first four bytes: that of its byte order mark, or UTF-8."""
    return next((encoding for mark, encoding in _MARKS.items() if start.startswith(mark)), "utf-8")


def read_lines(path: str | os.PathLike[str], error: type[HFSpeechError] = HFSpeechError) -> Iterator[str]:
    """Yields the lines of a text file without their line ends.

    Args:
        path: The file.
        error: The exception class to raise.

    Raises:
        HFSpeechError: If the file cannot be read, or is not text in one of the encodings above.
    """
    name, number = os.fspath(path), 0
    try:
        with open(path, "rb") as file:  # Opened once, because a pipe can be read only once.
            stream = io.TextIOWrapper(file, text_encoding(file.peek(4)[:4]))
            for number, line in enumerate(stream, start=1):
                if "\0" in line:
                    raise error(f"{name} is not text (line {number} has a null character): save it as UTF-8 text.")
                # A byte order mark inside the file was the start of an appended file.
                yield line.rstrip("\r\n").replace("\ufeff", "")
    except OSError as problem:
        raise error(f"{name} cannot be read ({problem.strerror or problem}): give a text file.") from problem
    except UnicodeDecodeError as problem:
        raise error(
            f"{name} is not text in UTF-8 ({problem.reason} after line {number}): save it as UTF-8, for example with "
            "iconv -f WINDOWS-1252 -t UTF-8."
        ) from problem
