"""Models that label recordings: this package's, or any of transformers' that writes text or classes.

A model of another family is opened by transformers' own `pipeline`, which finds its task and its parts. Classes come
from the pipeline itself. It gives no confidence with a transcript, so that logits and scores of a recognizer are asked
for directly; recordings are utterances, which need none of its chunks.

The confidence of a transcript is the probability of its least certain word (of a sequence-to-sequence model: token).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from hf_speech.data.audio import read_audio
from hf_speech.decoding import best_path
from hf_speech.errors import AudioError, ModelError
from hf_speech.inference.onnx_description import is_exported
from hf_speech.inference.opening import open_model
from hf_speech.inference.prediction import predict
from hf_speech.inference.recognizer import log_softmax
from hf_speech.inference.transcription import transcribe_files
from hf_speech.tasks import TASKS

MAX_NEW_TOKENS = 256
"""Tokens of a transcript, by a model that does not say how many it writes at most."""
BATCH_SIZE = 8
"""Recordings that are computed at a time."""
SORTED_BATCHES = 4
"""Batches among which recordings are sorted by length."""


@dataclass(frozen=True)
class Label:
    """What a teacher says about one recording.

    Attributes:
        answer: The transcript, or the class.
        confidence: How sure it is, 0 to 1.
        duration: Seconds of the recording.
        error: Why it cannot be read; then there is no answer.
        log_probability: Mean natural logarithm of the probabilities of a transcript's words or tokens.
    """

    answer: str
    confidence: float
    duration: float
    error: str | None = None
    log_probability: float | None = None


class Teacher(Protocol):
    """A model that labels recordings.

    Attributes:
        name: Folder or Hub id.
        column: What its answers are: "text" or "label", a column of a corpus.
    """

    name: str
    column: str

    def label(self, files: Sequence[Path]) -> Iterator[Label]:
        """Yields a label for each file, in their order."""


def open_teacher(path_or_id: str, batch_size: int | None = None) -> Teacher:
    """Opens a model that labels recordings.

    Args:
        path_or_id: A model folder or a Hub id (`owner/name`, or `owner/name@revision`), of this package or of
            transformers.
        batch_size: Recordings that a model of transformers computes at a time, as `PipelineTeacher` takes it.

    Raises:
        ModelError: If there is no such model, or it gives neither text nor classes.
    """
    name, _, revision = (path_or_id, "", "") if Path(path_or_id).exists() else path_or_id.partition("@")
    own_families = {model_type for task in TASKS.values() for model_type in task.model_types}
    if is_exported(name) or _config(name, revision or None).get("model_type") in own_families:
        return OwnTeacher(name, revision or None)
    return PipelineTeacher(name, revision or None, batch_size)


class OwnTeacher:
    """A model of this package."""

    def __init__(self, name: str, revision: str | None = None) -> None:
        self.name = name
        self._model: Any = open_model(name, revision=revision)
        self.column = self._model.task.target_column
        if self._model.task.verb not in ("transcribe", "classify"):
            raise ModelError(f"{name} gives neither text nor classes: choose another teacher.")

    def label(self, files: Sequence[Path]) -> Iterator[Label]:
        """Yields a label for each file, in their order."""
        if self._model.task.verb == "transcribe":
            for transcript in transcribe_files(self._model, files, progress=False):
                sure = [word.confidence for word in transcript.hypothesis.words]
                yield _transcribed(transcript.hypothesis.text, sure, transcript.duration, transcript.error)
            return
        for prediction in predict(self._model, files, progress=False, bad_rows="skip"):
            if prediction.logits is None:
                yield Label("", 0.0, 0.0, prediction.error)
                continue
            best = self._model.task.answer(prediction.logits, self._model.labels, 1)["labels"][0]
            yield Label(best["label"], best["score"], prediction.duration)


class PipelineTeacher:
    """A model of another family, which transformers can run without code of its own.

    Args:
        name: Folder or Hub id.
        revision: Revision of a Hub id.
        batch_size: Recordings that are computed at a time, where that changes no answer: by models that pad to a fixed
            length (Whisper), and by CTC models that ignore padding.
            By default 8, which is a third faster for Whisper on one thread of a CPU (docs/labeling.md); 1 for a CTC
            model on a CPU, where nothing was measured.
    """

    def __init__(self, name: str, revision: str | None = None, batch_size: int | None = None) -> None:
        import torch
        from transformers import pipeline
        from transformers.utils import logging

        self.name = name
        logging.disable_progress_bar()
        try:
            architecture = next(iter(_config(name, revision).get("architectures") or []), "")
            task = next((task for ends, task in _PIPELINES if architecture.endswith(ends)), None)
            if task is None:
                raise ModelError(f"{name} ({architecture or 'no architecture'}) gives neither text nor classes.")
            # Weights may be kept in half precision, in which a CPU computes slowly or not at all.
            precision = "auto" if torch.accelerator.is_available() else torch.float32
            self._pipeline: Any = pipeline(
                task, model=name, revision=revision, trust_remote_code=False, dtype=precision
            )
        except ModelError:
            raise
        except Exception as error:  # Libraries raise anything over files that are missing or damaged.
            reason = " ".join(str(error).split())[:200]
            raise ModelError(f"The teacher {name} cannot be loaded ({reason}): check its name or folder.") from error
        self.column = "label" if task == "audio-classification" else "text"
        self.sampling_rate = int(self._pipeline.feature_extractor.sampling_rate)

        self._pads_to_fixed_length = hasattr(self._pipeline.feature_extractor, "nb_max_frames")
        if self.column == "label" or not (self._pads_to_fixed_length or _ignores_padding(self._pipeline)):
            batch_size = 1
        elif batch_size is None:
            pays = self._pads_to_fixed_length or self._pipeline.device.type != "cpu"
            batch_size = BATCH_SIZE if pays else 1
        self.batch_size = batch_size

    def label(self, files: Sequence[Path]) -> Iterator[Label]:
        """Yields a label for each file, in their order."""
        window = 1 if self.batch_size == 1 else SORTED_BATCHES * self.batch_size
        for start in range(0, len(files), window):
            yield from self._label_window(files[start : start + window])

    def _label_window(self, files: Sequence[Path]) -> list[Label]:
        """The labels of a few files, of which those of about equal length are computed together."""
        labels: dict[int, Label] = {}
        sounds: dict[int, np.ndarray] = {}
        for index, file in enumerate(files):
            try:
                sounds[index] = read_audio(file, self.sampling_rate)
            except AudioError as error:
                labels[index] = Label("", 0.0, 0.0, str(error))
        by_length = sorted(sounds, key=lambda index: len(sounds[index]))
        for start in range(0, len(by_length), self.batch_size):
            batch = by_length[start : start + self.batch_size]
            answers = self._answer([sounds[index] for index in batch])
            labels.update(zip(batch, answers, strict=True))
        return [labels[index] for index in range(len(files))]

    def _answer(self, sounds: list[np.ndarray]) -> list[Label]:
        """The labels of a batch of sounds."""
        seconds = [len(samples) / self.sampling_rate for samples in sounds]
        if self.column == "text":
            write = self._generate if self._pipeline.model.can_generate() else self._spell
            return [_transcribed(*written, length) for written, length in zip(write(sounds), seconds, strict=True)]
        found = [self._pipeline({"raw": samples, "sampling_rate": self.sampling_rate}) for samples in sounds]
        best = [max(classes, key=lambda one: one["score"]) for classes in found]
        return [Label(str(b["label"]), float(b["score"]), length) for b, length in zip(best, seconds, strict=True)]

    def _inputs(self, sounds: list[np.ndarray]) -> dict[str, Any]:
        pipe = self._pipeline
        padding = {"return_attention_mask": True} if self._pads_to_fixed_length else {"padding": True}
        inputs = pipe.feature_extractor(sounds, sampling_rate=self.sampling_rate, return_tensors="pt", **padding)
        kinds = {key: pipe.model.dtype if value.is_floating_point() else None for key, value in inputs.items()}
        return {key: value.to(pipe.model.device, dtype=kinds[key]) for key, value in inputs.items()}

    def _spell(self, sounds: list[np.ndarray]) -> Iterator[tuple[str, list[float]]]:
        """Transcripts of a CTC model's best path, and the probabilities of their tokens."""
        import torch

        pipe, inputs = self._pipeline, self._inputs(sounds)
        with torch.no_grad():
            logits = pipe.model(**inputs).logits.float().cpu().numpy()
        frames = [logits.shape[1]] * len(sounds)
        if len(sounds) > 1:
            lengths = torch.tensor([len(samples) for samples in sounds])
            frames = pipe.model._get_feat_extract_output_lengths(lengths).tolist()
        for rows, count in zip(logits, frames, strict=True):
            log_probs = log_softmax(rows[:count])
            sure = [token.probability for token in best_path(log_probs, pipe.tokenizer.pad_token_id)]
            yield pipe.tokenizer.decode(log_probs.argmax(axis=-1)).strip(), sure

    def _generate(self, sounds: list[np.ndarray]) -> Iterator[tuple[str, list[float]]]:
        """Greedy transcripts of a sequence-to-sequence model, and the probabilities of their tokens."""
        import torch

        pipe = self._pipeline
        wanted: dict[str, Any] = {"return_dict_in_generate": True, "output_scores": True, "num_beams": 1}
        own = pipe.model.generation_config
        if own.max_new_tokens is None and own.max_length in (None, 20):  # The library's default, of few words.
            wanted["max_new_tokens"] = MAX_NEW_TOKENS
        with torch.no_grad():
            found = pipe.model.generate(**self._inputs(sounds), **wanted)
            scores = pipe.model.compute_transition_scores(found.sequences, found.scores, normalize_logits=True)
        special = set(pipe.tokenizer.all_special_ids)
        for ids, own_scores in zip(found.sequences, scores.exp().tolist(), strict=True):
            written = ids[-len(own_scores) :].tolist()
            sure = [score for token, score in zip(written, own_scores, strict=True) if token not in special]
            yield pipe.tokenizer.decode(ids, skip_special_tokens=True).strip(), sure


