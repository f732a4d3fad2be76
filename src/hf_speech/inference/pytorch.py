"""The PyTorch back end: a model loaded by transformers, with its feature extractor and tokenizer."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel
from transformers.utils import cached_file

from hf_speech.common.fingerprint import fingerprint_of_answers, weights_revision
from hf_speech.errors import AudioError, ModelError
from hf_speech.inference.recognizer import Outputs, Stream
from hf_speech.inference.recordings import Recording, fit_extractor
from hf_speech.models import SpeechFeatureExtractor
from hf_speech.tasks import Task
from hf_speech.tasks.base import WHOLE_SOUND
from hf_speech.tasks.transcripts import normalize_for


@dataclass(frozen=True)
class LoadedModel:
    """A model, its feature extractor and its tokenizer; a `Model` and, for speech recognition, a `Recognizer`.

    Attributes:
        model: The model, in evaluation mode.
        feature_extractor: The feature extractor.
        task: The task of the model.
        name: The folder or Hub id.
        tokenizer: The tokenizer, for tasks that need one.
    """

    model: PreTrainedModel
    feature_extractor: Any
    task: Task
    name: str
    tokenizer: Any = None

    @property
    def revision(self) -> str:
        """The commit on the Hub, or the checksum of the weights in a local folder."""
        return weights_revision(Path(self.name).expanduser(), self.model.config)

    def fingerprint(self, language_model: Path | None = None, phones: bool = False) -> dict[str, str]:
        """Returns digests of all files that affect predictions; see `fingerprint_of_answers`."""
        config = self.find_file("config.json")
        return {} if config is None else fingerprint_of_answers(config.parent, language_model, phones)

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes or tokens, in the order of the logits."""
        labels: tuple[str, ...] = self.task.describe_outputs(self.model.config, self.tokenizer)["labels"]
        return labels

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return self.model.device

    @property
    def sampling_rate(self) -> int:
        """Sampling rate of the input in Hz."""
        return int(self.feature_extractor.sampling_rate)

    def num_logit_frames(self, seconds: float) -> int:
        """Returns the number of logit frames for a duration in seconds."""
        frames = self.feature_extractor.num_frames(round(seconds * self.sampling_rate))
        return int(self.model.num_logit_frames(frames))

    def run(self, waveforms: Sequence[np.ndarray]) -> list[Outputs]:
        """Computes the outputs of each clip of a batch; see `Model`."""
        try:
            inputs = self.feature_extractor(
                list(waveforms), sampling_rate=self.sampling_rate, padding=True, return_tensors="pt"
            )
        except ValueError as error:  # A clip is too short for a frame.
            raise AudioError(str(error)) from error
        with torch.inference_mode():
            outputs = self.model(**{key: value.to(self.device) for key, value in inputs.items()})
            logits = outputs.logits.float().cpu().numpy()
            phone_logits = getattr(outputs, "phone_logits", None)
            phones = itertools.repeat(None) if phone_logits is None else phone_logits.float().cpu().numpy()
        return [Outputs(*pair) for pair in zip(logits, phones, strict=False)]

    def stream(self) -> LoadedStream:
        """Starts a stream; see `Model`."""
        return LoadedStream(self)

    # The following members implement `Recognizer`.

    @property
    def samples_per_frame(self) -> int:
        """Samples per logit frame."""
        return int(self.model.config.inputs_to_logits_ratio)

    @property
    def tokens(self) -> list[str]:
        """The tokens in the order of their ids."""
        if self.tokenizer is None:
            raise ModelError(f"{self.name} is a model for {self.task.name}: choose one for speech recognition.")
        return list(self.tokenizer.convert_ids_to_tokens(range(self.model.config.vocab_size)))

    @property
    def num_phones(self) -> int:
        """Number of phones that the model predicts; see `Recognizer`."""
        return int(getattr(self.model.config, "num_phones", 0))

    @property
    def blank(self) -> int:
        """Id of the CTC blank."""
        return int(self.model.config.pad_token_id)

    @property
    def word_delimiter(self) -> str:
        """The token between words."""
        return str(self.tokenizer.word_delimiter_token)

    def log_probs_fn(self, recording: Recording) -> Callable[[np.ndarray], np.ndarray]:
        """Returns the function from samples of a recording to log probabilities; see `Recognizer`.

        Raises:
            ModelError: If the model is not an hf_speech recognizer, or its feature extractor drops part of the audio.
        """
        if not isinstance(self.feature_extractor, SpeechFeatureExtractor):
            raise ModelError(
                f"{self.name} is not an hf_speech recognizer, and its frames are counted differently: use "
                "transformers' pipeline."
            )
        if any(getattr(self.feature_extractor, key, whole) != whole for key, whole in WHOLE_SOUND.items()):
            raise ModelError(
                f"{self.name} does not process all of a recording (its feature extractor sets one of "
                f"{', '.join(WHOLE_SOUND)}): train it without these options."
            )
        extractor = fit_extractor(self.feature_extractor, recording)

        @torch.inference_mode()
        def log_probs(samples: np.ndarray) -> np.ndarray:
            try:
                inputs = extractor(samples, sampling_rate=self.sampling_rate, return_tensors="pt").to(self.device)
            except ValueError as error:  # Too short for a frame.
                raise AudioError(f"{recording.name} cannot be used: {error}") from error
            output = self.model(**inputs)
            parts = [output.logits[0]] if output.phone_logits is None else [output.logits[0], output.phone_logits[0]]
            return torch.cat([logits.float().log_softmax(dim=-1) for logits in parts], dim=1).cpu().numpy()

        return log_probs

    def normalize(self, text: str) -> str:
        """Normalizes a text like the training transcripts."""
        return normalize_for(text, self.tokenizer)

    def find_file(self, name: str) -> Path | None:
        """Returns a file in the model's folder or Hub repository, or None if it does not exist."""
        return find_model_file(local_or_hub(self.name), name, getattr(self.model.config, "_commit_hash", None))


