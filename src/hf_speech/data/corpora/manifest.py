"""A table with a row for each utterance: CSV, TSV, JSON Lines or Parquet.

One file with a column that names the split, or a file for each split; what is missing is taken out of training, by
seed, and by speaker where a column names the speakers. (Not called `csv.py`: a module of that name next to a program
hides Python's own.)
"""

from __future__ import annotations

import json
import string
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from hf_speech.common.ranges import Share
from hf_speech.common.reading import JSON_SUFFIXES
from hf_speech.common.text import printable
from hf_speech.data.corpora.base import SPLIT_NAMES, SPLITS, ListedCorpus, OwnCorpus
from hf_speech.data.corpora.files import find_file
from hf_speech.data.corpora.lines import read_text
from hf_speech.data.corpora.splitting import complete_splits
from hf_speech.data.corpora.stretches import Stretch, cut_checked
from hf_speech.data.corpora.tables import describe_layout, parse_delimited, parse_delimiter, parse_json, parse_parquet
from hf_speech.data.corpora.utterance import Utterance
from hf_speech.errors import CorpusError, nearest

_COLUMN_OPTIONS = ("path_column", "label_column", "text_column", "speaker_column", "split_column")


@dataclass(kw_only=True)
class Manifest(OwnCorpus, ListedCorpus):
    r"""A table with a line for each utterance.

    Args:
        data_dir: Folder or archive from which the paths of tables and recordings start; without it tables are looked
            for in the current folder, and recordings next to their table.
        train_file: Table of the training utterances, or of all with split_column: .csv, .tsv, .jsonl or .parquet, which
            may be a folder of shards.
        validation_file: Table of the validation utterances.
        test_file: Table of the test utterances.
        path_column: Column with the path of the recording.
        path_format: How the path is made of that column, such as "wavs/{}.wav".
        label_column: Column with the class; null in a corpus for transcription.
        text_column: Column with the transcript, in a corpus for transcription; then label_column is not read.
        speaker_column: Column with the speaker.
        split_column: Column of train_file with the split: train, validation (or valid, val, dev) or test.
        offset_column: Column, read where a table has it, with the second of its recording at which an utterance
            begins, as in manifests of NeMo; null to take whole recordings all the same.
        duration_column: Column with the seconds that such an utterance lasts; where it is missing, to the end.
        end_column: Column with the second at which such an utterance ends, instead of duration_column.
        delimiter: What separates the columns, if it is neither the comma of .csv nor the tab of .tsv.
        column_names: Names of the columns, where the first line of the table does not have them.
        validation_fraction: Share of the training utterances to validate on, where there is no such split.
        test_fraction: Share of all utterances to test on, where there is no such split.
    """

    name: ClassVar[str] = "csv"

    title: str | None = "a table of utterances"  # type: ignore[misc, assignment]
    train_file: str | None = None
    validation_file: str | None = None
    test_file: str | None = None
    path_column: str = "path"
    path_format: str = "{}"
    label_column: str | None = "label"
    text_column: str | None = None
    speaker_column: str | None = None
    split_column: str | None = None
    offset_column: str | None = "offset"
    duration_column: str | None = "duration"
    end_column: str | None = None
    delimiter: str | None = None
    column_names: list[str] | None = None
    validation_fraction: Share = 0.1
    test_fraction: Share = 0.1

    def splits(self) -> dict[str, list[Utterance]]:
        """The splits of the tables, completed from the training split."""
        if not (self.train_file or self.validation_file or self.test_file):
            raise CorpusError("The corpus 'csv' needs a table of its utterances: give train_file.")
        _check_format(self.path_format)
        root = None if self.data_dir is None else self.open_data_dir()
        splits: dict[str, list[Utterance]] = {split: [] for split in SPLITS}
        stretches: dict[int, tuple[str, Stretch]] = {}  # by the identity of their utterances
        for split, file in zip(SPLITS, (self.train_file, self.validation_file, self.test_file), strict=True):
            if file is None:
                continue
            table = Path(file).expanduser() if root is None else root / file
            self._note_teacher(table)
            for where, row in self._read(table):
                in_split = _split_of(row[self.split_column], where) if self.split_column else split
                utterance = self._utterance(row, table.parent if root is None else root, where)
                splits[in_split].append(utterance)
                if (stretch := self._stretch(row, utterance, where)) is not None:
                    stretches[id(utterance)] = where, stretch
        if stretches:
            splits = self._cut(splits, stretches)
        return complete_splits(splits, self.validation_fraction, self.test_fraction, self.seed, self.caveats)

    def _utterance(self, row: dict[str, Any], root: Path, where: str) -> Utterance:
        """Make an utterance of a row; a blank target stays blank, for the inspection to report."""

        def cell(column: str | None) -> str | None:
            return _text_of(row[column], f"{where} in the column {column!r},") if column else None

        value = cell(self.path_column)
        if value is None:
            raise CorpusError(f"{where} has no path in the column {self.path_column!r}: give one.")
        return Utterance(
            find_file(root, self.path_format.format(value)),
            label=cell(self.label_column) if not self.text_column else None,
            text=cell(self.text_column),
            speaker=cell(self.speaker_column),
        )

    def _stretch(self, row: dict[str, Any], utterance: Utterance, where: str) -> Stretch | None:
        """Which part of its recording an utterance is, None if it is all of it."""
        start = _seconds(row, self.offset_column, where)
        if start is None:
            return None
        if (end := _seconds(row, self.end_column, where)) is None:
            length = _seconds(row, self.duration_column, where)
            end = None if length is None else start + length
        assert isinstance(utterance.audio, Path)
        return Stretch(utterance.audio.stem, utterance.audio, start, end)

    def _cut(
        self, splits: dict[str, list[Utterance]], stretches: dict[int, tuple[str, Stretch]]
    ) -> dict[str, list[Utterance]]:
        """The utterances with the stretches cut out of their recordings, without those that cannot be cut."""
        reasons: dict[int, str] = {}
        files = cut_checked(stretches, reasons)
        for utterances in splits.values():
            for utterance in utterances:
                utterance.audio = files.get(id(utterance), utterance.audio)
        self.reject(list(reasons.values()))
        return {split: [u for u in found if id(u) not in reasons] for split, found in splits.items()}

    def _note_teacher(self, table: Path) -> None:
        """Add a caveat about a table of `hf-speech label`, whose record beside it names the model that wrote it."""
        try:
            record = json.loads(table.with_suffix(".json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return
        if isinstance(record, dict) and isinstance(teacher := record.get("teacher"), str):
            name = Path(teacher).name if Path(teacher).exists() else teacher
            self.caveats.append(f"{table.name} was written by the model {printable(name)}, not by people.")

    def _read(self, table: Path) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the rows of a table that have all columns needed, each with what an error calls it."""
        if not table.exists():
            raise CorpusError(f"The table {table} does not exist: correct train_file and data_dir.")
        needed = {option: getattr(self, option) for option in _COLUMN_OPTIONS if getattr(self, option)}
        if self.text_column:
            needed.pop("label_column", None)
        suffix = table.suffix.lower()
        if suffix == ".parquet" or table.is_dir():
            rows = parse_parquet(table)
        elif suffix in JSON_SUFFIXES:
            rows = parse_json(read_text(table), str(table))
        else:
            default = "\t" if suffix == ".tsv" else ","
            delimiter = default if self.delimiter is None else parse_delimiter(self.delimiter)
            rows = parse_delimited(read_text(table), str(table), delimiter, self.column_names, needed.values())
        for line, row in rows:
            for option, column in needed.items():
                if column not in row:
                    raise CorpusError(
                        f"{table}, line {line}, has no column {column!r} ({option}): {_remedy(column, row)}"
                    )
            yield f"{table}, line {line},", row


def _remedy(column: str, row: dict[str, Any]) -> str:
    """The end of the sentence about a missing column."""
    if (layout := describe_layout(row)) is not None:
        return (
            f"it is {layout}, which is not read; write a table with a row for each utterance, or a data folder of "
            "Kaldi for the corpus 'kaldi'."
        )
    only = next(iter(row)) if len(row) == 1 else ""
    if separators := [character for character in ",;\t|" if character in only]:
        return f"its one column is {printable(only)!r}; give {separators[0]!r} as delimiter."
    return nearest(column, row)


def _check_format(path_format: str) -> None:
    """Refuse a `path_format` that does not put the column's value into one place."""
    try:
        fields = [name for _, name, _, _ in string.Formatter().parse(path_format) if name is not None]
        if fields == [""] or fields == ["0"]:
            path_format.format("x")
            return
    except ValueError:
        pass
    raise CorpusError(
        f"path_format is {path_format!r}: write {{}} once, where the column belongs, as in 'wavs/{{}}.wav'."
    )


def _seconds(row: dict[str, Any], column: str | None, where: str) -> float | None:
    """A time of a row in seconds, None where it has none."""
    value = None if column is None else _text_of(row.get(column), f"{where} in the column {column!r},")
    if value is None:
        return None
    try:
        return float(value)
    except ValueError:
        raise CorpusError(
            f"{where} has {printable(value)!r} in the column {column!r}, and seconds are expected: name another "
            "column, or null, as offset_column, duration_column or end_column."
        ) from None


def _split_of(name: Any, where: str) -> str:
    split = SPLIT_NAMES.get(str(name).strip().lower())
    if split is None:
        raise CorpusError(f"{where} has the unknown split {name!r}: {nearest(str(name), SPLIT_NAMES)}")
    return split


def _text_of(value: Any, where: str) -> str | None:
    """A cell as text, None if it is blank."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise CorpusError(f"{where} has {value!r:.80}, which is not text: write text or a number.")
    return value.strip() or None
