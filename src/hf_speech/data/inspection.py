"""The validation pass: everything that could stop or spoil a training is looked for before it starts.

Every row is decoded once, exactly as training will decode it, since a header can promise what the samples do not keep.
What is found is counted by kind, with examples, and either refused or left out, as the recipe says; nothing is dropped
without being reported. Things that are legal but suspicious (one recording in two splits, silence) are warnings.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections import defaultdict
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from datasets import ClassLabel, Dataset, DatasetDict
from tqdm.auto import tqdm

from hf_speech.data.audio import AudioSource, read_audio, source_name
from hf_speech.data.corpora.base import Corpus, target_column
from hf_speech.data.headers import BadAudio
from hf_speech.errors import CorpusError

MOST_EXAMPLES = 3
_THREADS = min(8, os.cpu_count() or 1)


@dataclass
class Finding:
    """How often something was found, and its first examples as sentences."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, example: str) -> None:
        """Count one more; keep it as an example while there are few."""
        self.count += 1
        if len(self.examples) < MOST_EXAMPLES:
            self.examples.append(example)


@dataclass
class SplitReport:
    """What the inspection of one split found.

    Attributes:
        num_rows: Number of rows inspected.
        seconds: Length of the good rows.
        bad: Bad rows by kind: "missing", "unreadable", "empty", "truncated", "not finite", "too short", "too long",
            "without label", "without text", "of a class that train lacks", and what a task finds in its targets.
        warnings: Good but suspicious rows by kind: "silent", and what a task finds in its targets.
        good_indices: Indices of the good rows, ascending.
        durations: Seconds of every row as decoded, NaN for those that are not.
        digests: Digest of the samples of every row, None for those that are not decoded.
    """

    num_rows: int
    seconds: float = 0.0
    bad: dict[str, Finding] = field(default_factory=lambda: defaultdict(Finding))
    warnings: dict[str, Finding] = field(default_factory=lambda: defaultdict(Finding))
    good_indices: list[int] = field(default_factory=list)
    durations: list[float] = field(default_factory=list, repr=False)
    digests: list[bytes | None] = field(default_factory=list, repr=False)

    @property
    def num_bad(self) -> int:
        """Number of bad rows."""
        return sum(finding.count for finding in self.bad.values())

    def reject(self, kind: str, reasons: dict[int, str], list_all: bool = False) -> None:
        """Turn good rows into bad ones.

        Args:
            kind: What is wrong with them.
            reasons: A sentence for each, by the index of the row.
            list_all: Whether every sentence is kept, rather than the first few.
        """
        for reason in reasons.values():
            self.bad[kind].add(reason)
        if list_all and reasons:
            self.bad[kind].examples = list(reasons.values())
        self.good_indices = [index for index in self.good_indices if index not in reasons]
        self.seconds -= sum(self.durations[index] for index in reasons)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data for JSON."""
        return {
            "num_rows": self.num_rows,
            "num_good": len(self.good_indices),
            "hours": round(self.seconds / 3600, 4),
            "bad": {kind: vars(finding) for kind, finding in self.bad.items()},
            "warnings": {kind: vars(finding) for kind, finding in self.warnings.items()},
        }


@dataclass
class InspectionReport:
    """What the inspection of a corpus found; `str(report)` is a summary of a few lines.

    Attributes:
        corpus: Name of the corpus.
        splits: A report for each split.
        warnings: What is suspicious about the corpus as a whole, one sentence each.
        caveats: What figures of the corpus do not say, one sentence each.
    """

    corpus: str
    splits: dict[str, SplitReport]
    warnings: list[str] = field(default_factory=list)
    caveats: list[str] = field(default_factory=list)

    @property
    def num_bad(self) -> int:
        """Number of bad rows of all splits."""
        return sum(report.num_bad for report in self.splits.values())

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data for JSON."""
        return {
            "corpus": self.corpus,
            "splits": {name: report.to_dict() for name, report in self.splits.items()},
            "warnings": self.warnings,
            "caveats": self.caveats,
        }

    def refusal(self) -> str:
        """One sentence with the counts of all kinds, a first example and the remedy."""
        total: dict[str, Finding] = defaultdict(Finding)
        for found in self.splits.values():
            for kind, finding in found.bad.items():
                total[kind].count += finding.count
                total[kind].examples += finding.examples
        kinds = ", ".join(f"{finding.count:,} {kind}" for kind, finding in total.items())
        example = next(iter(total.values())).examples[0].rstrip(".")
        rows = sum(found.num_rows for found in self.splits.values())
        return (
            f"{self.num_bad:,} of the {rows:,} utterances of the corpus {self.corpus!r} are bad ({kinds}), such as: "
            f"{example}; correct them, or leave them out with bad_rows: skip."
        )

    def __str__(self) -> str:
        rows = sum(report.num_rows for report in self.splits.values())
        lines = [f"Corpus {self.corpus}: {rows:,} utterances inspected, {self.num_bad:,} of them bad."]
        for name, report in self.splits.items():
            lines.append(f"  {name:<11}{len(report.good_indices):>8,} good utterances, {_length(report.seconds)}")
            for kind, finding in report.bad.items():
                lines.append(f"    {finding.count:,} {kind}, such as: {finding.examples[0]}")
            for kind, finding in report.warnings.items():
                lines.append(f"    warning: {finding.count:,} {kind}, such as: {finding.examples[0]}")
        lines += [f"  note: {caveat}" for caveat in self.caveats]
        return "\n".join(lines + [f"  warning: {warning}" for warning in self.warnings])


