"""Reads tables with one row per utterance: delimited text (csv, tsv), JSON and Parquet, with every cell as text.

Numbers keep their spelling ("007", "1"). Errors that would silently shift, merge or drop rows are raised with their
line: an unclosed quotation mark, a row with more or fewer cells than the header, a duplicate key.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from hf_speech.errors import CorpusError

# Tables with these delimiters are not quoted: a quotation mark is part of the text.
_UNQUOTED = ("\t", "|")
# Names and escape sequences of delimiters.
_DELIMITERS = {"\\t": "\t", "tab": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}
# Keys that identify the manifests of other toolkits, whose layout is different.
_TOOLKITS = {
    "supervisions": "a manifest of cuts of lhotse",
    "recording_id": "a manifest of supervisions of lhotse",
    "sources": "a manifest of recordings of lhotse",
    "utts": "a data file of ESPnet",
}

Row = dict[str, Any]


def parse_delimiter(delimiter: str) -> str:
    r"""Returns the delimiter for the value of an option: a character, "\t" typed as two characters, or a name."""
    found = _DELIMITERS.get(delimiter.lower(), delimiter)
    if len(found) != 1 or found in '\r\n"\0' or found.isalnum():
        raise CorpusError(rf"The delimiter {delimiter!r} cannot be used: give one character, such as ';' or '\t'.")
    return found


def describe_layout(row: Row) -> str | None:
    """Returns the kind of manifest of another toolkit that a row belongs to, or None."""
    return next((kind for key, kind in _TOOLKITS.items() if key in row), None)


def parse_delimited(
    text: str, name: str, delimiter: str = ",", column_names: list[str] | None = None, needed: Collection[str] = ()
) -> Iterator[tuple[int, Row]]:
    """Yields the rows of delimited text, each after its line number.

    Args:
        text: The whole table.
        name: The name of the table in error messages.
        delimiter: The delimiter, a single character.
        column_names: The columns, if the first line is not a header.
        needed: Columns that must not be duplicates in the header.

    Raises:
        CorpusError: If the table is malformed; the message contains the line number.
    """
    lines = text.split("\n")
    skipped = int(lines[0].lower().startswith("sep=") and len(lines[0]) == 5)  # written by Excel
    if skipped:
        delimiter = parse_delimiter(lines[0][4])
    unquoted = delimiter in _UNQUOTED
    reader = csv.reader(
        (f"{line}\n" for line in lines[skipped:]),
        delimiter=delimiter,
        quoting=csv.QUOTE_NONE if unquoted else csv.QUOTE_MINIMAL,
        strict=not unquoted,
    )
    names = column_names
    while True:
        first = reader.line_num + 1 + skipped
        where = f"{name}, line {first},"
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise CorpusError(
                f"{where} cannot be read ({error}): close its quotation marks, and double those inside a cell."
            ) from error
        _check_lines(cells, where, delimiter, len(names or cells))
        if not cells or cells == [""]:
            continue
        if names is None:
            names = [cell.strip() for cell in cells]
            if duplicates := [column for column in needed if names.count(column) > 1]:
                raise CorpusError(f"{where} has the column {duplicates[0]!r} twice: rename one of them.")
            continue
        if len(cells) != len(names):
            raise CorpusError(
                f"{where} has {len(cells)} columns instead of {len(names)}: correct it, or set the delimiter."
            )
        yield first, dict(zip(names, cells, strict=True))


def _check_lines(cells: list[str], where: str, delimiter: str, columns: int) -> None:
    """Raises `CorpusError` if a cell contains whole rows, because its quotation mark is not closed in its line."""
    for cell in cells:
        if any(line.count(delimiter) >= columns - 1 for line in cell.split("\n")[1:] if line):
            raise CorpusError(
                f"{where} has a quotation mark that is closed {cell.count(chr(10))} lines later, with whole rows in "
                "between: close it in the same line, or double it."
            )


def parse_json(text: str, name: str) -> Iterator[tuple[int, Row]]:
    """Yields the objects of JSON lines, of a JSON list, or of a JSON object with an object for each utterance.

    Numbers keep their spelling. NaN, which Python and pandas write for a missing value, becomes None.

    Yields:
        The line number, or the number in the list, and the object.
    """
    numbered: Iterable[tuple[int, Any]]
    if (rows := _load_whole(text)) is not None:
        numbered = enumerate(rows, start=1)
    else:
        lines = ((number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip())
        numbered = ((number, _load(line, f"{name}, line {number},")) for number, line in lines)
    for number, row in numbered:
        if not isinstance(row, dict):
            raise CorpusError(f"{name}, line {number}, is not a JSON object: write one object per line.")
        yield number, row


def parse_parquet(table: Path) -> Iterator[tuple[int, Row]]:
    """Yields the rows of a Parquet file, or of all Parquet files in a folder by name, each after its number.

    Raises:
        CorpusError: If there are no such files, or one cannot be read.
    """
    files = [table] if table.is_file() else sorted(f for f in table.glob("*.parquet") if not f.name.startswith("."))
    if not files:
        raise CorpusError(f"The folder {table} has no .parquet files: give a table, or a folder of Parquet shards.")
    number = 0
    for file in files:
        try:
            for batch in pyarrow.parquet.ParquetFile(file).iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    yield number, {column: _spell(value) for column, value in row.items()}
        except (OSError, pyarrow.ArrowException) as error:
            raise CorpusError(f"{file} cannot be read as Parquet ({error}): write it again.") from error


def _spell(value: Any) -> Any:
    """Converts a number to text and NaN to None; returns other values unchanged."""
    if not isinstance(value, int | float):
        return value
    return None if value != value else str(value)


def _load_whole(text: str) -> list[Row] | None:
    """Returns the rows of a text that is a single JSON value; None for JSON lines."""
    if "\n" not in text.strip() and not text.lstrip().startswith("["):
        return None
    try:
        whole = _decode(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(whole, dict):
        whole = list(whole.values()) if all(isinstance(value, dict) for value in whole.values()) else [whole]
    return whole if all(isinstance(row, dict) for row in whole) else None


def _load(line: str, where: str) -> Any:
    try:
        return _decode(line)
    except RecursionError:
        raise CorpusError(f"{where} is not JSON (it is nested too deeply): write one object per line.") from None
    except ValueError as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else error
        raise CorpusError(f"{where} is not JSON ({reason}): write one object per line.") from error


def _decode(text: str) -> Any:
    return json.loads(text, parse_int=str, parse_float=str, parse_constant=_constant, object_pairs_hook=_unique_keys)


def _constant(name: str) -> None:
    """Accepts NaN as a missing value, and rejects infinity."""
    if name != "NaN":
        raise ValueError(f"{name} is not a value")


def _unique_keys(pairs: list[tuple[str, Any]]) -> Row:
    row = dict(pairs)
    if len(row) < len(pairs):
        duplicate = next(key for index, (key, _) in enumerate(pairs) if key in [other for other, _ in pairs[:index]])
        raise ValueError(f"it has the key {duplicate!r} twice")
    return row
