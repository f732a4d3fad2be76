"""Models that label recordings: models of hf_speech, and transformers models for transcription or classification.

Other models than those of hf_speech are loaded with transformers' `pipeline`. The pipeline classifies recordings, but
returns no confidence for transcripts, so recognizers are called directly. Recordings are utterances, which do not need
the pipeline's chunks.

The confidence of a transcript is the probability of its least certain word or, for transformers models, token.
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
"""Maximum number of tokens in a transcript of a model that sets no limit."""
BATCH_SIZE = 8
"""Recordings per batch."""
SORTED_BATCHES = 4
"""Number of batches in a window, in which recordings are sorted by length."""


@dataclass(frozen=True)
class Label:
    """A teacher's label of a recording.

    Attributes:
        answer: The transcript, or the class.
        confidence: Confidence, 0 to 1.
        duration: Length of the recording in seconds.
        error: The error message of an unreadable recording, which has no answer.
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
        column: The column of a corpus that it fills: "text" or "label".
    """

    name: str
    column: str

    def label(self, files: Sequence[Path]) -> Iterator[Label]:
        """Yields a label for each file, in order."""


def open_teacher(path_or_id: str, batch_size: int | None = None) -> Teacher:
    """Opens a model that labels recordings.

    Args:
        path_or_id: A model folder or a Hub id (`owner/name`, or `owner/name@revision`) of hf_speech or transformers.
        batch_size: Recordings per batch of a transformers model; see `PipelineTeacher`.

    Raises:
        ModelError: If the model does not exist, or gives neither text nor classes.
    """
    name, _, revision = (path_or_id, "", "") if Path(path_or_id).exists() else path_or_id.partition("@")
    own_families = {model_type for task in TASKS.values() for model_type in task.model_types}
    if is_exported(name) or _config(name, revision or None).get("model_type") in own_families:
        return ModelTeacher(name, revision or None)
    return PipelineTeacher(name, revision or None, batch_size)


class ModelTeacher:
    """A model of hf_speech."""

    def __init__(self, name: str, revision: str | None = None) -> None:
        self.name = name
        self._model: Any = open_model(name, revision=revision)
        self.column = self._model.task.target_column
        if self._model.task.verb not in ("transcribe", "classify"):
            raise ModelError(f"{name} gives neither text nor classes: choose another teacher.")

    def label(self, files: Sequence[Path]) -> Iterator[Label]:
        """Yields a label for each file, in order."""
        if self._model.task.verb == "transcribe":
            for transcript in transcribe_files(self._model, files, progress=False):
                confidences = [word.confidence for word in transcript.hypothesis.words]
                yield _text_label(transcript.hypothesis.text, confidences, transcript.duration, transcript.error)
            return
        for prediction in predict(self._model, files, progress=False, bad_rows="skip"):
            if prediction.logits is None:
                yield Label("", 0.0, 0.0, prediction.error)
                continue
            best = self._model.task.answer(prediction.logits, self._model.labels, 1)["labels"][0]
            yield Label(best["label"], best["score"], prediction.duration)


class PipelineTeacher:
    """A transformers model that needs no remote code.

    Args:
        name: Folder or Hub id.
        revision: Branch, tag or commit of a Hub model.
        batch_size: Recordings per batch, for models whose results do not depend on it: models that pad to a fixed
            length (Whisper) and CTC models that ignore padding. By default 8, which is a third faster for Whisper on
            one CPU thread (docs/labeling.md), or 1 for a CTC model on a CPU.
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
            # Weights may be stored in half precision, which is slow or unsupported on a CPU.
            precision = "auto" if torch.accelerator.is_available() else torch.float32
            self._pipeline: Any = pipeline(
                task, model=name, revision=revision, trust_remote_code=False, dtype=precision
            )
        except ModelError:
            raise
        except Exception as error:  # Libraries raise errors of any kind for missing or damaged files.
            reason = " ".join(str(error).split())[:200]
            raise ModelError(f"The teacher {name} cannot be loaded ({reason}): check its name or folder.") from error
        self.column = "label" if task == "audio-classification" else "text"
        self.sampling_rate = int(self._pipeline.feature_extractor.sampling_rate)

        self._pads_to_fixed_length = hasattr(self._pipeline.feature_extractor, "nb_max_frames")
        if self.column == "label" or not (self._pads_to_fixed_length or _ignores_padding(self._pipeline)):
            batch_size = 1
        elif batch_size is None:
            is_faster = self._pads_to_fixed_length or self._pipeline.device.type != "cpu"
            batch_size = BATCH_SIZE if is_faster else 1
        self.batch_size = batch_size

    def label(self, files: Sequence[Path]) -> Iterator[Label]:
        """Yields a label for each file, in order."""
        window = 1 if self.batch_size == 1 else SORTED_BATCHES * self.batch_size
        for start in range(0, len(files), window):
            yield from self._label_window(files[start : start + window])

    def _label_window(self, files: Sequence[Path]) -> list[Label]:
        """Labels the files of a window in batches of similar length."""
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
        """Labels a batch of sounds."""
        seconds = [len(samples) / self.sampling_rate for samples in sounds]
        if self.column == "text":
            transcribe = self._generate if self._pipeline.model.can_generate() else self._decode_ctc
            return [_text_label(*result, length) for result, length in zip(transcribe(sounds), seconds, strict=True)]
        results = [self._pipeline({"raw": samples, "sampling_rate": self.sampling_rate}) for samples in sounds]
        best = [max(classes, key=lambda result: result["score"]) for classes in results]
        return [Label(str(b["label"]), float(b["score"]), length) for b, length in zip(best, seconds, strict=True)]

    def _inputs(self, sounds: list[np.ndarray]) -> dict[str, Any]:
        pipe = self._pipeline
        padding = {"return_attention_mask": True} if self._pads_to_fixed_length else {"padding": True}
        inputs = pipe.feature_extractor(sounds, sampling_rate=self.sampling_rate, return_tensors="pt", **padding)
        dtypes = {key: pipe.model.dtype if value.is_floating_point() else None for key, value in inputs.items()}
        return {key: value.to(pipe.model.device, dtype=dtypes[key]) for key, value in inputs.items()}

    def _decode_ctc(self, sounds: list[np.ndarray]) -> Iterator[tuple[str, list[float]]]:
        """Yields best-path transcripts of a CTC model, and the probabilities of their tokens."""
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
            probabilities = [token.probability for token in best_path(log_probs, pipe.tokenizer.pad_token_id)]
            yield pipe.tokenizer.decode(log_probs.argmax(axis=-1)).strip(), probabilities

    def _generate(self, sounds: list[np.ndarray]) -> Iterator[tuple[str, list[float]]]:
        """Yields greedy transcripts of a sequence-to-sequence model, and the probabilities of their tokens."""
        import torch

        pipe = self._pipeline
        options: dict[str, Any] = {"return_dict_in_generate": True, "output_scores": True, "num_beams": 1}
        defaults = pipe.model.generation_config
        if defaults.max_new_tokens is None and defaults.max_length in (None, 20):  # 20 is the library's default.
            options["max_new_tokens"] = MAX_NEW_TOKENS
        with torch.no_grad():
            outputs = pipe.model.generate(**self._inputs(sounds), **options)
            scores = pipe.model.compute_transition_scores(outputs.sequences, outputs.scores, normalize_logits=True)
        special = set(pipe.tokenizer.all_special_ids)
        for ids, token_scores in zip(outputs.sequences, scores.exp().tolist(), strict=True):
            tokens = ids[-len(token_scores) :].tolist()
            probabilities = [score for token, score in zip(tokens, token_scores, strict=True) if token not in special]
            yield pipe.tokenizer.decode(ids, skip_special_tokens=True).strip(), probabilities


