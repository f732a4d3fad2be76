"""Inspects a corpus before training, to find problems that would stop training or degrade the model.

Every row is decoded once, exactly as in training, because a header may not match the samples. The same pass collects
waveforms and feature statistics in a `FirstPass`. Problems are counted by kind, with examples. The recipe determines
whether bad rows raise an error or are left out, and all omissions are reported. Valid but suspicious data (a recording
in two splits, silence) causes a warning.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict

from hf_speech.common.progress import progress_bar
from hf_speech.common.text import counted, plural
from hf_speech.data.audio import AudioSource, read_blocks, source_name
from hf_speech.data.corpora.base import Corpus, target_column
from hf_speech.data.first_pass import FirstPass
from hf_speech.data.headers import BadAudio
from hf_speech.data.reports import Finding, InspectionReport, SplitReport
from hf_speech.errors import CorpusError

_THREADS = min(8, os.cpu_count() or 1)


def inspect_split(
    rows: Dataset,
    *,
    sampling_rate: int,
    limits: Callable[[str | None], tuple[float, float]],
    description: str = "Inspecting",
    min_samples: int = 1,
    first_pass: FirstPass | None = None,
    split: str = "",
) -> SplitReport:
    """Decodes every row of a split and checks its target.

    Args:
        rows: One split with the columns of `hf_speech.data.corpora.base`.
        sampling_rate: Sampling rate of the training audio in Hz.
        limits: Returns the minimum and maximum duration in seconds for a value of the column `corpus` (None without).
        description: The label of the progress bar.
        min_samples: The minimum number of samples for features; shorter rows are bad.
        first_pass: Collects waveforms and statistics of the recordings for training.
        split: Name of the split, for `first_pass`.

    Returns:
        Counts and examples of problems, and the indices of the good rows.
    """
    report = SplitReport(num_rows=len(rows))
    audio = rows.select_columns("audio")
    column = target_column(rows)
    targets = list(rows[column]) if column is not None else []
    report.corpora = list(rows["corpus"]) if "corpus" in rows.column_names else []
    corpora: Sequence[str | None] = report.corpora or [None] * len(rows)

    if first_pass is not None:
        first_pass.begin(split, list(rows["duration"]))

    def decode(index: int) -> _Decoded:
        return _decode(audio[index]["audio"], sampling_rate, limits(corpora[index])[1], first_pass)

    with ThreadPoolExecutor(_THREADS) as pool:
        decoded = pool.map(decode, range(len(rows)))
        progress = progress_bar(decoded, desc=description, total=len(rows), unit="utterance", delay=0.5, leave=False)
        for index, sound in enumerate(progress):
            if os.path.isabs(sound.name):
                report.folders.add(str(Path(sound.name).parent.parent))
            report.durations.append(sound.duration)
            report.digests.append(sound.digest)
            if sound.error is not None:
                report.bad[sound.error.kind].add(str(sound.error))
            elif fault := duration_fault(sound.name, sound.duration, *limits(corpora[index])):
                report.bad[fault[0]].add(fault[1])
            elif sound.duration * sampling_rate < min_samples - 0.5:
                needed = f"{min_samples / sampling_rate:.3g} s"
                report.bad["too short"].add(f"{sound.name} lasts {sound.duration:.3g} s, but features need {needed}.")
            elif targets and _is_blank(targets[index]):
                report.bad[f"without {column}"].add(f"{sound.name} has no {column}.")
            else:
                report.good_indices.append(index)
                report.seconds += sound.duration
                if sound.is_silent:
                    report.warnings["silent"].add(f"{sound.name} contains only zeros.")
    return report


def duration_fault(name: str, seconds: float, shortest: float, longest: float) -> tuple[str, str] | None:
    """Returns the kind of problem with the duration of an utterance and a sentence about it, or None."""
    if seconds < shortest:
        return "too short", f"{name} lasts {seconds:.3g} s, under {shortest:g} s."
    if seconds > longest:
        return "too long", f"{name} lasts {seconds:.3g} s, over {longest:g} s."
    return None


def inspect_corpus(
    dataset_dict: DatasetDict, corpus: Corpus, sampling_rate: int, first_pass: FirstPass | None = None
) -> tuple[DatasetDict, InspectionReport]:
    """Inspects every split of a corpus, and refuses or leaves out its bad rows.

    Args:
        dataset_dict: The splits that `corpus.load()` returned.
        corpus: The corpus, with its options for bad rows.
        sampling_rate: Sampling rate of the training audio in Hz.
        first_pass: Collects waveforms and statistics of the recordings for training.

    Returns:
        The corpus without bad rows, and the report.

    Raises:
        CorpusError: If there are bad rows and `corpus.bad_rows` is "refuse", or if there is nothing left to train on.
    """
    report = survey_corpus(dataset_dict, corpus, sampling_rate, first_pass=first_pass)
    if report.num_bad and corpus.bad_rows == "refuse":
        raise CorpusError(report.refusal())
    _check_train(dataset_dict, report)
    good = {
        name: rows.select(report.splits[name].good_indices) if report.splits[name].num_bad else rows
        for name, rows in dataset_dict.items()
    }
    return DatasetDict(good), report


def survey_corpus(
    dataset_dict: DatasetDict,
    corpus: Corpus,
    sampling_rate: int,
    only: Collection[str] | None = None,
    min_samples: int = 1,
    first_pass: FirstPass | None = None,
) -> InspectionReport:
    """Inspects every split of a corpus and reports all problems without raising an error for bad rows.

    Args:
        dataset_dict: The splits that `corpus.load()` returned.
        corpus: The corpus, with its limits of durations.
        sampling_rate: Sampling rate of the training audio in Hz.
        only: The splits to decode and report; None for all. Only the classes of other splits are used.
        min_samples: The minimum number of samples for features; shorter rows are bad.
        first_pass: Collects waveforms and statistics of the recordings for training.
    """
    report = InspectionReport(corpus.name, {}, warnings=list(corpus.notes), caveats=list(corpus.caveats))
    report.folders.update(corpus.local_folders())
    for name, rows in dataset_dict.items():
        if only is not None and name not in only:
            count = len(rows)
            report.splits[name] = SplitReport(
                count, good_indices=list(range(count)), durations=[0.0] * count, digests=[None] * count
            )
            continue
        report.splits[name] = inspect_split(
            rows,
            sampling_rate=sampling_rate,
            limits=corpus.limits,
            description=f"Inspecting {name}",
            min_samples=max(min_samples, 1 if first_pass is None else first_pass.min_samples),
            first_pass=first_pass,
            split=name,
        )
    _reject_unseen_classes(dataset_dict, report)
    report.splits = {name: split for name, split in report.splits.items() if only is None or name in only}
    for name, split in report.splits.items():
        if not split.good_indices:
            report.warnings.append(f"The split {name!r} has no utterances.")
    report.warnings += _common_recordings(dataset_dict, report)
    report.warnings += _contradictions(dataset_dict, report)
    return report


@dataclass
class _Decoded:
    """The properties of a decoded recording."""

    name: str
    duration: float = math.nan
    digest: bytes | None = None
    is_silent: bool = False
    error: BadAudio | None = None


def _decode(
    source: AudioSource, sampling_rate: int, max_duration: float, first_pass: FirstPass | None = None
) -> _Decoded:
    """Decodes a recording block by block; if it is longer than `max_duration`, its samples are not kept."""
    name = source_name(source)
    digest = hashlib.blake2b(digest_size=16)
    blocks: list[np.ndarray] = []
    count, is_silent = 0, True
    try:
        for block in read_blocks(source, sampling_rate):
            digest.update(block.tobytes())
            count += len(block)
            is_silent = is_silent and not block.any()
            if count <= max_duration * sampling_rate:
                blocks.append(block)
            else:
                blocks.clear()
    except BadAudio as error:
        return _Decoded(name, error=error)
    if first_pass is not None and blocks and count >= first_pass.min_samples:
        first_pass.store(source, blocks[0] if len(blocks) == 1 else np.concatenate(blocks))
    return _Decoded(name, count / sampling_rate, digest.digest(), is_silent)


def _reject_unseen_classes(dataset_dict: DatasetDict, report: InspectionReport) -> None:
    """Rejects rows of classes that the training split lacks, since their predictions can only be wrong."""
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
    """Raises `CorpusError` if the training split has no good rows."""
    if "train" in dataset_dict and not report.splits["train"].good_indices:
        raise CorpusError(f"The corpus {report.corpus!r} has no utterance to train on: check its train split.")


def check_classes(train: Dataset, corpus: str) -> None:
    """Checks that a model can learn classes from a training split, if its targets are classes.

    Raises:
        CorpusError: If all utterances are of the same class.
    """
    if (column := _class_column(train)) is not None and len(set(train[column])) < 2:
        raise CorpusError(f"The corpus {corpus!r} has one class in train: add utterances of another class.")


def _class_column(rows: Dataset) -> str | None:
    """Returns the target column of a split if its targets are named classes, else None."""
    column = target_column(rows)
    return column if column is not None and isinstance(rows.features[column], ClassLabel) else None


def _common_recordings(dataset_dict: DatasetDict, report: InspectionReport) -> list[str]:
    """Returns warnings about recordings that are in two splits, which make a test split unreliable."""
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
        f"{counted(finding.count, 'recording')} of {split} {plural(finding.count, 'is', 'are')} also in {elsewhere}, "
        f"such as: {finding.examples[0]}"
        for (elsewhere, split), finding in common.items()
    ]


def _contradictions(dataset_dict: DatasetDict, report: InspectionReport) -> list[str]:
    """Returns a warning if the same recording has different targets, all but one of which must be wrong.

    Transcripts that differ only in case, spaces and punctuation are the same.
    """
    first: dict[bytes, tuple[str, int, Any]] = {}
    common = Finding()
    for split, found in report.splits.items():
        rows = dataset_dict[split]
        if (column := target_column(rows)) is None:
            continue
        targets = [_letters(target) if isinstance(target, str) else target for target in rows[column]]
        for index in found.good_indices:
            if (digest := found.digests[index]) is None:
                continue
            elsewhere, other, target = first.setdefault(digest, (split, index, targets[index]))
            if target != targets[index]:
                places = ((elsewhere, other), (split, index))
                common.add(" = ".join(_name_with_target(dataset_dict[s], i) for s, i in places))
    if not common.count:
        return []
    rows = counted(common.count, "row repeats a recording", "rows repeat recordings")
    return [f"{rows} with another {column}, such as: {common.examples[0]}; remove the wrong rows."]


def _letters(text: str) -> str:
    """Returns the letters and digits of a text in lower case."""
    return "".join(filter(str.isalnum, text.casefold()))


def _name_with_target(rows: Dataset, index: int) -> str:
    row, column = rows[index], str(target_column(rows))
    feature = rows.features[column]
    target = feature.int2str(row[column]) if isinstance(feature, ClassLabel) else row[column]
    return f"{source_name(row['audio'])} ({target!r})"


def _is_blank(target: Any) -> bool:
    return (
        target is None or (isinstance(target, str) and not target.strip()) or (isinstance(target, int) and target < 0)
    )
