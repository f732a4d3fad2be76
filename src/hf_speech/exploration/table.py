"""The rows of a corpus as a table: the content of `table.csv`, and statistics of each split.

An entry is one row of one split, usable or not. Durations are measured from the samples, not read from the header.
Targets are as in the corpus; the task decides which units of them are counted, such as words.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets import DatasetDict

from hf_speech.common.files import write_text
from hf_speech.common.progress import progress_bar
from hf_speech.common.tables import format_csv
from hf_speech.common.text import counted, plural, spreadsheet_cell
from hf_speech.data.audio import AudioSource, audio_info, source_name
from hf_speech.data.reports import InspectionReport
from hf_speech.errors import AudioError
from hf_speech.tasks import Task


@dataclass(slots=True)
class Entry:
    """One row of a corpus.

    Attributes:
        split: The split of the row.
        path: The path of the sound, or its name if it has no file.
        target: The target as text, such as a class name or a transcript, or None.
        speaker: The speaker, None if unknown.
        duration: Duration in seconds, NaN if the sound cannot be read.
        sampling_rate: Sampling rate of the file in Hz, None if its header cannot be read.
        usable: Whether training or evaluation would use the row.
    """

    split: str
    path: str
    target: str | None
    speaker: str | None
    duration: float
    sampling_rate: int | None
    usable: bool


@dataclass(slots=True)
class SplitSummary:
    """Statistics of the usable utterances of a split.

    Attributes:
        name: The split.
        utterances: Number of usable utterances.
        unusable: Number of unusable rows.
        seconds: Total duration in seconds.
        shortest: Shortest duration in seconds, NaN without utterances, like `median` and `longest`.
        median: Median duration in seconds.
        longest: Longest duration in seconds.
        speakers: Number of known speakers.
        kinds: Number of different units, such as classes or words.
        new_units: Share of the units that do not occur in training targets; None for train, and for a task whose
            training split must have all units.
    """

    name: str
    utterances: int
    unusable: int
    seconds: float
    shortest: float
    median: float
    longest: float
    speakers: int
    kinds: int
    new_units: float | None = None


@dataclass(slots=True)
class Table:
    """All rows of a corpus.

    Attributes:
        task: The task that predicts the targets.
        entries: The rows, split by split, in the order of the corpus.
        groups: The classes in the order of their ids, None for a task without classes.
        options: The recipe's section `text`, for a task that has one.
    """

    task: Task
    entries: list[Entry]
    groups: list[str] | None
    options: Any = field(default=None, repr=False)

    @property
    def splits(self) -> list[str]:
        """The splits that have rows."""
        return list(dict.fromkeys(entry.split for entry in self.entries))

    def usable(self, split: str | None = None) -> list[Entry]:
        """Returns the usable entries of a split, or of all, in the order of the rows."""
        return [entry for entry in self.entries if entry.usable and split in (None, entry.split)]

    def units(self, entry: Entry) -> list[str]:
        """Returns the units of an entry's target: its class, or its words after normalization."""
        return [] if entry.target is None else self.task.target_units(entry.target, self.options)

    def save(self, path: str | Path) -> None:
        """Writes the table as CSV, with empty cells for unknown values."""
        head = ["path", "split", self.task.target_column, "speaker", "duration", "sampling_rate", "usable"]
        rows = []
        for entry in self.entries:
            duration = "" if math.isnan(entry.duration) else f"{entry.duration:.4f}"
            cells = [entry.path, entry.split, entry.target, entry.speaker, duration, entry.sampling_rate]
            texts = [spreadsheet_cell("" if value is None else str(value)) for value in cells]
            rows.append([*texts, "yes" if entry.usable else "no"])
        write_text(path, format_csv(head, rows))

    def summaries(self) -> list[SplitSummary]:
        """Returns the statistics of each split."""
        learned = {unit for entry in self.usable("train") for unit in self.units(entry)}
        return [self._summarize(split, learned) for split in self.splits]

    def shared_speakers(self) -> list[str]:
        """Returns a sentence if other splits share speakers with train, so that their metrics are too good."""
        speakers = {split: {entry.speaker for entry in self.usable(split)} - {None} for split in self.splits}
        train = speakers.pop("train", set())
        shared = {split: len(others & train) for split, others in speakers.items() if others & train}
        if not shared:
            return []
        parts = [
            f"{count:,} of the {counted(len(speakers[name]), 'speaker')} of {name}" for name, count in shared.items()
        ]
        verb = plural(sum(shared.values()), "is", "are")
        return [f"{' and '.join(parts)} {verb} also in train, so metrics there do not show how well new speakers do."]

    def sampling_rates(self) -> Counter[int]:
        """Returns the number of entries of each sampling rate in Hz."""
        return Counter(entry.sampling_rate for entry in self.entries if entry.sampling_rate is not None)

    def other_rates(self, sampling_rate: int) -> list[str]:
        """Returns a sentence for each sampling rate below the model's, with which high frequencies are missing."""
        lower = {rate: count for rate, count in self.sampling_rates().items() if rate < sampling_rate}
        return [
            f"{counted(count, 'recording has', 'recordings have')} a sampling rate of {rate:,} Hz, and thus nothing "
            f"above {rate // 2:,} Hz, but the model uses {sampling_rate:,} Hz: consider features.sampling_rate {rate}."
            for rate, count in sorted(lower.items())
        ]

    def _summarize(self, split: str, learned: set[str]) -> SplitSummary:
        usable = self.usable(split)
        durations = [entry.duration for entry in usable] or [math.nan]
        kinds = Counter(unit for entry in usable for unit in self.units(entry))
        new = None
        if self.task.open_units and split != "train" and kinds:
            new = sum(count for unit, count in kinds.items() if unit not in learned) / kinds.total()
        return SplitSummary(
            name=split,
            utterances=len(usable),
            unusable=sum(entry.split == split for entry in self.entries) - len(usable),
            seconds=sum(entry.duration for entry in usable),
            shortest=min(durations),
            median=statistics.median(durations),
            longest=max(durations),
            speakers=len({entry.speaker for entry in usable} - {None}),
            kinds=len(kinds),
            new_units=new,
        )


def read_table(corpus: DatasetDict, report: InspectionReport, task: Task, options: Any = None) -> Table:
    """Makes the table of a corpus."""
    entries: list[Entry] = []
    groups: list[str] | None = None
    for split, rows in corpus.items():
        found = report.splits[split]
        good = set(found.good_indices)
        targets = task.target_texts(rows)
        groups = task.target_groups(rows)
        audio = rows.select_columns("audio")
        progress = progress_bar(
            zip(targets, rows["speaker"], found.durations, strict=True),
            desc=f"Listing {split}",
            total=len(rows),
            unit="utterance",
            delay=0.5,
            leave=False,
        )
        for index, (target, speaker, duration) in enumerate(progress):
            source = audio[index]["audio"]
            rate = _sampling_rate(source)
            entries.append(Entry(split, source_name(source), target, speaker, duration, rate, index in good))
    return Table(task, entries, groups, options)


def _sampling_rate(source: AudioSource) -> int | None:
    try:
        return audio_info(source).sampling_rate
    except AudioError:
        return None