def inspect_split(
    rows: Dataset,
    *,
    sampling_rate: int,
    min_duration: float,
    max_duration: float,
    description: str = "Inspecting",
) -> SplitReport:
    """Decode every row of a split and look at its target.

    Args:
        rows: One split with the columns of `hf_speech.data.corpora.base`.
        sampling_rate: Rate in Hz at which training will read the audio.
        min_duration: Seconds below which a row is bad.
        max_duration: Seconds above which a row is bad.
        description: What the progress bar says.

    Returns:
        Counts and examples of what is wrong, and the indices of the good rows.
    """
    report = SplitReport(num_rows=len(rows))
    audio = rows.select_columns("audio")
    column = target_column(rows)
    targets = list(rows[column]) if column is not None else []

    with ThreadPoolExecutor(_THREADS) as pool:
        decoded = pool.map(lambda index: _decode(audio[index]["audio"], sampling_rate), range(len(rows)))
        progress = tqdm(decoded, desc=description, total=len(rows), unit="utterance", delay=0.5, leave=False)
        for index, sound in enumerate(progress):
            report.durations.append(sound.duration)
            report.digests.append(sound.digest)
            if sound.error is not None:
                report.bad[sound.error.kind].add(str(sound.error))
            elif fault := duration_fault(sound.name, sound.duration, min_duration, max_duration):
                report.bad[fault[0]].add(fault[1])
            elif targets and _is_blank(targets[index]):
                report.bad[f"without {column}"].add(f"{sound.name} has no {column}.")
            else:
                report.good_indices.append(index)
                report.seconds += sound.duration
                if sound.is_silent:
                    report.warnings["silent"].add(f"{sound.name} is nothing but zeros.")
    return report


def duration_fault(name: str, seconds: float, shortest: float, longest: float) -> tuple[str, str] | None:
    """What is wrong with the length of an utterance: of which kind it is bad, and a sentence; None if nothing is."""
    if seconds < shortest:
        return "too short", f"{name} lasts {seconds:.3g} s, under {shortest:g} s."
    if seconds > longest:
        return "too long", f"{name} lasts {seconds:.3g} s, over {longest:g} s."
    return None


def inspect_corpus(
    dataset_dict: DatasetDict, corpus: Corpus, sampling_rate: int
) -> tuple[DatasetDict, InspectionReport]:
    """Inspect every split of a corpus, and refuse or leave out its bad rows.

    Args:
        dataset_dict: What `corpus.load()` gave.
        corpus: The corpus, whose options say what is bad and what to do about it.
        sampling_rate: Rate in Hz at which training will read the audio.

    Returns:
        The corpus without bad rows, and the report.

    Raises:
        CorpusError: If there are bad rows and `corpus.bad_rows` is "refuse", or if nothing is left to train on.
    """
    report = survey_corpus(dataset_dict, corpus, sampling_rate)
    if report.num_bad and corpus.bad_rows == "refuse":
        raise CorpusError(report.refusal())
    _check_train(dataset_dict, report)
    good = {
        name: rows.select(report.splits[name].good_indices) if report.splits[name].num_bad else rows
        for name, rows in dataset_dict.items()
    }
    return DatasetDict(good), report


