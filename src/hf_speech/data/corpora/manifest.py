"""A table with a line for each utterance: csv, tsv or JSON lines, as most corpora come.

One file with a column that names the split, or a file for each split; what is missing is taken out of training, by
seed, and by speaker where a column names the speakers. (Not called `csv.py`: a module of that name beside a program
hides Python's own.)
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from hf_speech.data.corpora.base import SPLIT_NAMES, SPLITS, ListedCorpus, Utterance
from hf_speech.data.corpora.splitting import complete_splits
from hf_speech.errors import CorpusError, nearest

# Tables with these delimiters are written without quoting: a quotation mark in them is a quotation mark.
_UNQUOTED = ("\t", "|")


@dataclass(kw_only=True)
class Manifest(ListedCorpus):
    r"""A table with a line for each utterance.

    Args:
        data_dir: Folder or archive from which the paths of tables and recordings start; without it tables are looked
            for in the current folder, and recordings beside their table.
        train_file: Table of the training utterances, or of all with split_column: .csv, .tsv or .jsonl.
        validation_file: Table of the validation utterances.
        test_file: Table of the test utterances.
        path_column: Column with the path of the recording.
        path_format: How the path is made of that column, such as "wavs/{}.wav".
        label_column: Column with the class; null in a corpus for transcription.
        text_column: Column with the transcript, in a corpus for transcription; then label_column is not read.
        speaker_column: Column with the speaker.
        split_column: Column of train_file with the split: train, validation (or valid, val, dev) or test.
        delimiter: What separates the columns, if it is neither the comma of .csv nor the tab of .tsv.
        column_names: Names of the columns, where the first line of the table does not have them.
        validation_fraction: Share of the training utterances to validate on, where there is no such split.
        test_fraction: Share of all utterances to test on, where there is no such split.
    """

    name: ClassVar[str] = "csv"
    title: ClassVar[str] = "a table of utterances"

    train_file: str | None = None
    validation_file: str | None = None
    test_file: str | None = None
    path_column: str = "path"
    path_format: str = "{}"
    label_column: str | None = "label"
    text_column: str | None = None
    speaker_column: str | None = None
    split_column: str | None = None
    delimiter: str | None = None
    column_names: list[str] | None = None
    validation_fraction: float = 0.1
    test_fraction: float = 0.1

    def splits(self) -> dict[str, list[Utterance]]:
        """The splits of the tables, completed from the training split."""
        if self.train_file is None:
            raise CorpusError("The corpus 'csv' needs a table of its utterances: give train_file.")
        root = None if self.data_dir is None else self.open_data_dir()
        splits: dict[str, list[Utterance]] = {split: [] for split in SPLITS}
        for split, file in zip(SPLITS, (self.train_file, self.validation_file, self.test_file), strict=True):
            if file is None:
                continue
            table = Path(file).expanduser() if root is None else root / file
            for where, row in self._read(table):
                in_split = split if self.split_column is None else _split_of(row[self.split_column], where)
                splits[in_split].append(self._utterance(row, table.parent if root is None else root, where))
        return complete_splits(splits, self.validation_fraction, self.test_fraction, self.seed)

    def _utterance(self, row: dict[str, Any], root: Path, where: str) -> Utterance:
        """Make an utterance of a row; a blank target stays blank, for the inspection to report."""
        value = _text_of(row[self.path_column])
        if value is None:
            raise CorpusError(f"{where} has no path in the column {self.path_column!r}: give one.")
        return Utterance(
            root / self.path_format.format(value),
            label=_text_of(row[self.label_column]) if self.label_column and not self.text_column else None,
            text=_text_of(row[self.text_column]) if self.text_column else None,
            speaker=_text_of(row[self.speaker_column]) if self.speaker_column else None,
        )

    def _read(self, table: Path) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the rows of a table that have all columns needed, each with what an error calls it."""
        if not table.is_file():
            raise CorpusError(f"The table {table} does not exist: correct train_file and data_dir.")
        read = _read_json_lines if table.suffix.lower() in (".jsonl", ".json") else self._read_delimited
        options = ("path_column", "label_column", "text_column", "speaker_column", "split_column")
        needed = {option: getattr(self, option) for option in options if getattr(self, option) is not None}
        if self.text_column is not None:
            needed.pop("label_column", None)
        try:
            for line, row in read(table):
                for option, column in needed.items():
                    if column not in row:
                        raise CorpusError(
                            f"{table}, line {line}, has no column {column!r} ({option}): {nearest(column, row)}"
                        )
                yield f"{table}, line {line},", row
        except (UnicodeDecodeError, csv.Error) as error:
            raise CorpusError(f"{table} is no table that can be read ({error}): save it as UTF-8 text.") from error

    def _read_delimited(self, table: Path) -> Iterator[tuple[int, dict[str, Any]]]:
        delimiter = self.delimiter or ("\t" if table.suffix.lower() == ".tsv" else ",")
        with table.open(encoding="utf-8-sig", newline="") as file:
            if delimiter in _UNQUOTED:
                lines = csv.reader(file, delimiter=delimiter, quoting=csv.QUOTE_NONE)
            else:
                lines = csv.reader(file, delimiter=delimiter)
            names = self.column_names or next(lines, [])
            for values in lines:
                if not values:
                    continue
                if len(values) != len(names):
                    raise CorpusError(
                        f"{table}, line {lines.line_num}, has {len(values)} columns and not {len(names)}: correct it, "
                        "or give the right delimiter."
                    )
                yield lines.line_num, dict(zip(names, values, strict=True))


def _read_json_lines(table: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with table.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise CorpusError(
                    f"{table}, line {number}, is no JSON ({error.msg}): write an object a line."
                ) from error
            if not isinstance(row, dict):
                raise CorpusError(f"{table}, line {number}, is no JSON object: write an object a line.")
            yield number, row


def _split_of(name: Any, where: str) -> str:
    split = SPLIT_NAMES.get(str(name).strip().lower())
    if split is None:
        raise CorpusError(f"{where} has the unknown split {name!r}: {nearest(str(name), SPLIT_NAMES)}")
    return split


def _text_of(value: Any) -> str | None:
    """A cell as text, None if it is blank."""
    text = "" if value is None else str(value).strip()
    return text or None
