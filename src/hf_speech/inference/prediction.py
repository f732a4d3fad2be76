"""Batched prediction with any back end.

* Utterances are read in windows of a few batches, sorted by length within a window to bound padding and memory, and
  yielded in their original order.
* The processing time covers reading, features and model, but not loading the model.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hf_speech.common.progress import progress_bar
from hf_speech.data.audio import AudioSource, read_audio, source_name
from hf_speech.errors import AudioError, HFSpeechError, ModelError
from hf_speech.inference.opening import open_model
from hf_speech.inference.recognizer import Model

if TYPE_CHECKING:
    from hf_speech.data.augmentation import Conditions

# Batches per window, in which utterances are sorted by length.
WINDOW = 8
# Longer sounds are not single utterances, and recurrent layers would need gigabytes for them.
MAX_SECONDS = 1200.0


@dataclass(frozen=True)
class Prediction:
    """The output of a model for one utterance.

    Attributes:
        index: Position of the utterance in the sources.
        logits: `(num_labels,)` or `(frames, vocabulary)` float32, or None for a skipped utterance.
        phone_logits: `(frames, phones)` float32, if the recognizer also predicts phones.
        duration: Length of the sound in seconds.
        processing_seconds: Time for reading, features and model; the time of a batch is divided by duration.
        error: The error message of a skipped utterance.
    """

    index: int
    logits: np.ndarray | None
    duration: float = 0.0
    processing_seconds: float = 0.0
    error: str | None = None
    phone_logits: np.ndarray | None = None


def predict(
    model: Model,
    sources: Iterable[AudioSource],
    batch_size: int = 16,
    progress: bool = True,
    bad_rows: Literal["refuse", "skip"] = "refuse",
    conditions: Conditions | None = None,
) -> Iterator[Prediction]:
    """Runs a model on sounds, in batches of similar length.

    Args:
        model: A model from `load_model` or `open_model`.
        sources: Paths, bytes, or rows of the `audio` column; may be lazy.
        batch_size: Utterances per batch.
        progress: Whether to show a progress bar.
        bad_rows: "refuse" raises the error of an unreadable sound, "skip" yields a prediction without logits.
        conditions: Recording conditions to simulate for every sound.

    Yields:
        A `Prediction` for each source, in order.

    Raises:
        AudioError: If a sound cannot be read or is too short, and `bad_rows` is "refuse".
        ModelError: If logits are not finite.
    """
    total = len(sources) if isinstance(sources, Sized) else None
    numbered = enumerate(sources)
    with progress_bar(total=total, unit="utterance", desc="Evaluating", disable=not progress, leave=False) as bar:
        while window := list(itertools.islice(numbered, WINDOW * batch_size)):
            results: dict[int, Prediction] = {}
            utterances = []
            for index, source in window:
                try:
                    utterances.append(_read(index, source, model.sampling_rate, conditions))
                except AudioError as error:
                    results[index] = _skip(index, error, bad_rows)
            utterances.sort(key=lambda utterance: len(utterance.samples))
            for first in range(0, len(utterances), batch_size):
                for prediction in _run(model, utterances[first : first + batch_size], bad_rows):
                    results[prediction.index] = prediction
                    bar.update()
            for index, _ in window:
                yield results[index]


def classify_files(
    model: Model | str | Path, files: Sequence[str | Path], top_k: int = 3, device: str | None = None
) -> Iterator[dict[str, Any]]:
    """Classifies sound files with a model for short recordings.

    Args:
        model: A model from `open_model`, a model folder, a Hub id, an exported folder or a file in it.
        files: The sound files.
        top_k: Number of labels to return for each file.
        device: Device for PyTorch.

    Yields:
        For each file, `{"file"}` merged with the result of `Task.answer`, for a classifier `{"labels": [{"label",
        "score"}, ...]}` with the most likely label first; or `{"file", "error"}` for an unreadable file.

    Raises:
        ModelError: If the model cannot be loaded, or is for another command.
    """
    opened = open_model(model, verb="classify", device=device) if isinstance(model, str | Path) else model
    for prediction in predict(opened, files, progress=False, bad_rows="skip"):
        file = {"file": str(files[prediction.index])}
        if prediction.logits is None:
            yield file | {"error": prediction.error}
        else:
            yield file | opened.task.answer(prediction.logits, opened.labels, top_k)


@dataclass(frozen=True)
class _Utterance:
    """The samples `(samples,)` of a sound, and the seconds spent reading it."""

    index: int
    name: str
    samples: np.ndarray
    seconds: float


def _read(index: int, source: AudioSource, sampling_rate: int, conditions: Conditions | None) -> _Utterance:
    started = time.perf_counter()
    samples = read_audio(source, sampling_rate, MAX_SECONDS)
    if conditions is not None:
        samples = conditions.apply(samples, sampling_rate, index)
    return _Utterance(index, source_name(source), samples, time.perf_counter() - started)


def _run(model: Model, batch: Sequence[_Utterance], bad_rows: str) -> Iterator[Prediction]:
    """Computes features and logits of a batch."""
    started = time.perf_counter()
    try:
        outputs = model.run([utterance.samples for utterance in batch])
    except AudioError as error:
        if len(batch) > 1:
            # A sound is too short for a frame. Process each sound alone to find it.
            for utterance in batch:
                yield from _run(model, [utterance], bad_rows)
        else:
            yield _skip(batch[0].index, AudioError(f"{batch[0].name} cannot be used: {error}"), bad_rows)
        return
    seconds = time.perf_counter() - started
    total_samples = sum(len(utterance.samples) for utterance in batch)
    for utterance, output in zip(batch, outputs, strict=True):
        if not np.isfinite(output.logits).all():
            raise ModelError(
                f"{model.name} gives logits that are not finite for {utterance.name}, because its training diverged: "
                "train it again with a lower learning rate."
            )
        yield Prediction(
            utterance.index,
            output.logits,
            len(utterance.samples) / model.sampling_rate,
            utterance.seconds + seconds * len(utterance.samples) / total_samples,
            phone_logits=output.phone_logits,
        )


def _skip(index: int, error: HFSpeechError, bad_rows: str) -> Prediction:
    if bad_rows == "refuse":
        raise error
    return Prediction(index, None, error=str(error))
