"""From rows to batches: decode, augment, compute features, pad.

Decoding and augmentation happen one utterance at a time, features for a whole batch at once, and all of it in the
loader's worker processes, so that the training process only computes gradients. What chance decides about an utterance
depends on seed, epoch and row alone, not on the order or the number of workers: a resumed run sees the same sounds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from tqdm.auto import tqdm

from hf_speech.data.audio import read_audio
from hf_speech.data.augmentation import Augmentation

# Decoded audio up to this size stays in memory, where every epoch finds it: 2 GiB are 9 hours at 16 kHz.
KEEP_DECODED_BYTES = 2 << 30


class SpeechDataset(torch.utils.data.Dataset):
    """Utterances of one split as `{"waveform": float32 (samples,), "target": ...}`.

    Args:
        rows: One split of a corpus, with the columns `audio` and `duration`.
        sampling_rate: Rate in Hz at which waveforms are given.
        encode_target: Makes the training target of a row (without its audio).
        augmentation: How waveforms are varied, or `None`.
        seed: Seed of the augmentation.

    Attributes:
        durations: Seconds of each utterance, for batches of similar length.
    """

    def __init__(
        self,
        rows: Dataset,
        sampling_rate: int,
        encode_target: Callable[[Mapping[str, Any]], Any],
        augmentation: Augmentation | None = None,
        seed: int = 0,
    ) -> None:
        self.sampling_rate = sampling_rate
        self.augmentation = augmentation if augmentation is not None and augmentation.is_active else None
        self.seed = seed
        self.epoch = 0
        # Plain lists: a column of `datasets` is read lazily, which a sampler of indices must not do a thousand times.
        self.durations: list[float] = list(rows["duration"])
        self.audio: list[Any] = list(rows["audio"])
        self.targets = [encode_target(row) for row in rows.remove_columns("audio")]
        self._decoded: list[np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.audio)

    def set_epoch(self, epoch: int) -> None:
        """Draws other augmentation from here on; the Trainer calls it at the start of each epoch."""
        self.epoch = epoch

    def keep_decoded(self, description: str) -> None:
        """Decodes everything once and keeps it, if it fits; workers share this memory instead of decoding again.

        Args:
            description: What the progress bar says.
        """
        if sum(self.durations) * self.sampling_rate * 4 > KEEP_DECODED_BYTES:
            return
        progress = tqdm(self.audio, desc=description, unit="utterance", leave=False)
        self._decoded = [read_audio(audio, self.sampling_rate) for audio in progress]

    def __getitem__(self, index: int) -> dict[str, Any]:
        if self._decoded is not None:
            waveform = self._decoded[index]
        else:
            waveform = read_audio(self.audio[index], self.sampling_rate)
        if self.augmentation is not None:
            rng = np.random.default_rng((self.seed, self.epoch, index))
            waveform = self.augmentation(waveform, self.sampling_rate, rng)
        return {"waveform": waveform, "target": self.targets[index]}


class SpeechCollator:
    """Makes a model's batch of utterances: `input_features`, `attention_mask` and `labels`.

    Args:
        feature_extractor: Turns waveforms into features, padded on the right.
        collate_targets: Turns the utterances' targets into the tensor `labels`.
    """

    def __init__(self, feature_extractor: Any, collate_targets: Callable[[Sequence[Any]], torch.Tensor]) -> None:
        self.feature_extractor = feature_extractor
        self.collate_targets = collate_targets

    def __call__(self, utterances: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Collates utterances of a `SpeechDataset`."""
        features = self.feature_extractor(
            [utterance["waveform"] for utterance in utterances],
            sampling_rate=self.feature_extractor.sampling_rate,
            return_tensors="pt",
        )
        return {**features, "labels": self.collate_targets([utterance["target"] for utterance in utterances])}


__all__ = ["SpeechCollator", "SpeechDataset"]
