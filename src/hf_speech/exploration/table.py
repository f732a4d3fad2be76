"""The rows of a corpus as a table: what `table.csv` holds, and what is counted from it.

One entry is one row of one split, the unusable ones among them. Durations are those of the samples, not of a header's
promise, and a transcript is written down as the corpus has it; only what is counted is normalized first.
"""

from __future__ import annotations

import csv
import math
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from datasets import ClassLabel, DatasetDict
from tqdm.auto import tqdm

from hf_speech.data.audio import AudioSource, audio_info, source_name
from hf_speech.data.inspection import InspectionReport
from hf_speech.errors import AudioError


@dataclass(slots=True)
class Entry:
    """One row of a corpus.

    Attributes:
        split: The split it is in.
        path: Where the sound is, or what to call it.
        target: The class name or the transcript, None where the row has none.
        speaker: Who speaks, None where unknown.
        duration: Seconds, NaN where the sound cannot be read.
        sampling_rate: Hz of the file, None where its header cannot be read.
        usable: Whether training or evaluation would take the row.
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
    """What is counted of the usable utterances of a split.

    Attributes:
        name: The split.
        utterances: How many there are.
        unusable: How many further rows cannot be used.
        seconds: Their length together.
        shortest: Seconds of the shortest, NaN without utterances, as the next two.
        median: Seconds of the median.
        longest: Seconds of the longest.
        speakers: How many people speak, as far as known.
        kinds: How many classes or different words occur.
        new_words: Share of the spoken words that no training transcript has; None for train, and for classes.
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
    new_words: float | None = None


@dataclass(slots=True)
class Table:
    """All rows of a corpus.

    Attributes:
        column: "label" or "text": what a target is.
        entries: The rows, split by split, in the order of the corpus.
        class_names: The classes in the order of their ids, None for transcripts.
        write: Writes a transcript as the recipe's model learns it.
    """

    column: str
    entries: list[Entry]
    class_names: list[str] | None
    write: Callable[[str], str] = field(default=str, repr=False)

    @property
    def splits(self) -> list[str]:
        """The splits that have rows."""
        return list(dict.fromkeys(entry.split for entry in self.entries))

    def usable(self, split: str | None = None) -> list[Entry]:
        """The usable entries of a split, or of all, in the order of the rows."""
        return [entry for entry in self.entries if entry.usable and split in (None, entry.split)]

    def words(self, entry: Entry) -> list[str]:
        """The words of an entry's transcript, as the model learns to write them."""
        return self.write(entry.target or "").split()

    def save(self, path: str | Path) -> None:
        """Writes the table as CSV; an empty cell is what is not known."""
        with Path(path).open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "split", self.column, "speaker", "duration", "sampling_rate", "usable"])
            for entry in self.entries:
                duration = "" if math.isnan(entry.duration) else f"{entry.duration:.4f}"
                known = [entry.target, entry.speaker, duration, entry.sampling_rate]
                cells = ["" if value is None else value for value in known]
                writer.writerow([entry.path, entry.split, *cells, "yes" if entry.usable else "no"])

    def summaries(self) -> list[SplitSummary]:
        """What is counted of each split."""
        heard = {word for entry in self.usable("train") for word in self._kinds(entry)}
        return [self._summarize(split, heard) for split in self.splits]

    def shared_speakers(self) -> list[str]:
        """A sentence if other splits have speakers of train: such figures do not tell of voices never heard."""
        speakers = {split: {entry.speaker for entry in self.usable(split)} - {None} for split in self.splits}
        train = speakers.pop("train", set())
        shared = [
            f"{len(common):,} of the {len(others):,} speakers of {split}"
            for split, others in speakers.items()
            if (common := others & train)
        ]
        if not shared:
            return []
        return [f"{' and '.join(shared)} are also in train, so figures there say little about voices never heard."]

    def sampling_rates(self) -> Counter[int]:
        """How many of the entries have which sampling rate in Hz."""
        return Counter(entry.sampling_rate for entry in self.entries if entry.sampling_rate is not None)

    def other_rates(self, sampling_rate: int) -> list[str]:
        """A sentence for sounds of a lower rate than the model's, whose upper frequencies are empty; none otherwise.

        Args:
            sampling_rate: What the model reads, in Hz.
        """
        lower = {rate: count for rate, count in self.sampling_rates().items() if rate < sampling_rate}
        return [
            f"{count:,} recordings have {rate:,} Hz, so the model, which reads {sampling_rate:,} Hz, finds nothing "
            f"above {rate // 2:,} Hz in them: consider features.sampling_rate {rate}."
            for rate, count in sorted(lower.items())
        ]

    def _kinds(self, entry: Entry) -> list[str]:
        return self.words(entry) if self.class_names is None else [str(entry.target)]

    def _summarize(self, split: str, heard: set[str]) -> SplitSummary:
        usable = self.usable(split)
        durations = [entry.duration for entry in usable] or [math.nan]
        kinds = Counter(kind for entry in usable for kind in self._kinds(entry))
        new = None
        if self.class_names is None and split != "train" and kinds:
            new = sum(count for word, count in kinds.items() if word not in heard) / kinds.total()
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
            new_words=new,
        )


def read_table(corpus: DatasetDict, report: InspectionReport, column: str, write: Callable[[str], str] = str) -> Table:
    """Makes the table of a corpus.

    Args:
        corpus: All rows, as the corpus was loaded.
        report: What its inspection found.
        column: "label" or "text".
        write: Writes a transcript as the recipe's model learns it.
    """
    entries: list[Entry] = []
    class_names: list[str] | None = None
    for split, rows in corpus.items():
        found = report.splits[split]
        good = set(found.good_indices)
        feature = rows.features[column]
        targets: Sequence[str | None] = list(rows[column])
        if isinstance(feature, ClassLabel):
            class_names = feature.names
            targets = [None if label is None or label < 0 else feature.names[label] for label in rows[column]]
        audio = rows.select_columns("audio")
        progress = tqdm(
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
    return Table(column, entries, class_names, write)


def _sampling_rate(source: AudioSource) -> int | None:
    try:
        return audio_info(source).sampling_rate
    except AudioError:
        return None


__all__ = ["Entry", "SplitSummary", "Table", "read_table"]