def survey_corpus(
    dataset_dict: DatasetDict, corpus: Corpus, sampling_rate: int, only: Collection[str] | None = None
) -> InspectionReport:
    """Inspect every split of a corpus, whatever is wrong with it.

    Args:
        dataset_dict: What `corpus.load()` gave.
        corpus: The corpus, whose options say what is bad.
        sampling_rate: Rate in Hz at which training will read the audio.
        only: The splits to decode and report; None for all. Of the others only the classes count.
    """
    report = InspectionReport(corpus.name, {}, warnings=list(corpus.notes), caveats=list(corpus.caveats))
    for name, rows in dataset_dict.items():
        if only is not None and name not in only:
            every = list(range(len(rows)))
            report.splits[name] = SplitReport(
                len(rows), good_indices=every, durations=[0.0 for _ in every], digests=[None for _ in every]
            )
            continue
        report.splits[name] = inspect_split(
            rows,
            sampling_rate=sampling_rate,
            min_duration=corpus.min_duration,
            max_duration=corpus.max_duration,
            description=f"Inspecting {name}",
        )
    _reject_unseen_classes(dataset_dict, report)
    report.splits = {name: found for name, found in report.splits.items() if only is None or name in only}
    for name, found in report.splits.items():
        if not found.good_indices:
            report.warnings.append(f"The split {name!r} has no utterances.")
    report.warnings += _common_recordings(dataset_dict, report)
    return report


@dataclass
class _Decoded:
    """What is to be known about one sound once its samples are gone."""

    name: str
    duration: float = math.nan
    digest: bytes | None = None
    is_silent: bool = False
    error: BadAudio | None = None


def _decode(source: AudioSource, sampling_rate: int) -> _Decoded:
    name = source_name(source)
    try:
        samples = read_audio(source, sampling_rate)
    except BadAudio as error:
        return _Decoded(name, error=error)
    digest = hashlib.blake2b(samples.tobytes(), digest_size=16).digest()
    return _Decoded(name, len(samples) / sampling_rate, digest, is_silent=not samples.any())


def _reject_unseen_classes(dataset_dict: DatasetDict, report: InspectionReport) -> None:
    """A class that training never sees can only be got wrong: its rows are bad."""
    train = dataset_dict.get("train")
    if train is None or (column := _class_column(train)) is None:
        return
    labels = list(train[column])
    seen = {labels[index] for index in report.splits["train"].good_indices}
    names = train.features[column].names
    for split, rows in dataset_dict.items():
        labels = list(rows[column])
        found = report.splits[split]
        reasons = {
            index: f"{source_name(rows[index]['audio'])} is of the class {names[labels[index]]!r}, which train lacks."
            for index in found.good_indices
            if labels[index] not in seen
        }
        found.reject("of a class that train lacks", reasons)


def _check_train(dataset_dict: DatasetDict, report: InspectionReport) -> None:
    """Refuse what nothing can be learned from."""
    train = dataset_dict.get("train")
    if train is None:
        return
    good = report.splits["train"].good_indices
    if not good:
        raise CorpusError(f"The corpus {report.corpus!r} has no utterance to train on: look at its train split.")
    if (column := _class_column(train)) is not None and len(set(train.select(good)[column])) < 2:
        raise CorpusError(f"The corpus {report.corpus!r} has one class in train: there is nothing to tell apart.")


def _class_column(rows: Dataset) -> str | None:
    """The target column of a split whose targets are named classes."""
    column = target_column(rows)
    return column if column is not None and isinstance(rows.features[column], ClassLabel) else None


def _common_recordings(dataset_dict: DatasetDict, report: InspectionReport) -> list[str]:
    """Say which recordings are in two splits, where a test would ask what training was told."""
    first: dict[bytes, tuple[str, int]] = {}
    common: dict[tuple[str, str], Finding] = defaultdict(Finding)
    for split, found in report.splits.items():
        for index in found.good_indices:
            digest = found.digests[index]
            if digest is None:
                continue
            elsewhere, other = first.setdefault(digest, (split, index))
            if elsewhere != split:
                names = (source_name(dataset_dict[s][i]["audio"]) for s, i in ((split, index), (elsewhere, other)))
                common[elsewhere, split].add(" = ".join(names))
    return [
        f"{finding.count:,} recordings of {split} are also in {elsewhere}, such as: {finding.examples[0]}"
        for (elsewhere, split), finding in common.items()
    ]


def _is_blank(target: Any) -> bool:
    return (
        target is None or (isinstance(target, str) and not target.strip()) or (isinstance(target, int) and target < 0)
    )


def _length(seconds: float) -> str:
    return f"{seconds / 3600:.2f} h" if seconds >= 360 else f"{seconds:.1f} s"
