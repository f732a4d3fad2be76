"""Writes labels to a table: a CSV file, or a folder of Parquet shards.

Both formats support resuming and concurrent processes:

* `NAME.csv`: rows are appended immediately. Each of several processes appends to a file of its own (`NAME.part-0000`);
  these files are merged at the end, or before the next run.
* `NAME.parquet`: a folder of shards, as pandas, pyarrow and datasets read it. A shard is written to a temporary file
  and renamed. Its name begins with the position of its first recording, so shards sorted by name follow the order of
  the recordings.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from glob import escape
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from hf_speech.common.digests import digest_data
from hf_speech.common.files import file_error, replacing, write_text
from hf_speech.common.tables import format_csv
from hf_speech.errors import HFSpeechError

Row = dict[str, Any]
_TEXT_COLUMNS = ("path", "text", "label", "reason")


def open_table(path: Path, columns: Sequence[str], names: Sequence[str]) -> CsvTable | ParquetShards:
    """Opens a table for labels, with a row for each recording.

    Args:
        path: The path of the table; its suffix selects the format.
        columns: The columns; the first is `path`.
        names: The values of the column `path`, in the order of the recordings.

    Raises:
        HFSpeechError: If the format is unknown.
    """
    kinds: dict[str, type[CsvTable | ParquetShards]] = {".csv": CsvTable, ".parquet": ParquetShards}
    if path.suffix not in kinds:
        raise HFSpeechError(f"{path} is not a table: choose a name that ends in .csv or .parquet.")
    return kinds[path.suffix](path, columns, names)


class CsvTable:
    """A CSV file; see `open_table` for its arguments."""

    def __init__(self, path: Path, columns: Sequence[str], names: Sequence[str]) -> None:
        self.path, self.columns = path, list(columns)
        self._positions = {name: position for position, name in enumerate(names)}
        self._process_path = path

    def collect(self) -> list[str]:
        """Merges the tables of all processes in the order of the recordings. Only one process may call it.

        Returns:
            The recordings in the table.
        """
        parts = sorted(self.path.parent.glob(f"{escape(self.path.stem)}.part-[0-9]*"))
        done = [name for path in (self.path, *parts) for name in self._resume(path)]
        ordered = sorted(dict.fromkeys(done), key=lambda name: self._positions.get(name, -1))
        if parts or ordered != done:
            rows = {row[0]: row for path in (self.path, *parts) for row in _read_csv(path)[1:]}
            write_text(self.path, format_csv(self.columns, [rows[name] for name in ordered]))
        for path in parts:
            path.unlink()
        return ordered

    def begin(self, rank: int | None) -> None:
        """Prepares the table of this process; `rank` is None if it is the only one."""
        if rank is not None:
            self._process_path = self.path.with_name(f"{self.path.stem}.part-{rank:04d}")
            self._resume(self._process_path)

    def add(self, row: Row) -> None:
        """Appends a row to the file."""
        cells = [_format_cell(column, row.get(column)) for column in self.columns]
        try:
            with self._process_path.open("a", encoding="utf-8", newline="") as file:
                csv.writer(file, lineterminator="\n").writerow(cells)
        except OSError as error:
            raise file_error(self._process_path, error) from error

    def flush(self) -> None:
        """Does nothing: rows are written immediately."""

    def _resume(self, path: Path) -> list[str]:
        """Returns the recordings in a table, after removing an incomplete last row; creates a missing table."""
        if not path.is_file():
            write_text(path, format_csv(self.columns, []))
            return []
        rows = _read_csv(path)
        if not rows or rows[0] != self.columns:
            raise HFSpeechError(f"{path} was not written by this command: choose another --output.")
        if not path.read_bytes().endswith(b"\n") or len(rows[-1]) != len(self.columns):
            rows = rows[:-1]
            write_text(path, format_csv(self.columns, rows[1:]))
        return [row[0] for row in rows[1:]]


class ParquetShards:
    """A folder of Parquet files; see `open_table` for its arguments."""

    def __init__(self, path: Path, columns: Sequence[str], names: Sequence[str]) -> None:
        self.path = path
        kinds = {column: pyarrow.string() if column in _TEXT_COLUMNS else pyarrow.float64() for column in columns}
        self._schema = pyarrow.schema(list(kinds.items()))
        self._positions = {name: position for position, name in enumerate(names)}
        self._rows: list[Row] = []

    def collect(self) -> list[str]:
        """Returns the recordings in the shards, after removing unfinished shards of a killed process."""
        for unfinished in self.path.glob(".*.parquet"):
            unfinished.unlink()
        done: list[str] = []
        for shard in sorted(self.path.glob("*.parquet")):
            try:
                file = pyarrow.parquet.ParquetFile(shard)
                schema, content = file.schema_arrow, file.read(["path"])
            except (OSError, pyarrow.ArrowException) as error:
                raise HFSpeechError(
                    f"{shard} cannot be read ({error}): remove it and run the command again."
                ) from error
            if schema != self._schema:
                raise HFSpeechError(f"{shard} was not written by this command: choose another --output.")
            done += content.column("path").to_pylist()
        return done

    def begin(self, rank: int | None) -> None:
        """Creates the folder."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise file_error(self.path, error) from error

    def add(self, row: Row) -> None:
        """Buffers a row for the next shard."""
        self._rows.append(row)

    def flush(self) -> None:
        """Writes the buffered rows, if any, as a shard."""
        if not self._rows:
            return
        self._rows.sort(key=lambda row: self._positions[row["path"]])
        first = self._rows[0]["path"]
        # The digest distinguishes shards with the same position from runs over different recordings.
        shard = self.path / f"{self._positions[first]:08d}-{digest_data(first)[:8]}.parquet"
        with replacing(shard) as part:
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(self._rows, self._schema), part)
        self._rows = []


def _format_cell(column: str, value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return f"{value:.{3 if column == 'duration' else 4}f}"


def _read_csv(table: Path) -> list[list[str]]:
    return list(csv.reader(io.StringIO(table.read_text(encoding="utf-8"), newline="")))
