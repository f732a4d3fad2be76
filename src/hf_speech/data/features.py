"""A cache of features on disk, for recipes that use the same audio in every epoch.

The cache contains one memory-mapped array per split, whose pages all processes of a machine share. Later trainings with
the same features (a search, a comparison of models) use the cache as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hf_speech.common.progress import progress_bar
from hf_speech.data.cache import build_once, cache_dir, digest

# Part of the digest: increase it when the features for the same settings change.
FORMAT_VERSION = 2
FEATURES_FILE = "features.f32"
LENGTHS_FILE = "lengths.npy"


class CachedFeatures:
    """The features of each utterance of a split, computed one utterance at a time.

    Attributes:
        time_maps: The time map of each utterance.

    Args:
        audio: The `audio` column of the split.
        extractor: The feature extractor, which must have its statistics if it normalizes globally.
        waveforms: Yields the waveform and the time map (see `augmentation.time_map`) of each utterance, in order.
            Called only if the features are not in the cache.
        description: The label of the progress bar.
        settings: The settings by which waveforms differ from the recordings, as JSON-serializable values.
    """

    def __init__(
        self,
        audio: Sequence[Mapping[str, Any]],
        extractor: Any,
        waveforms: Callable[[], Iterable[tuple[np.ndarray, tuple[float, float]]]],
        description: str,
        settings: Sequence[Any] = (),
    ) -> None:
        folder = cache_dir() / "features" / digest(audio, FORMAT_VERSION, extractor.to_dict(), *settings)
        with build_once(folder) as part:
            if part is not None:
                progress = progress_bar(waveforms(), desc=description, total=len(audio), unit="utterance", leave=False)
                _write(progress, extractor, part)
        self._valid, frames, *time_maps = np.load(folder / LENGTHS_FILE).T
        self.time_maps = list(zip(*(column.tolist() for column in time_maps), strict=True))
        self._ends = np.cumsum(frames, dtype=np.int64)
        # Copy-on-write, although nothing writes to it, because PyTorch warns about read-only arrays.
        self._features = np.memmap(folder / FEATURES_FILE, np.float32, "c").reshape(-1, extractor.feature_size)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        """Returns the features `(frames, features)` as float32, and the number of frames without padding."""
        start = 0 if index == 0 else self._ends[index - 1]
        return torch.from_numpy(self._features[start : self._ends[index]]), int(self._valid[index])


def _write(waveforms: Iterable[tuple[np.ndarray, tuple[float, float]]], extractor: Any, folder: Path) -> None:
    lengths = []
    with (folder / FEATURES_FILE).open("wb") as file:
        for waveform, time_map in waveforms:
            frames = extractor(waveform, extractor.sampling_rate, return_tensors="np")["input_features"][0]
            file.write(np.ascontiguousarray(frames, np.float32).tobytes())
            lengths.append((extractor.num_frames(len(waveform)), len(frames), *time_map))
    np.save(folder / LENGTHS_FILE, np.array(lengths, np.float64))