def _ignores_padding(pipe: Any) -> bool:
    """Whether a CTC model gives the same for a sound alone and in a batch of longer ones.

    It does if it masks what is padded, and normalizes each frame by itself and not over time.
    """
    return (
        not pipe.model.can_generate()
        and hasattr(pipe.model, "_get_feat_extract_output_lengths")
        and bool(getattr(pipe.feature_extractor, "return_attention_mask", False))
        and getattr(pipe.model.config, "feat_extract_norm", "layer") == "layer"
    )


def _transcribed(text: str, sure: Sequence[float], seconds: float, error: str | None = None) -> Label:
    """The label of a transcript whose words or tokens have these probabilities."""
    mean = float(np.log(np.maximum(sure, 1e-10)).mean()) if len(sure) else None
    return Label(text, min(sure, default=0.0), seconds, error, mean)


_PIPELINES = (
    (("ForCTC", "ForConditionalGeneration", "ForSpeechSeq2Seq"), "automatic-speech-recognition"),
    (("ForSequenceClassification", "ForAudioClassification"), "audio-classification"),
)


def _config(name: str, revision: str | None) -> dict[str, Any]:
    """The configuration of a model, as plain data; empty if it cannot be had, which loading will explain."""
    from transformers import PreTrainedConfig

    try:
        return PreTrainedConfig.get_config_dict(name, revision=revision)[0]
    except (OSError, ValueError):
        return {}


__all__ = ["Label", "OwnTeacher", "PipelineTeacher", "Teacher", "open_teacher"]
