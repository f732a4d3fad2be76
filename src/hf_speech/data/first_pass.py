"""Collects data for training while a corpus is inspected: waveforms that fit into memory, and feature statistics.

The inspection decodes every recording once. In the same pass, feature statistics are computed per utterance, since the
selection of utterances to train on is known only at the end. Waveforms are kept for splits that fit into memory.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from hf_speech.data.audio import read_audio

# Decoded audio of a split up to this size stays in memory for all epochs: 2 GiB are 9 hours at 16 kHz.
KEEP_DECODED_BYTES = 2 << 30
KEPT_SPLITS = ("train", "validation")

Statistics = tuple[int, np.ndarray, np.ndarray]


class FirstPass:
    """Waveforms and feature statistics of recordings that the inspection has decoded.

    Args:
        extractor: The feature extractor for training. If it normalizes globally and has no statistics yet, they are
            collected.

    Attributes:
        sampling_rate: Sampling rate in Hz at which recordings are decoded.
        min_samples: Minimum number of samples for one frame of features.
    """

    def __init__(self, extractor: Any) -> None:
        self.sampling_rate: int = extractor.sampling_rate
        self.min_samples: int = extractor.min_samples
        self._extractor = extractor
        self._lock = threading.Lock()
        self._waveforms: dict[Any, np.ndarray] = {}
        self._statistics: dict[Any, Statistics] = {}
        self._free_bytes = 0
        self._collects_statistics = False

    def begin(self, split: str, durations: Sequence[float]) -> None:
        """Prepares for the recordings of a split."""
        needed = sum(seconds for seconds in durations if not math.isnan(seconds)) * self.sampling_rate * 4
        self._free_bytes = KEEP_DECODED_BYTES if split in KEPT_SPLITS and needed <= KEEP_DECODED_BYTES else 0
        self._collects_statistics = split == "train" and self._needs_statistics

    def store(self, source: Any, samples: np.ndarray) -> None:
        """Stores the samples and statistics of a decoded recording, as needed. Thread-safe."""
        key = _key(source)
        if self._collects_statistics:
            self._statistics[key] = self._extractor.frame_statistics(samples)
        with self._lock:
            if samples.nbytes <= self._free_bytes and key not in self._waveforms:
                self._free_bytes -= samples.nbytes
                self._waveforms[key] = samples

    @property
    def _needs_statistics(self) -> bool:
        return bool(self._extractor.normalization == "global" and self._extractor.feature_mean is None)

    def read(self, source: Any) -> np.ndarray:
        """Returns the samples of a recording, from memory if possible."""
        samples = self._waveforms.get(_key(source)) if self._waveforms else None
        return read_audio(source, self.sampling_rate) if samples is None else samples

    def fit(self, sources: Iterable[Any]) -> None:
        """Sets the extractor's global statistics, if it needs them, to those of the given recordings."""
        if not self._needs_statistics:
            return
        self._extractor.set_global_statistics(
            self._statistics.get(_key(source)) or self._extractor.frame_statistics(self.read(source))
            for source in sources
        )


def _key(source: Mapping[str, Any]) -> Any:
    """Returns a key for a recording: its path, or a digest of its content if the row contains it."""
    content = source.get("bytes")
    return source["path"] if content is None else hashlib.blake2b(content, digest_size=16).digest()
