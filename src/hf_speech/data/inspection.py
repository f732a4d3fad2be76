"""The inspection of a corpus: finds everything that could stop or spoil training before it starts.

Every row is decoded once, exactly as training will decode it, because headers can be wrong about the samples.
The same pass fills a `FirstPass` with all that is needed before the first step: waveforms and statistics of features.
Faults are counted by kind, with examples, and bad rows are refused or left out, as the recipe says; nothing is dropped
without being reported. What is valid but suspicious (one recording in two splits, silence) is a warning.
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
    """Decode every row of a split and look at its target.

    Args:
        rows: One split with the columns of `hf_speech.data.corpora.base`.
        sampling_rate: Rate in Hz at which training will read the audio.
        limits: The shortest and the longest good row in seconds, given the value of its column `corpus`, if any.
        description: What the progress bar says.
        min_samples: Samples that features need, so that fewer are bad.
        first_pass: Takes what training needs of the good sounds.
        split: Name of the split, for `first_pass`.

    Returns:
        Counts and examples of what is wrong, and the indices of the good rows.
    """
    report = SplitReport(num_rows=len(rows))
    audio = rows.select_columns("audio")
    column = target_column(rows)
    targets = list(rows[column]) if column is not None else []
    report.corpora = list(rows["corpus"]) if "corpus" in rows.column_names else []
    corpora: Sequence[str | None] = report.corpora or [None] * len(rows)

    if first_pass is not None:
        first_pass.begin(split, list(rows["duration"]))

    def look(index: int) -> _Decoded:
        return _decode(audio[index]["audio"], sampling_rate, limits(corpora[index])[1], first_pass)

    with ThreadPoolExecutor(_THREADS) as pool:
        decoded = pool.map(look, range(len(rows)))
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
                report.bad["too short"].add(f"{sound.name} lasts {sound.duration:.3g} s, and features need {needed}.")
            elif targets and _is_blank(targets[index]):
                report.bad[f"without {column}"].add(f"{sound.name} has no {column}.")
            else:
                report.good_indices.append(index)
                report.seconds += sound.duration
                if sound.is_silent:
                    report.warnings["silent"].add(f"{sound.name} is nothing but zeros.")
    return report


def duration_fault(name: str, seconds: float, shortest: float, longest: float) -> tuple[str, str] | None:
    """What is wrong with the duration of an utterance: the kind of fault and a sentence; None if nothing is."""
    if seconds < shortest:
        return "too short", f"{name} lasts {seconds:.3g} s, under {shortest:g} s."
    if seconds > longest:
        return "too long", f"{name} lasts {seconds:.3g} s, over {longest:g} s."
    return None


def inspect_corpus(
    dataset_dict: DatasetDict, corpus: Corpus, sampling_rate: int, first_pass: FirstPass | None = None
) -> tuple[DatasetDict, InspectionReport]:
    """Inspect every split of a corpus, and refuse or leave out its bad rows.

    Args:
        dataset_dict: What `corpus.load()` gave.
        corpus: The corpus, whose options say what is bad and what to do about it.
        sampling_rate: Rate in Hz at which training will read the audio.
        first_pass: Takes what training needs of the good sounds.

    Returns:
        The corpus without bad rows, and the report.

    Raises:
        CorpusError: If there are bad rows and `corpus.bad_rows` is "refuse", or if nothing is left to train on.
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
    """Inspect every split of a corpus, whatever is wrong with it.

    Args:
        dataset_dict: What `corpus.load()` gave.
        corpus: The corpus, whose options say what is bad.
        sampling_rate: Rate in Hz at which training will read the audio.
        only: The splits to decode and report; None for all. Of the others only the classes count.
        min_samples: Samples that features need, so that fewer are bad.
        first_pass: Takes what training needs of the good sounds.
    """
    report = InspectionReport(corpus.name, {}, warnings=list(corpus.notes), caveats=list(corpus.caveats))
    report.folders.update(corpus.local_folders())
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
            limits=corpus.limits,
            description=f"Inspecting {name}",
            min_samples=max(min_samples, 1 if first_pass is None else first_pass.min_samples),
            first_pass=first_pass,
            split=name,
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
    """What is kept of a decoded recording."""

    name: str
    duration: float = math.nan
    digest: bytes | None = None
    is_silent: bool = False
    error: BadAudio | None = None


def _decode(
    source: AudioSource, sampling_rate: int, max_duration: float, first_pass: FirstPass | None = None
) -> _Decoded:
    """Decode a sound block by block; of one that is too long, only the length is found out."""
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
        first_pass.take(source, blocks[0] if len(blocks) == 1 else np.concatenate(blocks))
    return _Decoded(name, count / sampling_rate, digest.digest(), is_silent)


def _reject_unseen_classes(dataset_dict: DatasetDict, report: InspectionReport) -> None:
    """Reject rows of classes that the training split lacks: their predictions can only be wrong."""
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
    """Refuse a training split from which nothing can be learned."""
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
    """Report recordings that are in two splits: a test on what training has seen says little."""
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
