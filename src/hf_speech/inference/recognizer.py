"""What the rest of the package asks of a model, with PyTorch (`pytorch`) or with onnxruntime (`onnx`) behind it.

Classifying and transcribing rest on these protocols alone, so they run on a machine without PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from hf_speech.inference.recordings import Recording

if TYPE_CHECKING:
    from hf_speech.tasks import Task


@dataclass(frozen=True)
class Outputs:
    """What a model computes of one clip.

    Attributes:
        logits: `(num_labels,)` or `(frames, tokens)` float32.
        phone_logits: `(frames, phones)` float32, of a recognizer that predicts phones as well.
    """

    logits: np.ndarray
    phone_logits: np.ndarray | None = None


class Model(Protocol):
    """A model that is ready to use."""

    @property
    def name(self) -> str:
        """Its name in error messages."""
        ...

    @property
    def task(self) -> Task:
        """What it does."""
        ...

    @property
    def labels(self) -> Sequence[str]:
        """The names of its outputs, classes or tokens, in the order of the logits."""
        ...

    @property
    def sampling_rate(self) -> int:
        """The rate in Hz at which it reads sound."""
        ...

    def run(self, waveforms: Sequence[np.ndarray]) -> list[Outputs]:
        """Computes the outputs of each clip of a batch.

        Args:
            waveforms: Mono samples of each clip `(samples,)` at the model's rate.

        Raises:
            AudioError: If a clip is too short.
        """
        ...

    def find_file(self, name: str) -> Path | None:
        """A file beside the model, such as a language model; None if there is none."""
        ...


class Recognizer(Model, Protocol):
    """A model that writes text."""

    @property
    def samples_per_frame(self) -> int:
        """Samples that a logit frame spans."""
        ...

    @property
    def tokens(self) -> list[str]:
        """Its tokens in the order of their ids.

        Raises:
            ModelError: If it is no recognizer.
        """
        ...

    @property
    def num_phones(self) -> int:
        """Phones that it writes besides the tokens, the blank (0) among them; 0 if it knows none."""
        ...

    @property
    def blank(self) -> int:
        """Id of the CTC blank."""
        ...

    @property
    def word_delimiter(self) -> str:
        """The token between words."""
        ...

    def hear(self, recording: Recording) -> Callable[[np.ndarray], np.ndarray]:
        """How it computes the log-probabilities of parts of a recording.

        Returns:
            A function from samples `(samples,)` to log-probabilities `(samples // samples_per_frame, tokens + phones)`,
            float32: first those of the tokens, then those of the phones.
        """
        ...

    def normalize(self, text: str) -> str:
        """A text as the recognizer was taught to write."""
        ...


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Logits to log-probabilities, float32."""
    shifted = logits.astype(np.float32) - logits.max(axis=-1, keepdims=True)
    log_probs: np.ndarray = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return log_probs


__all__ = ["Model", "Outputs", "Recognizer", "log_softmax"]