def _ignores_padding(pipe: Any) -> bool:
    """Returns whether a CTC model gives the same logits for a sound alone and in a padded batch.

    This is the case if the model masks padding and normalizes each frame separately, not over time.
    """
    return (
        not pipe.model.can_generate()
        and hasattr(pipe.model, "_get_feat_extract_output_lengths")
        and bool(getattr(pipe.feature_extractor, "return_attention_mask", False))
        and getattr(pipe.model.config, "feat_extract_norm", "layer") == "layer"
    )


def _text_label(text: str, probabilities: Sequence[float], seconds: float, error: str | None = None) -> Label:
    """Returns the label of a transcript, given the probabilities of its words or tokens."""
    mean = float(np.log(np.maximum(probabilities, 1e-10)).mean()) if len(probabilities) else None
    return Label(text, min(probabilities, default=0.0), seconds, error, mean)


_PIPELINES = (
    (("ForCTC", "ForConditionalGeneration", "ForSpeechSeq2Seq"), "automatic-speech-recognition"),
    (("ForSequenceClassification", "ForAudioClassification"), "audio-classification"),
)


def _config(name: str, revision: str | None) -> dict[str, Any]:
    """Returns the configuration of a model as plain data, or an empty one if loading the model would fail."""
    from transformers import PreTrainedConfig

    try:
        return PreTrainedConfig.get_config_dict(name, revision=revision)[0]
    except (OSError, ValueError):
        return {}
