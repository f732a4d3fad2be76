"""The interface of a model, implemented with PyTorch (`pytorch`) and onnxruntime (`onnx`).

Classification and transcription use only these protocols, so they also run without PyTorch.
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
    """A model ready for inference."""

    @property
    def name(self) -> str:
        """Name of the model in error messages."""

    @property
    def task(self) -> Task:
        """Task of the model."""

    @property
    def labels(self) -> Sequence[str]:
        """The classes or tokens, in the order of the logits."""

    @property
    def sampling_rate(self) -> int:
        """Sampling rate of the input in Hz."""

    def run(self, waveforms: Sequence[np.ndarray]) -> list[Outputs]:
        """Computes the outputs of each clip of a batch.

        Args:
            waveforms: Mono samples of each clip, `(samples,)`, at the model's sampling rate.

        Raises:
            AudioError: If a clip is too short.
        """

    def find_file(self, name: str) -> Path | None:
        """Returns a file next to the model, such as a language model, or None if it does not exist."""

    def stream(self) -> Stream:
        """Starts a stream, which computes logits while the sound is recorded.

        Raises:
            ModelError: If the model needs the whole recording.
        """


class Stream(Protocol):
    """A model that processes a recording piece by piece, with the same logits as for the whole recording.

    Attributes:
        name: Name of the model in error messages.
        task: Task of the model.
        labels: The classes or tokens, in the order of the logits.
        sampling_rate: Sampling rate of the input in Hz.
        samples_per_frame: Samples per logit frame.
        latency: Seconds from the start of a logit frame until its logits are known.
    """

    name: str
    task: Task
    labels: tuple[str, ...]
    sampling_rate: int
    samples_per_frame: int
    latency: float

    @property
    def text(self) -> str:
        """The best-path transcript so far; empty unless the model is a recognizer."""

    def accept(self, samples: np.ndarray, final: bool = False) -> np.ndarray:
        """Processes a piece of sound. A rejected piece does not change the stream.

        Args:
            samples: Any number of mono samples, `(samples,)` or `(samples, 1)`; floats, or integers of 8, 16 or 32
                bits, which are scaled to [-1, 1].
            final: Whether this is the last piece of the recording; `reset` starts another recording.

        Returns:
            The new logits, `(frames, labels)`, float32.

        Raises:
            AudioError: If the piece is not mono or not finite, or the recording has ended.
        """
        self.feed(samples, final)
        return self.advance([self])[0]

    def feed(self, samples: np.ndarray, final: bool = False) -> None:
        """Buffers a piece of sound, to be processed with those of other streams; see `accept` and `StreamBatch`."""

    def new_stream(self) -> Self:
        """Starts another stream of the same model."""

    @staticmethod
    def advance(streams: Sequence[Any]) -> list[np.ndarray]:
        """Processes the buffered sound of streams of this class; see `StreamBatch`."""

    def finish(self) -> np.ndarray:
        """Ends the recording and returns the last logits."""
        return self.accept(np.zeros(0, dtype=np.float32), final=True)

    def reset(self) -> None:
        """Resets the state for another recording."""

    def find_file(self, name: str) -> Path | None:
        """Returns a file next to the model, or None if it does not exist."""


class Recognizer(Model, Protocol):
    """A model for speech recognition with CTC."""

    @property
    def samples_per_frame(self) -> int:
        """Samples per logit frame."""

    @property
    def tokens(self) -> list[str]:
        """The tokens in the order of their ids.

        Raises:
            ModelError: If the model is not a recognizer.
        """

    @property
    def num_phones(self) -> int:
        """Number of phones, including the blank with id 0, that the model predicts besides tokens; 0 for none."""

    @property
    def blank(self) -> int:
        """Id of the CTC blank."""

    @property
    def word_delimiter(self) -> str:
        """The token between words."""

    def log_probs_fn(self, recording: Recording) -> Callable[[np.ndarray], np.ndarray]:
        """Returns a function that computes log probabilities of parts of a recording.

        Returns:
            A function from samples `(samples,)` to log probabilities `(samples // samples_per_frame, tokens + phones)`,
            float32, tokens first.
        """

    def normalize(self, text: str) -> str:
        """Normalizes a text like the training transcripts."""


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Returns the log probabilities of logits, float32."""
    shifted = logits.astype(np.float32) - logits.max(axis=-1, keepdims=True)
    log_probs: np.ndarray = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return log_probs
