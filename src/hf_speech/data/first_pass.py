"""Collects data for training while a corpus is inspected: waveforms, if they fit into memory, and statistics.

The inspection decodes every sound once. Statistics of features are taken of it on the way, as sums for each utterance,
because which utterances are trained on is known only at the end. Waveforms are kept for a split that fits.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from hf_speech.data.audio import read_audio

# Decoded audio of a split up to this size stays in memory, where every epoch finds it: 2 GiB are 9 hours at 16 kHz.
KEEP_DECODED_BYTES = 2 << 30
KEPT_SPLITS = ("train", "validation")

Statistics = tuple[int, np.ndarray, np.ndarray]


class FirstPass:
    """What training needs of sounds that are decoded once.

    Args:
        extractor: The feature extractor that training will use; without its statistics where they are to be fitted.

    Attributes:
        sampling_rate: Rate in Hz at which the sounds are decoded.
        min_samples: Samples of the shortest sound that has a frame of features.
    """

    def __init__(self, extractor: Any) -> None:
        self.sampling_rate: int = extractor.sampling_rate
        self.min_samples: int = extractor.min_samples
        self._extractor = extractor
        self._lock = threading.Lock()
        self._kept: dict[Any, np.ndarray] = {}
        self._statistics: dict[Any, Statistics] = {}
        self._room = 0
        self._wants_statistics = False

    def begin(self, split: str, durations: Sequence[float]) -> None:
        """Prepares for a split that will be decoded."""
        wanted = sum(seconds for seconds in durations if not math.isnan(seconds)) * self.sampling_rate * 4
        self._room = KEEP_DECODED_BYTES if split in KEPT_SPLITS and wanted <= KEEP_DECODED_BYTES else 0
        self._wants_statistics = split == "train" and self._needs_statistics

    def take(self, source: Any, samples: np.ndarray) -> None:
        """Takes what is needed of a decoded sound; called by several threads at a time."""
        key = _key(source)
        if self._wants_statistics:
            self._statistics[key] = self._extractor.frame_statistics(samples)
        with self._lock:
            if samples.nbytes <= self._room and key not in self._kept:
                self._room -= samples.nbytes
                self._kept[key] = samples

    @property
    def _needs_statistics(self) -> bool:
        return bool(self._extractor.normalization == "global" and self._extractor.feature_mean is None)

    def read(self, source: Any) -> np.ndarray:
        """A sound: from memory if it was kept, or else decoded again."""
        kept = self._kept.get(_key(source)) if self._kept else None
        return read_audio(source, self.sampling_rate) if kept is None else kept

    def fit(self, sources: Iterable[Any]) -> None:
        """Fits global statistics, where the extractor needs them, on some of the sounds, in their order."""
        if not self._needs_statistics:
            return
        self._extractor.set_global_statistics(
            self._statistics.get(_key(source)) or self._extractor.frame_statistics(self.read(source))
            for source in sources
        )


def _key(source: Mapping[str, Any]) -> Any:
    """Tells recordings apart: by path, or by content where it is in the row."""
    content = source.get("bytes")
    return source["path"] if content is None else hashlib.blake2b(content, digest_size=16).digest()
