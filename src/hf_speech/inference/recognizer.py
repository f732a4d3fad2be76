"""The interface of a model, implemented with PyTorch (`pytorch`) and with onnxruntime (`onnx`).

Classification and transcription use only these protocols, so they run without PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np

from hf_speech.inference.recordings import Recording

if TYPE_CHECKING:
    from hf_speech.tasks import Task


@dataclass(frozen=True)
class Outputs:
    """The outputs of a model for one clip.

    Attributes:
        logits: `(num_labels,)` or `(frames, tokens)` float32.
        phone_logits: `(frames, phones)` float32, if the recognizer also predicts phones.
    """

    logits: np.ndarray
    phone_logits: np.ndarray | None = None


class Model(Protocol):
    """A model that is ready to use."""

    @property
    def name(self) -> str:
        """Its name in error messages."""

    @property
    def task(self) -> Task:
        """The task that it was trained for."""

    @property
    def labels(self) -> Sequence[str]:
        """The names of its outputs, classes or tokens, in the order of the logits."""

    @property
    def sampling_rate(self) -> int:
        """The sampling rate of its input in Hz."""

    def run(self, waveforms: Sequence[np.ndarray]) -> list[Outputs]:
        """Computes the outputs of each clip of a batch.

        Args:
            waveforms: Mono samples of each clip `(samples,)` at the model's rate.

        Raises:
            AudioError: If a clip is too short.
        """

    def find_file(self, name: str) -> Path | None:
        """A file next to the model, such as a language model; None if there is none."""

    def stream(self) -> Stream:
        """Begins a stream: the model's logits while sound still arrives.

        Raises:
            ModelError: If the model needs the whole recording.
        """


class Stream(Protocol):
    """A model at work on sound that arrives in pieces; all its logits are those of the whole recording.

    Attributes:
        name: The model's name in error messages.
        task: The task that the model was trained for.
        labels: The names of the outputs, in the order of the logits.
        sampling_rate: The sampling rate of the sound in Hz.
        samples_per_frame: Samples that a logit frame spans.
        latency: Seconds from the beginning of a logit frame until its logits are known.
    """

    name: str
    task: Task
    labels: tuple[str, ...]
    sampling_rate: int
    samples_per_frame: int
    latency: float

    @property
    def text(self) -> str:
        """The transcript so far, on the best path; empty for a model that writes none."""

    def accept(self, samples: np.ndarray, final: bool = False) -> np.ndarray:
        """Processes a piece of sound; a refused piece leaves the stream as it was.

        Args:
            samples: Any number of mono samples, `(samples,)` or `(samples, 1)`; floats, or integers of 8, 16 or 32
                bits, which are scaled to [-1, 1].
            final: Whether the recording ends with it; `reset` begins another one.

        Returns:
            The logits that have become known, `(frames, labels)`, float32.

        Raises:
            AudioError: If the piece is not mono or not finite, or the recording was ended.
        """

    def feed(self, samples: np.ndarray, final: bool = False) -> None:
        """Takes a piece of sound that will be processed with those of other streams; see `accept` and `StreamBatch`."""

    def another(self) -> Self:
        """Begins another stream of the same model."""

    @staticmethod
    def advance(streams: Sequence[Any]) -> list[np.ndarray]:
        """Processes what streams of this class were fed; see `StreamBatch`."""

    def finish(self) -> np.ndarray:
        """Ends the recording and gives the last logits."""

    def reset(self) -> None:
        """Forgets everything, ready for another recording."""

    def find_file(self, name: str) -> Path | None:
        """A file next to the model; None if there is none."""


class Recognizer(Model, Protocol):
    """A model that writes text."""

    @property
    def samples_per_frame(self) -> int:
        """Samples that a logit frame spans."""

    @property
    def tokens(self) -> list[str]:
        """Its tokens in the order of their ids.

        Raises:
            ModelError: If it is not a recognizer.
        """

    @property
    def num_phones(self) -> int:
        """Number of phones that it predicts besides the tokens, including the blank (0); 0 if it predicts none."""

    @property
    def blank(self) -> int:
        """Id of the CTC blank."""

    @property
    def word_delimiter(self) -> str:
        """The token between words."""

    def log_probs_fn(self, recording: Recording) -> Callable[[np.ndarray], np.ndarray]:
        """Prepares for one recording and returns the function that computes its log-probabilities part by part.

        Returns:
            A function from samples `(samples,)` to log-probabilities `(samples // samples_per_frame, tokens + phones)`,
            float32: first those of the tokens, then those of the phones.
        """

    def normalize(self, text: str) -> str:
        """A text normalized like the transcripts that the recognizer was trained on."""


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Logits to log-probabilities, float32."""
    shifted = logits.astype(np.float32) - logits.max(axis=-1, keepdims=True)
    log_probs: np.ndarray = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return log_probs
