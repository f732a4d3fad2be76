"""A table with one row per utterance: CSV, TSV, JSON Lines or Parquet.

There is one file with a column for the split, or one file for each split. Missing splits are taken from training, by
speaker if there is a column for speakers. (This module is not called `csv.py`, which could shadow the standard module.)
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
from hf_speech.data.corpora.base import SPLIT_NAMES, SPLITS, ListedCorpus, UserCorpus
from hf_speech.data.corpora.excerpts import Excerpt, cut_checked
from hf_speech.data.corpora.files import find_file
from hf_speech.data.corpora.lines import read_text
from hf_speech.data.corpora.splitting import complete_splits
from hf_speech.data.corpora.tables import describe_layout, parse_delimited, parse_delimiter, parse_json, parse_parquet
from hf_speech.data.corpora.utterance import Utterance
from hf_speech.errors import CorpusError, nearest

_COLUMN_OPTIONS = ("path_column", "label_column", "text_column", "speaker_column", "split_column")


@dataclass(kw_only=True)
class Manifest(UserCorpus, ListedCorpus):
    r"""A table with one row per utterance.

    Args:
        data_dir: Folder or archive to which the paths of tables and recordings are relative. By default, tables are
            relative to the current folder, and recordings to the folder of their table.
        train_file: Table of the training utterances, or of all utterances if split_column is set: .csv, .tsv, .jsonl,
            .parquet, or a folder of Parquet shards.
        validation_file: Table of the validation utterances.
        test_file: Table of the test utterances.
        path_column: Column with the path of the recording.
        path_format: Format of the path, with {} for the value of path_column, such as "wavs/{}.wav".
        label_column: Column with the class; null in a corpus for transcription.
        text_column: Column with the transcript, in a corpus for transcription; label_column is then not read.
        speaker_column: Column with the speaker.
        split_column: Column of train_file with the split: train, validation (or valid, val, dev) or test.
        offset_column: Column, used if it exists, with the start of the utterance in its recording in seconds, as in
            NeMo manifests; null to always use whole recordings.
        duration_column: Column with the duration of such an utterance in seconds; without it, the utterance extends to
            the end of the recording.
        end_column: Column with the end of such an utterance in seconds, instead of duration_column.
        delimiter: Delimiter of the columns, if it is not the comma of .csv or the tab of .tsv.
        column_names: Names of the columns, if the first line of the table is not a header.
        validation_fraction: Share of the training utterances to validate on, if there is no validation split.
        test_fraction: Share of all utterances to test on, if there is no test split.
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
        """Returns the splits of the tables; missing splits are taken from training."""
        if not (self.train_file or self.validation_file or self.test_file):
            raise CorpusError("The corpus 'csv' needs a table of utterances: give train_file.")
        _check_format(self.path_format)
        root = None if self.data_dir is None else self.open_data_dir()
        splits: dict[str, list[Utterance]] = {split: [] for split in SPLITS}
        excerpts: dict[int, tuple[str, Excerpt]] = {}  # by the id() of their utterances
        for split, file in zip(SPLITS, (self.train_file, self.validation_file, self.test_file), strict=True):
            if file is None:
                continue
            table = Path(file).expanduser() if root is None else root / file
            self._note_teacher(table)
            for where, row in self._read(table):
                in_split = _split_of(row[self.split_column], where) if self.split_column else split
                utterance = self._utterance(row, table.parent if root is None else root, where)
                splits[in_split].append(utterance)
                if (excerpt := self._excerpt(row, utterance, where)) is not None:
                    excerpts[id(utterance)] = where, excerpt
        if not any(splits.values()):
            name = self.train_file or self.validation_file or self.test_file
            raise CorpusError(f"{name} has no rows: give a table with a header and a row for each utterance.")
        if excerpts:
            splits = self._cut(splits, excerpts)
        return complete_splits(splits, self.validation_fraction, self.test_fraction, self.seed, self.caveats)

    def _utterance(self, row: dict[str, Any], root: Path, where: str) -> Utterance:
        """Returns the utterance of a row. A blank target is None, which the inspection reports."""

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

    def _excerpt(self, row: dict[str, Any], utterance: Utterance, where: str) -> Excerpt | None:
        """Returns the segment of the recording that an utterance consists of, or None for the whole recording."""
        start = _seconds(row, self.offset_column, where)
        if start is None:
            return None
        if (end := _seconds(row, self.end_column, where)) is None:
            length = _seconds(row, self.duration_column, where)
            end = None if length is None else start + length
        assert isinstance(utterance.audio, Path)
        return Excerpt(utterance.audio.stem, utterance.audio, start, end)

    def _cut(
        self, splits: dict[str, list[Utterance]], excerpts: dict[int, tuple[str, Excerpt]]
    ) -> dict[str, list[Utterance]]:
        """Cuts the segments out of their recordings, and rejects utterances that cannot be cut."""
        reasons: dict[int, str] = {}
        files = cut_checked(excerpts, reasons)
        for utterances in splits.values():
            for utterance in utterances:
                utterance.audio = files.get(id(utterance), utterance.audio)
        self.reject(list(reasons.values()))
        return {split: [u for u in found if id(u) not in reasons] for split, found in splits.items()}

    def _note_teacher(self, table: Path) -> None:
        """Adds a caveat if a table was written by `hf-speech label`, which records the model next to it."""
        try:
            record = json.loads(table.with_suffix(".json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return
        if isinstance(record, dict) and isinstance(teacher := record.get("teacher"), str):
            name = Path(teacher).name if Path(teacher).exists() else teacher
            self.caveats.append(f"{table.name} contains labels of the model {printable(name)}, not of humans.")

    def _read(self, table: Path) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yields the rows of a table, each after its location for errors; raises if a needed column is missing."""
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
    """Returns the remedy for a missing column, as the end of an error message."""
    if (layout := describe_layout(row)) is not None:
        return (
            f"it is {layout}, which is not supported; write a table with one row per utterance, or a data folder for "
            "the corpus 'kaldi'."
        )
    only_column = next(iter(row)) if len(row) == 1 else ""
    if separators := [character for character in ",;\t|" if character in only_column]:
        return f"its only column is {printable(only_column)!r}; set delimiter to {separators[0]!r}."
    return nearest(column, row)


def _check_format(path_format: str) -> None:
    """Raises `CorpusError` if `path_format` does not contain exactly one placeholder."""
    try:
        fields = [name for _, name, _, _ in string.Formatter().parse(path_format) if name is not None]
        if fields == [""] or fields == ["0"]:
            path_format.format("x")
            return
    except ValueError:
        pass
    raise CorpusError(
        f"path_format is {path_format!r}: write {{}} exactly once, for the value of the column, as in 'wavs/{{}}.wav'."
    )


def _seconds(row: dict[str, Any], column: str | None, where: str) -> float | None:
    """Returns a time of a row in seconds, or None if the column is missing or blank."""
    value = None if column is None else _text_of(row.get(column), f"{where} in the column {column!r},")
    if value is None:
        return None
    try:
        return float(value)
    except ValueError:
        raise CorpusError(
            f"{where} has {printable(value)!r} in the column {column!r} instead of seconds: set offset_column, "
            "duration_column or end_column to another column, or to null."
        ) from None


def _split_of(name: Any, where: str) -> str:
    split = SPLIT_NAMES.get(str(name).strip().lower())
    if split is None:
        raise CorpusError(f"{where} has the unknown split {name!r}: {nearest(str(name), SPLIT_NAMES)}")
    return split


def _text_of(value: Any, where: str) -> str | None:
    """Returns a cell as text, or None if it is blank."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise CorpusError(f"{where} has {value!r:.80}, which is not text: write text or a number.")
    return value.strip() or None
