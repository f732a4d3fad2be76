"""Tables with a row for each utterance: delimited text (csv, tsv), JSON and Parquet, with every cell as text.

Numbers stay as they are spelled ("007", "1"). Whatever would silently shift, swallow or invent rows is refused, with
its line: a quotation mark that is not closed, a row with more or fewer cells than the header, a key that stands twice.
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

# Tables with these delimiters are written without quoting: a quotation mark in them is a quotation mark.
_UNQUOTED = ("\t", "|")
# Names and escapes of delimiters that are hard to type.
_DELIMITERS = {"\\t": "\t", "tab": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}
# Keys by which the manifests of other toolkits are recognized, in which paths and transcripts stand elsewhere.
_TOOLKITS = {
    "supervisions": "a manifest of cuts of lhotse",
    "recording_id": "a manifest of supervisions of lhotse",
    "sources": "a manifest of recordings of lhotse",
    "utts": "a data file of ESPnet",
}

Row = dict[str, Any]


def parse_delimiter(delimiter: str) -> str:
    r"""A delimiter as an option gives it: one character, "\t" typed as two, or its name."""
    found = _DELIMITERS.get(delimiter.lower(), delimiter)
    if len(found) != 1 or found in '\r\n"\0' or found.isalnum():
        raise CorpusError(rf"The delimiter {delimiter!r} cannot be used: give one character, such as ';' or '\t'.")
    return found


def describe_layout(row: Row) -> str | None:
    """What kind of manifest a row without the wanted columns is of, None if it is of none that is known."""
    return next((kind for key, kind in _TOOLKITS.items() if key in row), None)


def parse_delimited(
    text: str, name: str, delimiter: str = ",", column_names: list[str] | None = None, needed: Collection[str] = ()
) -> Iterator[tuple[int, Row]]:
    """Yield the rows of delimited text, each after its line.

    Args:
        text: The whole table.
        name: What an error calls it.
        delimiter: One character.
        column_names: The columns, where the first line does not have them.
        needed: Columns that are going to be read, and so may not stand twice in the header.

    Raises:
        CorpusError: If the table cannot be read; the error names the line.
    """
    lines = text.split("\n")
    skipped = int(lines[0].lower().startswith("sep=") and len(lines[0]) == 5)  # a hint that Excel writes
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
                f"{where} cannot be read ({error}): close its quotation marks, and double those inside of a cell."
            ) from error
        _check_lines(cells, where, delimiter, len(names or cells))
        if not cells or cells == [""]:
            continue
        if names is None:
            names = [cell.strip() for cell in cells]
            if twice := [column for column in needed if names.count(column) > 1]:
                raise CorpusError(f"{where} has the column {twice[0]!r} twice: rename one of them.")
            continue
        if len(cells) != len(names):
            raise CorpusError(
                f"{where} has {len(cells)} columns and not {len(names)}: correct it, or give the right delimiter."
            )
        yield first, dict(zip(names, cells, strict=True))


def _check_lines(cells: list[str], where: str, delimiter: str, columns: int) -> None:
    """Refuse a cell that has swallowed rows, since its quotation mark was not closed in its own line."""
    for cell in cells:
        if any(line.count(delimiter) >= columns - 1 for line in cell.split("\n")[1:] if line):
            raise CorpusError(
                f"{where} has a quotation mark that is closed {cell.count(chr(10))} lines later, with whole rows in "
                "between: close it in its own line, or double it."
            )


def parse_json(text: str, name: str) -> Iterator[tuple[int, Row]]:
    """Yield the objects of JSON lines, of one JSON list, or of one JSON object with an object for each utterance.

    Numbers come as they are spelled, and NaN as None: Python and pandas write a missing value so.

    Yields:
        Each object after its line, or after its number in the list.
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
    """Yield the rows of a Parquet file, or of all in a folder in the order of their names, each after its number.

    Raises:
        CorpusError: If there are no such files, or one cannot be read.
    """
    files = [table] if table.is_file() else sorted(f for f in table.glob("*.parquet") if not f.name.startswith("."))
    if not files:
        raise CorpusError(f"The folder {table} has no .parquet files: give a table, or a folder of shards of Parquet.")
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
    """A number as text, and NaN as None; anything else as it is."""
    if not isinstance(value, int | float):
        return value
    return None if value != value else str(value)


def _load_whole(text: str) -> list[Row] | None:
    """The rows of a text that is one JSON value over several lines or a list; None for JSON lines."""
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
    """Accepts NaN as a missing value, and refuses infinity."""
    if name != "NaN":
        raise ValueError(f"{name} is not a value")


def _unique_keys(pairs: list[tuple[str, Any]]) -> Row:
    row = dict(pairs)
    if len(row) < len(pairs):
        twice = next(key for index, (key, _) in enumerate(pairs) if key in [other for other, _ in pairs[:index]])
        raise ValueError(f"it has the key {twice!r} twice")
    return row
