"""Evaluates a model on a split: metrics with intervals, by class and by speaker, speed, and provenance.

The task defines the metrics (`hf_speech.tasks`); this module computes and combines them.

* Classes of corpus and model are matched by *name*; a class that the model lacks is an error.
* An unreadable sound is an error by default. Skipped sounds are counted in the report (`num_skipped`), because an
  accuracy over the readable files is not the accuracy over the split.
* The real-time factor is processing time over audio duration (0.01 is a hundred times faster than real time).
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pkgutil import resolve_name
from typing import Any, Literal

import numpy as np
from datasets import Dataset

from hf_speech.common.progress import progress_bar
from hf_speech.data.augmentation import Conditions
from hf_speech.data.reports import Finding, without_folders
from hf_speech.errors import CorpusError
from hf_speech.evaluation.intervals import CONFIDENCE, RESAMPLES, bootstrap_intervals, wilson_interval
from hf_speech.evaluation.provenance import machine, split_fingerprint, versions
from hf_speech.evaluation.report import EvaluationReport
from hf_speech.inference.beam_options import BeamOptions
from hf_speech.inference.decoders import beam_decoder, joint_log_probs, seconds_per_frame
from hf_speech.inference.prediction import Prediction, predict
from hf_speech.inference.pytorch import LoadedModel
from hf_speech.tasks import Record, Task

RESAMPLING_SEED = 0


def evaluate_model(
    loaded: LoadedModel,
    rows: Dataset,
    *,
    corpus: str,
    split: str,
    command: str,
    batch_size: int = 16,
    corpus_revision: str | None = None,
    bad_rows: Literal["refuse", "skip"] = "refuse",
    intervals_over: Literal["utterances", "speakers"] = "utterances",
    progress: bool = True,
    beam: BeamOptions | None = None,
    left_out: Sequence[Finding] = (),
    conditions: Conditions | None = None,
) -> EvaluationReport:
    """Evaluates a model on one split of a corpus.

    Args:
        loaded: A model from `load_model`.
        rows: The split: `audio`, the task's target column and, where known, `speaker`.
        corpus: Name of the corpus, for the report.
        split: Name of the split, for the report.
        command: The command line that repeats this evaluation, for the report.
        batch_size: Utterances per batch.
        corpus_revision: Version or commit of the corpus, if any, for the report.
        bad_rows: "refuse" raises an error for an unreadable sound, "skip" skips and counts it.
        intervals_over: The unit of resampling for the confidence intervals: "utterances" for the accuracy on these
            speakers, "speakers" for the accuracy on other speakers.
        progress: Whether to show a progress bar.
        beam: Options of a beam search with a language model; by default, the task decodes without one.
        left_out: Findings about utterances of the split that are not in `rows`, for the report.
        conditions: Recording conditions to simulate for every sound.

    Returns:
        The report, which can be saved and formatted.

    Raises:
        RecipeError: If the corpus is for another task than the model.
        CorpusError: If the split is empty, has classes unknown to the model, or nothing in it can be read.
        AudioError: If a sound cannot be read, and `bad_rows` is "refuse".
        ModelError: If the model's logits are not finite.
    """
    task = loaded.task
    task.check_columns(rows)
    if len(rows) == 0:
        raise CorpusError(f"The split {split} of {corpus} is empty: choose another split.")
    references = task.references(rows, loaded.model.config, loaded.tokenizer)
    predictions = list(predict(loaded, rows["audio"], batch_size, progress, bad_rows, conditions))
    records = _records(loaded, rows, references, predictions, beam, progress)
    skipped = [prediction for prediction in predictions if prediction.logits is None]
    if not records:
        raise CorpusError(f"No sound of the split {split} of {corpus} can be read; the first: {skipped[0].error}")

    details, notes = {}, []
    if task.details:
        measure = resolve_name(task.details)
        details, notes = measure(loaded, records, references, predictions, rows["audio"], conditions)
    tally = task.tally(records)
    speakers = [record["speaker"] for record in records]
    corpora = [record.get("corpus") for record in records]
    over_speakers = intervals_over == "speakers"
    if over_speakers and (None in speakers or len(set(speakers)) < 2):
        raise CorpusError(
            f"The split {split} of {corpus} does not name two speakers, which intervals over speakers require: use "
            "intervals over utterances."
        )
    confidence, method = _confidence(task, tally, speakers if over_speakers else None)
    audio_seconds = sum(record["duration"] for record in records)
    processing_seconds = sum(record["processing_seconds"] for record in records)
    return EvaluationReport(
        task=task.name,
        model=loaded.name,
        model_revision=loaded.revision,
        model_fingerprint=(
            loaded.fingerprint() if beam is None else loaded.fingerprint(beam.language_model, beam.uses_lexicon)
        ),
        num_parameters=loaded.model.num_parameters(),
        corpus=corpus,
        corpus_revision=corpus_revision,
        corpus_fingerprint=split_fingerprint(rows["audio"], references),
        split=split,
        num_utterances=len(records),
        num_skipped=len(skipped) + sum(finding.count for finding in left_out),
        metrics=_floats(task.metrics_from_counts(tally.sum(axis=0))),
        confidence=confidence,
        confidence_method=method,
        breakdowns={
            **task.breakdowns(records, loaded.model.config),
            **({"per_corpus": _per_group(task, tally, corpora)} if any(corpora) else {}),
            "per_speaker": _per_group(task, tally, speakers),
        },
        real_time_factor=processing_seconds / audio_seconds,
        real_time_factor_conditions={
            "definition": "processing time (reading the sound, features, model, text or class) / audio duration",
            "processing_seconds": processing_seconds,
            "audio_seconds": audio_seconds,
            "batch_size": batch_size,
            **machine(loaded.device),
        },
        decoder=None if beam is None else beam.describe(),
        command=command,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=versions(),
        records=records,
        skipped=without_folders(
            [
                *(str(prediction.error) for prediction in skipped),
                *(example for finding in left_out for example in finding.examples),
            ],
            _folders([source.get("path") for source in rows["audio"]]),
        ),
        conditions={} if conditions is None else conditions.describe(),
        details=details,
        notes=notes,
        confusions=task.confusions(records),
        confusion_matrix=task.confusion_matrix(records, loaded.model.config),
    )


def _records(
    loaded: LoadedModel,
    rows: Dataset,
    references: Sequence[str],
    predictions: Sequence[Prediction],
    beam: BeamOptions | None,
    progress: bool,
) -> list[Record]:
    """Returns a record of each utterance that was not skipped."""
    search = None if beam is None else beam_decoder(loaded, beam)
    size = len(rows)
    ids = list(rows["id"]) if "id" in rows.column_names else list(range(size))
    speakers = list(rows["speaker"]) if "speaker" in rows.column_names else [None] * size
    corpora = [{"corpus": name} for name in rows["corpus"]] if "corpus" in rows.column_names else [{}] * size
    paths = _relative([source.get("path") for source in rows["audio"]])
    records = []
    bar = progress_bar(
        predictions, desc="Beam search", unit="utterance", disable=search is None or not progress, leave=False
    )
    for i, prediction in enumerate(bar):
        if prediction.logits is None:
            continue
        started = time.perf_counter()
        if search is None:
            decoded = loaded.task.decode(prediction.logits, loaded.model.config, loaded.tokenizer)
        else:
            hypothesis = search(joint_log_probs(prediction), seconds_per_frame(loaded))[0]
            # The confidence of a text is that of its least certain word.
            confidence = min((word.confidence for word in hypothesis.words), default=1.0)
            decoded = {"prediction": hypothesis.text, "probability": confidence}
        seconds = prediction.processing_seconds + time.perf_counter() - started
        records.append(
            {
                "id": ids[i],
                "path": paths[i],
                **corpora[i],
                "speaker": speakers[i] or None,
                "duration": prediction.duration,
                "processing_seconds": seconds,
                **loaded.task.score(references[i], decoded),
            }
        )
    return records


def _relative(paths: Sequence[str | None]) -> list[str | None]:
    """Returns paths relative to their common folder, so that a report does not reveal folders of this machine."""
    shared = _folders(paths)[0] if any(paths) else ""
    return [os.path.relpath(os.path.abspath(path), shared) if path else None for path in paths]


def _folders(paths: Sequence[str | None]) -> list[str]:
    """Returns the common folder of the files, and the folder two levels above each file, longest first."""
    absolute = [os.path.abspath(path) for path in paths if path]
    shared = [os.path.commonpath([os.path.dirname(path) for path in absolute])] if absolute else []
    return [*shared, *sorted({os.path.dirname(os.path.dirname(path)) for path in absolute}, key=len, reverse=True)]


def _confidence(
    task: Task, tally: np.ndarray, speakers: Sequence[str] | None
) -> tuple[dict[str, tuple[float, float]], str]:
    """Returns the intervals of all metrics, and a sentence about the methods."""
    intervals = bootstrap_intervals(
        tally, task.metrics_from_counts, clusters=speakers, resamples=RESAMPLES, seed=RESAMPLING_SEED
    )
    exact: list[str] = []
    if speakers is None:
        intervals |= (proportions := _wilson(task, tally))
        exact = list(proportions)
    units = "utterances" if speakers is None else f"the {len(set(speakers))} speakers"
    rest = [name for name in intervals if name not in exact]
    method = f"{CONFIDENCE:.0%} intervals: "
    if exact:
        method += f"Wilson score for {', '.join(exact)}; "
    method += f"percentile bootstrap over {units} ({RESAMPLES} resamples, seed {RESAMPLING_SEED}) for "
    method += ", ".join(rest)
    if any(low == high for low, high in (intervals[name] for name in rest)):
        method += "; an interval of zero width only means that all resamples agree, as they do without any errors"
    return intervals, method


def _wilson(task: Task, tally: np.ndarray) -> dict[str, tuple[float, float]]:
    """Returns Wilson intervals of the metrics that are proportions of the utterances."""
    metrics = task.metrics_from_counts(tally.sum(axis=0))
    trials = len(tally)
    return {
        name: wilson_interval(round(float(value) * trials), trials)
        for name, value in metrics.items()
        if task.metrics[name].is_proportion
    }


def _per_group(task: Task, tally: np.ndarray, groups: Sequence[str | None]) -> dict[str, dict[str, Any]]:
    """Returns utterances, metrics and intervals of each named speaker or corpus."""
    table: dict[str, dict[str, Any]] = {}
    for group in sorted({group for group in groups if group is not None}):
        own = tally[[other == group for other in groups]]
        table[group] = {
            "num_utterances": len(own),
            **_floats(task.metrics_from_counts(own.sum(axis=0))),
            "confidence": _wilson(task, own),
        }
    return table


def _floats(metrics: dict[str, np.ndarray]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items()}
