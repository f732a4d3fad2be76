"""Where labels are written: a table as one CSV file, or as a folder of Parquet shards.

An interrupted run goes on with either, and several processes may write at once:

* `NAME.csv`: rows are appended as they come. Of several processes, each appends to a table of its own beside it
  (`NAME.part-0000`); these are put together at the end, or before the next run begins.
* `NAME.parquet`: a folder, as pandas, pyarrow and datasets read it. Each shard has the rows of some recordings in
  sequence. It is written once, beside its place, and renamed. Its name begins with the place of its first recording, so
  that shards sorted by name are in the order of the recordings.
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
    """Opens a table to write labels to, with a row for each recording.

    Args:
        path: Its name, which says its format.
        columns: Its columns, of which the first is `path`.
        names: The recordings in their order, as the column `path` names them.

    Raises:
        HFSpeechError: If there is no such format.
    """
    kinds: dict[str, type[CsvTable | ParquetShards]] = {".csv": CsvTable, ".parquet": ParquetShards}
    if path.suffix not in kinds:
        raise HFSpeechError(f"{path} is no name of a table: give one that ends in .csv or .parquet.")
    return kinds[path.suffix](path, columns, names)


class CsvTable:
    """A CSV file; see `open_table` for its arguments."""

    def __init__(self, path: Path, columns: Sequence[str], names: Sequence[str]) -> None:
        self.path, self.columns = path, list(columns)
        self._places = {name: place for place, name in enumerate(names)}
        self._own = path

    def collect(self) -> list[str]:
        """Puts the tables of all processes together, in the order of the recordings; for one process to call.

        Returns:
            The recordings that the table has.
        """
        parts = sorted(self.path.parent.glob(f"{escape(self.path.stem)}.part-[0-9]*"))
        done = [name for path in (self.path, *parts) for name in self._take_up(path)]
        ordered = sorted(dict.fromkeys(done), key=lambda name: self._places.get(name, -1))
        if parts or ordered != done:
            rows = {row[0]: row for path in (self.path, *parts) for row in _read_csv(path)[1:]}
            write_text(self.path, format_csv(self.columns, [rows[name] for name in ordered]))
        for path in parts:
            path.unlink()
        return ordered

    def begin(self, rank: int | None) -> None:
        """Chooses the table of this process; `rank` is None if it is the only one."""
        if rank is not None:
            self._own = self.path.with_name(f"{self.path.stem}.part-{rank:04d}")
            self._take_up(self._own)

    def add(self, row: Row) -> None:
        """Appends a row to the file."""
        cells = [_format_cell(column, row.get(column)) for column in self.columns]
        try:
            with self._own.open("a", encoding="utf-8", newline="") as file:
                csv.writer(file, lineterminator="\n").writerow(cells)
        except OSError as error:
            raise file_error(self._own, error) from error

    def flush(self) -> None:
        """Does nothing: rows are written at once."""

    def _take_up(self, path: Path) -> list[str]:
        """The recordings that a table has already; without a table, one with its head is written.

        A row that was cut off when a run was killed is removed.
        """
        if not path.is_file():
            write_text(path, format_csv(self.columns, []))
            return []
        rows = _read_csv(path)
        if not rows or rows[0] != self.columns:
            raise HFSpeechError(f"{path} is not a table that this command began: give another --output.")
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
        self._places = {name: place for place, name in enumerate(names)}
        self._rows: list[Row] = []

    def collect(self) -> list[str]:
        """Reads which recordings the shards have, and removes what a killed process did not finish."""
        for unfinished in self.path.glob(".*.parquet"):
            unfinished.unlink()
        done: list[str] = []
        for shard in sorted(self.path.glob("*.parquet")):
            try:
                file = pyarrow.parquet.ParquetFile(shard)
                schema, found = file.schema_arrow, file.read(["path"])
            except (OSError, pyarrow.ArrowException) as error:
                raise HFSpeechError(f"{shard} cannot be read ({error}): remove it, and label again.") from error
            if schema != self._schema:
                raise HFSpeechError(f"{shard} is not a table that this command began: give another --output.")
            done += found.column("path").to_pylist()
        return done

    def begin(self, rank: int | None) -> None:
        """Makes the folder."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise file_error(self.path, error) from error

    def add(self, row: Row) -> None:
        """Keeps a row for the next shard."""
        self._rows.append(row)

    def flush(self) -> None:
        """Writes a shard of the rows that were added, if there are some."""
        if not self._rows:
            return
        self._rows.sort(key=lambda row: self._places[row["path"]])
        first = self._rows[0]["path"]
        # The digest sets shards apart that begin at the same place of two lists of recordings.
        shard = self.path / f"{self._places[first]:08d}-{digest_data(first)[:8]}.parquet"
        with replacing(shard) as part:
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(self._rows, self._schema), part)
        self._rows = []


def _format_cell(column: str, value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return f"{value:.{3 if column == 'duration' else 4}f}"


def _read_csv(table: Path) -> list[list[str]]:
    return list(csv.reader(io.StringIO(table.read_text(encoding="utf-8"), newline="")))


__all__ = ["CsvTable", "ParquetShards", "open_table"]
