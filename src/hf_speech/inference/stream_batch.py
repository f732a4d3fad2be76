"""Processes many streams of one model together, with one forward pass for all of them.

A forward pass reads all weights once, no matter how many streams are in the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hf_speech.inference.opening import open_stream
from hf_speech.inference.recognizer import Model, Stream


class StreamBatch:
    """Processes streams of one model in batches, with the same results as one at a time.

    Streams start, end and are reset independently. Streams in the first frames of a recording, while the lookahead
    fills, and in the last ones are processed in separate batches.

    Args:
        model: The model, as for `open_stream`, which may raise errors.
        verb: The command that uses the model, as for `open_stream`.
        device: The device of PyTorch.
    """

    def __init__(self, model: Model | str | Path, *, verb: str | None = None, device: str | None = None) -> None:
        self._first = open_stream(model, verb=verb, device=device)

    def stream(self) -> Stream:
        """Starts a stream. Its `feed` buffers sound until the next `advance`."""
        return self._first.new_stream()

    def advance(self, streams: Sequence[Stream]) -> list[np.ndarray]:
        """Processes the buffered sound of streams.

        Args:
            streams: Different streams of this batch that have received sound, or ended, since the last call.

        Returns:
            The new logits of each stream, `(frames, labels)`, float32.
        """
        return self._first.advance(streams)


__all__ = ["StreamBatch"]
