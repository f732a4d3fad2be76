"""Many streams of one model, computed together: one forward for all pieces of sound that have arrived.

A forward reads all weights of the model once, whether it computes a frame of one stream or of a hundred.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hf_speech.inference.opening import open_stream
from hf_speech.inference.recognizer import Model, Stream


class StreamBatch:
    """Streams of one model that advance together; each has the results that it would have alone.

    Streams begin, end and are reset independently of each other. A frame of each of them is one batch, except in the
    first frames of a recording, while its lookahead fills up, and in its last ones: these streams make batches of
    their own.

    Args:
        model: As for `open_stream`, like `verb` and `device`; its errors are raised.
        verb: The command.
        device: Where PyTorch computes.
    """

    def __init__(self, model: Model | str | Path, *, verb: str | None = None, device: str | None = None) -> None:
        self._first = open_stream(model, verb=verb, device=device)

    def stream(self) -> Stream:
        """Begins a stream; `feed` gives it a piece of sound, which waits for `advance`."""
        return self._first.another()

    def advance(self, streams: Sequence[Stream]) -> list[np.ndarray]:
        """Processes what streams were fed.

        Args:
            streams: Streams of this batch that have been fed, or ended, since the last call; each once.

        Returns:
            The logits that have become known of each, `(frames, labels)`, float32.
        """
        return self._first.advance(streams)


__all__ = ["StreamBatch"]
