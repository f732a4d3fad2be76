"""What transcription asks of a model, whoever computes it: PyTorch (`loading`) or onnxruntime (`export.runtime`).

Transcribing stands on this alone, so it runs on a machine without PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from hf_speech.inference.recordings import Recording


class Recognizer(Protocol):
    """A recognizer, ready to be asked."""

    @property
    def name(self) -> str:
        """What errors call it."""
        ...

    @property
    def sampling_rate(self) -> int:
        """The rate in Hz at which it hears."""
        ...

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
        """How it hears parts of a recording.

        Returns:
            A function from samples `(samples,)` to log-probabilities `(samples // samples_per_frame, tokens + phones)`,
            float32: first those of the tokens, then those of the phones.
        """
        ...

    def normalize(self, text: str) -> str:
        """A text as the recognizer was taught to write."""
        ...

    def find_file(self, name: str) -> Path | None:
        """A file that lies beside the model, such as a language model."""
        ...


__all__ = ["Recognizer"]
