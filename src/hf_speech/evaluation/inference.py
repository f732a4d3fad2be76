"""From a saved model and sounds to logits: loading what is there, or saying in one sentence what is not.

Decisions:

* The task follows from the model's own config (`architectures`), never from a flag that could contradict it.
* A model whose weights lack a parameter is refused: transformers would fill it with random numbers and warn.
* Weights are computed in float32 whatever they are stored in, so that figures do not depend on the storage.
* Utterances are read in windows of a few batches, sorted by length inside a window (little padding, bounded
  memory) and yielded in the order in which they came.
* The processing time is decoding, features and model, summed over utterances; loading the model is not in it.
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from tqdm.auto import tqdm
from transformers import AutoConfig, AutoFeatureExtractor, PreTrainedConfig, PreTrainedModel

import hf_speech.models  # noqa: F401 - registers our families with the Auto classes
from hf_speech.data.audio import AudioSource, read_audio, source_name
from hf_speech.errors import AudioError, HFSpeechError, ModelError
from hf_speech.evaluation.provenance import weights_revision
from hf_speech.tasks import TASKS, Task, get_task, rank_labels

# Batches that are read, and sorted by length, at a time.
WINDOW = 8

# What libraries raise over files that are missing, damaged, or not meant for them.
LOADING_ERRORS = (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError, StrictDataclassError)

HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True)
class LoadedModel:
    """A model, ready to be asked.

    Attributes:
        model: The model, in evaluation mode.
        feature_extractor: What makes its input of waveforms.
        task: What it does.
        name: The folder or Hub id it came from, as it was given.
        tokenizer: What makes text of ids, for tasks that need it.
    """

    model: PreTrainedModel
    feature_extractor: Any
    task: Task
    name: str
    tokenizer: Any = None

    @property
    def revision(self) -> str:
        """Which weights these are: the Hub's commit sha, or the checksum of a local folder's."""
        return weights_revision(Path(self.name).expanduser(), self.model.config)

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.model.device

    @property
    def sampling_rate(self) -> int:
        """The rate in Hz at which the model hears."""
        return int(self.feature_extractor.sampling_rate)


@dataclass(frozen=True)
class Prediction:
    """What a model gave for one utterance.

    Attributes:
        index: Position of the utterance in what was given to `predict`.
        logits: `(num_labels,)` or `(frames, vocabulary)` float32, or None for an utterance that was skipped.
        duration: Length of the sound in seconds.
        processing_seconds: Time for decoding, features and model; in a batch, its share by duration.
        error: Why the utterance was skipped.
    """

    index: int
    logits: np.ndarray | None
    duration: float = 0.0
    processing_seconds: float = 0.0
    error: str | None = None


def load_model(
    model_dir_or_id: str | Path,
    device: str | torch.device | None = None,
    revision: str | None = None,
    task: str | None = None,
) -> LoadedModel:
    """Loads a model folder or a model of the Hub, with its feature extractor.

    Args:
        model_dir_or_id: A folder, such as a run folder, or a Hub id (`owner/name`).
        device: Where to compute; None for a GPU if there is one, else the CPU.
        revision: Branch, tag or commit of a Hub model.
        task: Name of the task that the model must do; None for whichever it does.

    Raises:
        ModelError: If there is no such model, its folder lacks something, or it is a model of another task.
    """
    name = str(model_dir_or_id)
    wanted = None if task is None else get_task(task)
    _check_folder(Path(name).expanduser(), name)
    source = str(Path(name).expanduser()) if Path(name).expanduser().is_dir() else name
    # The code of our own models is part of this package; a stranger's is never run unasked.
    hub = {"revision": revision, "trust_remote_code": False}
    config = _from_pretrained(AutoConfig, source, name, "configuration", **hub)
    found = _task_of(config, name)
    if wanted is not None and found is not wanted:
        raise ModelError(f"{name} is a model for {found.name}, not for {wanted.name}: give a model for that task.")
    extractor = _from_pretrained(AutoFeatureExtractor, source, name, "feature extractor", **hub)
    model, report = _from_pretrained(
        found.auto_model_class,
        source,
        name,
        "model",
        config=config,
        dtype=torch.float32,
        use_safetensors=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # Not ignored, but told below in a sentence.
        **hub,
    )
    _check_weights(report, name)
    try:
        place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        model = model.eval().to(place)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(f"The device '{device}' cannot be used ({_reason(error)}): take cpu.") from error
    tokenizer = found.load_tokenizer(source, revision=revision)
    return LoadedModel(model, extractor, found, name, tokenizer)


def predict(
    loaded: LoadedModel,
    sources: Iterable[AudioSource],
    batch_size: int = 16,
    progress: bool = True,
    bad_rows: Literal["refuse", "skip"] = "refuse",
) -> Iterator[Prediction]:
    """Runs a model over sounds, in batches of similar length.

    Args:
        loaded: What `load_model` gave.
        sources: Paths, bytes, or rows of the `audio` column; they may be lazy.
        batch_size: Utterances in a batch.
        progress: Whether to show a progress bar.
        bad_rows: What to do with a sound that cannot be read: raise its error, or yield it without logits.

    Yields:
        One `Prediction` for each source, in their order.

    Raises:
        AudioError: If a sound cannot be read or is too short, and `bad_rows` is "refuse".
        ModelError: If the model gives logits that are not finite.
    """
    total = len(sources) if isinstance(sources, Sized) else None
    numbered = enumerate(sources)
    with tqdm(total=total, unit="utterance", desc="Evaluating", disable=not progress, leave=False) as bar:
        while window := list(itertools.islice(numbered, WINDOW * batch_size)):
            results: dict[int, Prediction] = {}
            utterances = []
            for index, source in window:
                try:
                    utterances.append(_read(index, source, loaded.sampling_rate))
                except AudioError as error:
                    results[index] = _skip(index, error, bad_rows)
            utterances.sort(key=lambda utterance: len(utterance.samples))
            for first in range(0, len(utterances), batch_size):
                for prediction in _run(loaded, utterances[first : first + batch_size], bad_rows):
                    results[prediction.index] = prediction
                    bar.update()
            for index, _ in window:
                yield results[index]


def classify_files(
    model_dir_or_id: str | Path, files: Sequence[str | Path], top_k: int = 3, device: str | None = None
) -> Iterator[dict[str, Any]]:
    """Names the likeliest classes of sound files.

    Args:
        model_dir_or_id: A model folder or Hub id, of an audio classifier.
        files: The sound files.
        top_k: Classes to name for each.
        device: Where to compute, as for `load_model`.

    Yields:
        For each file `{"file", "labels": [{"label", "score"}, ...]}`, the likeliest first, the scores being
        probabilities; or `{"file", "error"}` for one that cannot be read.

    Raises:
        ModelError: If the model cannot be loaded or is no classifier.
    """
    loaded = load_model(model_dir_or_id, device, task="audio-classification")
    for prediction in predict(loaded, files, progress=False, bad_rows="skip"):
        file = str(files[prediction.index])
        if prediction.logits is None:
            yield {"file": file, "error": prediction.error}
        else:
            ranked = rank_labels(prediction.logits, loaded.model.config.id2label)[:top_k]
            yield {"file": file, "labels": [{"label": label, "score": score} for label, score in ranked]}


@dataclass(frozen=True)
class _Utterance:
    """A sound that has been read: its samples `(samples,)`, and the seconds that reading took."""

    index: int
    name: str
    samples: np.ndarray
    seconds: float


def _read(index: int, source: AudioSource, sampling_rate: int) -> _Utterance:
    started = time.perf_counter()
    samples = read_audio(source, sampling_rate)
    return _Utterance(index, source_name(source), samples, time.perf_counter() - started)


def _run(loaded: LoadedModel, batch: Sequence[_Utterance], bad_rows: str) -> Iterator[Prediction]:
    """Features and model of one batch."""
    rate = loaded.sampling_rate
    started = time.perf_counter()
    try:
        inputs = loaded.feature_extractor(
            [utterance.samples for utterance in batch], sampling_rate=rate, padding=True, return_tensors="pt"
        )
    except ValueError as error:
        if len(batch) > 1:
            # Some utterance spoils the batch, by being too short for a frame: alone, each answers for itself.
            for utterance in batch:
                yield from _run(loaded, [utterance], bad_rows)
        else:
            yield _skip(batch[0].index, AudioError(f"{batch[0].name} cannot be used: {error}"), bad_rows)
        return
    with torch.inference_mode():
        outputs = loaded.model(**{key: value.to(loaded.device) for key, value in inputs.items()})
        logits = outputs.logits.float().cpu().numpy()
    seconds = time.perf_counter() - started
    total_samples = sum(len(utterance.samples) for utterance in batch)
    for utterance, utterance_logits in zip(batch, logits, strict=True):
        if not np.isfinite(utterance_logits).all():
            raise ModelError(
                f"{loaded.name} gives logits that are not finite for {utterance.name}: its training diverged, "
                "so train it again with a lower learning rate."
            )
        share = seconds * len(utterance.samples) / total_samples
        yield Prediction(utterance.index, utterance_logits, len(utterance.samples) / rate, utterance.seconds + share)


def _skip(index: int, error: HFSpeechError, bad_rows: str) -> Prediction:
    if bad_rows == "refuse":
        raise error
    return Prediction(index, None, error=str(error))


def _check_folder(path: Path, name: str) -> None:
    """Refuses what can only be meant as a local folder and is not a whole model."""
    if path.is_file():
        raise ModelError(f"{name} is a file: give the model folder it lies in.")
    if not path.is_dir():
        # `runs/digits` could be a Hub id, too; where there is a folder `runs`, it is not meant as one.
        if not HUB_ID.fullmatch(name) or ("/" in name and path.parent.is_dir()):
            raise ModelError(
                f"There is no folder {name}: give a run folder that `hf-speech train` wrote, or a Hub id such "
                "as owner/name."
            )
        return
    remedy = "give the model folder that `hf-speech train` or `save_pretrained` wrote."
    if not (path / "config.json").is_file():
        nested = sorted(file.parent for file in path.glob("*/config.json"))
        raise ModelError(
            f"{name} is not a model folder (it has no config.json): "
            + (f"did you mean {nested[0]}?" if nested else remedy)
        )
    if not any(path.glob("*.safetensors")):
        raise ModelError(f"{name} has no weights (model.safetensors): {remedy}")
    if not any((path / file).is_file() for file in ("preprocessor_config.json", "processor_config.json")):
        raise ModelError(f"{name} has no feature extractor (preprocessor_config.json): {remedy}")


def _task_of(config: PreTrainedConfig, name: str) -> Task:
    """The task of the model class that the config names."""
    architectures = config.architectures or []
    for task in TASKS.values():
        if any(architecture.endswith(task.architecture_suffixes) for architecture in architectures):
            return task
    what = architectures[0] if architectures else "model without a named architecture"
    raise ModelError(f"{name} is a {what}: only models for {' and '.join(TASKS)} can be used here.")


def _check_weights(report: dict[str, Any], name: str) -> None:
    """Refuses weights that are not those of the configuration; transformers would fill and drop, and warn."""
    missing, unexpected = sorted(report["missing_keys"]), sorted(report["unexpected_keys"])
    mismatched = sorted(key for key, *_ in report["mismatched_keys"])
    for keys, what in (
        (missing, "lack {} of its parameters"),
        (unexpected, "hold {} parameters that it does not have"),
        (mismatched, "have {} parameters of another size"),
    ):
        if keys:
            raise ModelError(
                f"The weights of {name} do not fit its configuration: they {what.format(len(keys))} (such as "
                f"{keys[0]}), so save model and configuration together again."
            )


def _from_pretrained(cls: Any, source: str, name: str, part: str, **arguments: Any) -> Any:
    """`cls.from_pretrained`, with one sentence for whatever goes wrong."""
    try:
        return cls.from_pretrained(source, **arguments)
    except LOADING_ERRORS as error:
        if not Path(source).is_dir() and part == "configuration":
            raise ModelError(
                f"There is no folder {name} here, and no model of that name can be had from the Hub "
                f"({_reason(error)}): check the name, the network and the login."
            ) from error
        foreign = "custom code" in str(error)
        remedy = "only families of this package and of transformers are run" if foreign else "save the model again"
        raise ModelError(f"The {part} of {name} cannot be loaded ({_reason(error)}): {remedy}.") from error


def _reason(error: BaseException) -> str:
    """The first sentence of a library's error, in one line."""
    text = " ".join(str(error).split())
    first = re.split(r"(?<=[.!]) (?=[A-Z])", text)[0].rstrip(".!:;")
    return first if len(first) <= 200 else f"{first[:200]}..."