@dataclass(frozen=True)
class PhoneModel(LoadedModel):
    """A recognizer whose logits are those of its phones; see `phone_model`.

    Attributes:
        phones: The blank and the phones, in the order of the logits.
    """

    phones: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """The blank and the phones, in the order of the logits."""
        return self.phones


def phone_layer(config: Any) -> int:
    """Returns the number of the recurrent layer that predicts phones, counted from 1."""
    return int(config.intermediate_layer or (config.num_hidden_layers + 1) // 2)


def phone_model(loaded: LoadedModel, phones: Sequence[str]) -> LoadedModel:
    """Returns a model with the phones of a recognizer as logits, which shares its weights and can stream.

    Args:
        loaded: The recognizer.
        phones: The phones that it predicts; none if it predicts only letters.

    Returns:
        The phone model, or the recognizer itself if its last layer does not predict phones.
    """
    config = copy.copy(loaded.model.config)
    if not phones or phone_layer(config) != config.num_hidden_layers:
        return loaded
    model = copy.copy(loaded.model)
    model._modules = dict(model._modules)
    model.classifier = torch.nn.Sequential(model.intermediate_norm, model.phone_classifier)
    model.phone_classifier, model.config = None, config
    config.vocab_size, config.num_phones, config.pad_token_id = len(phones) + 1, 0, 0
    return PhoneModel(model, loaded.feature_extractor, loaded.task, loaded.name, None, ("<blank>", *phones))


class LoadedStream(Stream):
    """A stream of a PyTorch model.

    Args:
        loaded: The model, which is also an attribute.

    Raises:
        ModelError: If the model needs the whole recording.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        if not hasattr(loaded.model, "stream"):
            raise ModelError(
                f"{loaded.name} cannot process a stream, but needs the whole recording: choose a causal model."
            )
        try:
            self._stream: Any = loaded.model.stream(loaded.feature_extractor, loaded.tokenizer)
        except ValueError as error:
            raise ModelError(f"{loaded.name} cannot process a stream: {error}") from error
        self.loaded = loaded
        self.name, self.task, self.labels = loaded.name, loaded.task, loaded.labels
        self.sampling_rate, self.samples_per_frame = loaded.sampling_rate, loaded.samples_per_frame
        self.latency: float = self._stream.latency

    def new_stream(self) -> LoadedStream:
        """Starts another stream of the same model."""
        return LoadedStream(self.loaded)

    @property
    def text(self) -> str:
        """The transcript so far."""
        text: str = self._stream.text
        return text

    def feed(self, samples: np.ndarray, final: bool = False) -> None:
        """Buffers a piece of sound for `advance`; see `Stream`."""
        try:
            self._stream.feed(samples, final=final)
        except ValueError as error:
            raise AudioError(str(error)) from error

    @staticmethod
    def advance(streams: Sequence[LoadedStream]) -> list[np.ndarray]:
        """Processes the buffered sound of the streams, in one batch for streams with equally many frames."""
        inner = [stream._stream for stream in streams]
        return [update.logits.float().cpu().numpy() for update in inner[0].advance(inner)] if inner else []

    def reset(self) -> None:
        """Resets the state for another recording."""
        self._stream.reset()

    def find_file(self, name: str) -> Path | None:
        """Returns a file in the model's folder or Hub repository, or None if it does not exist."""
        return self.loaded.find_file(name)


def local_or_hub(name: str) -> str:
    """Returns the path of a local folder with `~` expanded, or the Hub id unchanged."""
    folder = Path(name).expanduser()
    return str(folder) if folder.is_dir() else name


def find_model_file(source: str, file_name: str, revision: str | None) -> Path | None:
    """Returns a file in a folder or a Hub repository, or None if it does not exist or cannot be reached."""
    path = cached_file(
        source,
        file_name,
        revision=revision,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return None if path is None else Path(path)
