"""Features computed once and kept on the disk, for recipes whose sound is the same in every epoch.

The cache keeps one array for a split, mapped into memory: every process of a node reads the same pages, and a second
training with the same features (a search, a comparison of models) does not compute them again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from hf_speech.data.audio import read_audio
from hf_speech.data.cache import build_once, cache_dir, digest

# Part of the digest: to be raised whenever the same settings give other features.
FORMAT_VERSION = 1
FEATURES_FILE = "features.f32"
LENGTHS_FILE = "lengths.npy"


class CachedFeatures:
    """The features of each utterance of a split, as the extractor computes them of it alone.

    Args:
        audio: The column of the split.
        extractor: Computes them; with global normalisation, after its statistics were fitted.
        description: What the progress bar says.

    Raises:
        CorpusError: If the cache cannot be written.
        AudioError: If an utterance cannot be read.
    """

    def __init__(self, audio: Sequence[Mapping[str, Any]], extractor: Any, description: str) -> None:
        folder = cache_dir() / "features" / digest(audio, FORMAT_VERSION, extractor.to_dict())
        with build_once(folder) as part:
            if part is not None:
                _write(audio, extractor, description, part)
        self._valid, frames = np.load(folder / LENGTHS_FILE).T
        self._ends = np.cumsum(frames)
        # Copied where it is written to, which nobody does: PyTorch warns of arrays that cannot be written.
        self._features = np.memmap(folder / FEATURES_FILE, np.float32, "c").reshape(-1, extractor.feature_size)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        """Features `(frames, features)`, float32, padded if the extractor pads to a fixed length; valid frames."""
        start = 0 if index == 0 else self._ends[index - 1]
        return torch.from_numpy(self._features[start : self._ends[index]]), int(self._valid[index])


def _write(audio: Sequence[Mapping[str, Any]], extractor: Any, description: str, folder: Path) -> None:
    lengths = []
    with (folder / FEATURES_FILE).open("wb") as file:
        for source in tqdm(audio, desc=description, unit="utterance", leave=False):
            waveform = read_audio(source, extractor.sampling_rate)
            frames = extractor(waveform, extractor.sampling_rate, return_tensors="np")["input_features"][0]
            file.write(np.ascontiguousarray(frames, np.float32).tobytes())
            lengths.append((extractor.num_frames(len(waveform)), len(frames)))
    np.save(folder / LENGTHS_FILE, np.array(lengths))


__all__ = ["CachedFeatures"]
