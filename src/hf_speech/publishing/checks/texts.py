"""Yields the text to scan in published files: text, safetensors headers, strings of Parquet tables, or raw bytes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
from safetensors import safe_open

from hf_speech.publishing.checks.formats import is_text

# Marks the bytes of a binary file, in which short matches occur by chance.
IN_BYTES = ""
_BLOCK = 1 << 26  # Bytes of a binary file searched at a time.
_OVERLAP = 1 << 12


def locate(where: str, line: int) -> str:
    """Returns the position of a match, to append to a file's name in a message."""
    return f", line {line}" if where == "line" else where


def texts_of(path: Path) -> Iterator[tuple[str, str]]:
    """Yields each text of a file with its location: "line" if lines are meaningful, or `IN_BYTES` for raw bytes."""
    if is_text(path.name):
        text = path.read_text(encoding="utf-8")
        yield text, "line"
        if path.suffix == ".json" and "\\" in text:  # Escapes may hide characters of a match.
            yield "\n".join(_values(json.loads(text))), " (a value)"
    elif path.suffix == ".safetensors":
        with safe_open(path, framework="numpy") as file:
            yield json.dumps([file.metadata(), list(file.keys())]), " (its header)"
    else:
        if path.suffix == ".parquet":
            yield from ((text, " (a column)") for text in _strings(path))
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            for start in range(0, size, _BLOCK):
                stream.seek(max(0, start - _OVERLAP))
                block = stream.read(_BLOCK + _OVERLAP)
                yield block.decode("ascii", errors="replace"), IN_BYTES


def _values(content: Any) -> Iterator[str]:
    """Yields the keys and strings of a JSON value."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield key
            yield from _values(value)
    elif isinstance(content, list):
        for value in content:
            yield from _values(value)
    elif isinstance(content, str):
        yield content


def _strings(path: Path) -> Iterator[str]:
    """Yields the strings of a Parquet table, including those in structs, one batch of a column at a time."""
    for batch in pyarrow.parquet.ParquetFile(path).iter_batches():
        for column in pyarrow.Table.from_batches([batch]).flatten().columns:
            if pyarrow.types.is_string(column.type) or pyarrow.types.is_large_string(column.type):
                yield "\n".join(value for value in column.to_pylist() if value)
