"""Turns the rows of a corpus into batches: decodes, augments, computes features and pads.

Utterances are decoded and augmented one at a time, and features are computed per batch. All of this runs in the worker
processes of the data loader, which leaves the training process free to compute gradients. Random choices for an
utterance depend only on seed, epoch and row, not on the order or the number of workers, so a resumed run sees the same
data.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch.nn.utils.rnn import pad_sequence

from hf_speech.common.progress import progress_bar
from hf_speech.data.audio import read_audio
from hf_speech.data.augmentation import Augmentation, time_map
from hf_speech.data.cache import digest
from hf_speech.data.features import CachedFeatures
from hf_speech.data.first_pass import KEEP_DECODED_BYTES, FirstPass
from hf_speech.data.shares import ShareDraw
from hf_speech.errors import RecipeError

# Keys of a batch that the Trainer removes before it calls the model.
TRAINER_KEYS = ("files", "left_out", "loader_seconds", "sources")


class SpeechDataset(torch.utils.data.Dataset[dict[str, Any]]):
    """Utterances of one split as `{"waveform": float32 (samples,), "target": ...}`.

    Args:
        rows: One split of a corpus, with the columns `audio` and `duration`.
        sampling_rate: Sampling rate of the waveforms in Hz.
        encode_target: Returns the training target of a row (without its audio).
        augmentation: The augmentation of the waveforms, or `None`.
        seed: Seed of the augmentation.
        encode_phones: Returns the phone ids `(phones,)` of a row, which items then have as "phones"; `None` for no
            phones.
        join_targets: Returns the target of two consecutive utterances; required if `augmentation` joins utterances.
        min_samples: The minimum number of samples for features. An utterance that augmentation would make shorter is
            not augmented.
        first_pass: Holds waveforms that were decoded before.
        draw: Draws the rows of an epoch, for a sampler. An index may then refer to a copy of a row: the row's index
            plus a multiple of the number of rows. Copies are augmented differently.

    Attributes:
        durations: Seconds of each utterance in this epoch, for batches of similar length.
        own_durations: Seconds of each row's recording.
    """

    def __init__(
        self,
        rows: Dataset,
        sampling_rate: int,
        encode_target: Callable[[Mapping[str, Any]], Any],
        augmentation: Augmentation | None = None,
        seed: int = 0,
        *,
        encode_phones: Callable[[Mapping[str, Any]], torch.Tensor] | None = None,
        join_targets: Callable[[Any, Any], Any] | None = None,
        min_samples: int = 1,
        first_pass: FirstPass | None = None,
        draw: ShareDraw | None = None,
    ) -> None:
        self.draw = draw
        self.sampling_rate = sampling_rate
        self.augmentation = augmentation if augmentation is not None and augmentation.is_active else None
        if self.augmentation is not None:
            self.augmentation.check_folders()
        self.seed = seed
        self.join_targets = join_targets
        # Lists, since samplers read these often, and a column of `datasets` is read from disk on each access.
        self.own_durations: list[float] = list(rows["duration"])
        self._speakers: list[str | None] = list(rows["speaker"])
        self.audio: list[Any] = list(rows["audio"])
        texts = rows.remove_columns("audio")
        self.targets = [encode_target(row) for row in texts]
        self.phones = None if encode_phones is None else [encode_phones(row) for row in texts]
        self.min_samples = min_samples
        self._first_pass = first_pass
        self._decoded: list[np.ndarray] | None = None
        self._features: list[CachedFeatures] = []
        # Shared with the loader's workers, which may outlive an epoch.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self._drawn_epoch = -1
        self.applied: dict[str, tuple[float, ...]] = {}  # augmentation of the last item, for an exploration
        self.set_epoch(0)
        self._longest_durations = self.durations

    def __len__(self) -> int:
        return len(self.audio)

    def set_epoch(self, epoch: int) -> None:
        """Starts an epoch with new augmentation; the Trainer calls it at the start of each epoch."""
        self._epoch.fill_(epoch)
        self._update_epoch()

    def _update_epoch(self) -> None:
        """Draws the random choices of the current epoch, unless this process has already drawn them."""
        epoch = int(self._epoch)
        if epoch == self._drawn_epoch:
            return
        self._drawn_epoch = epoch
        self._draw = epoch if self.augmentation is None else self.augmentation.draw(epoch)
        self._followers = self._draw_followers()
        self.durations = [
            duration + (self.own_durations[self._followers[index]] if index in self._followers else 0.0)
            for index, duration in enumerate(self.own_durations)
        ]

    @property
    def can_join(self) -> bool:
        """Whether any known speaker has two utterances, which could be joined."""
        known = [speaker for speaker in self._speakers if speaker]
        return len(set(known)) < len(known)

    def follower(self, index: int) -> int | None:
        """Returns the utterance that is joined to the end of this one in this epoch, or None."""
        return self._followers.get(index)

    def _draw_followers(self) -> dict[int, int]:
        """Draws the utterances that are joined in this epoch, as `{utterance: follower}`.

        Both utterances are of the same known speaker, and together they are at most as long as the longest utterance.
        The utterances with a follower are the same in all epochs, and no clip is longer than in the first epoch,
        because the durations of the first epoch determine the batches.
        """
        if self.augmentation is None or not self.augmentation.joining:
            return {}
        by_speaker: dict[str, list[int]] = {}
        for index, speaker in enumerate(self._speakers):
            if speaker:
                by_speaker.setdefault(speaker, []).append(index)
        durations = self.own_durations
        joined = np.flatnonzero(np.random.default_rng(self.seed).random(len(self)) < self.augmentation.joining)
        rng = np.random.default_rng((self.seed, self._draw))
        followers: dict[int, int] = {}
        longest = max(durations)
        for index in joined.tolist():
            limit = longest if self._draw == 0 else self._longest_durations[index]
            candidates = [
                other
                for other in by_speaker.get(self._speakers[index] or "", ())
                if other != index and durations[index] + durations[other] <= limit
            ]
            if candidates:
                followers[index] = candidates[rng.integers(len(candidates))]
        return followers

    def keep_decoded(self, description: str) -> None:
        """Decodes all utterances into memory, which workers share, if they fit. Uses waveforms of the first pass."""
        if sum(self.own_durations) * self.sampling_rate * 4 <= KEEP_DECODED_BYTES:
            indices = progress_bar(range(len(self)), desc=description, unit="utterance", leave=False, delay=0.5)
            self._decoded = [self._waveform(index) for index in indices]
        self._first_pass = None  # No longer needed, and must not be copied to workers.

    def cache_features(self, extractor: Any, description: str) -> None:
        """Computes all features once and stores them on disk; items then contain features instead of a waveform."""
        variants = count_variants(self.augmentation)
        for variant in range(variants):
            self.set_epoch(variant)
            label = description if variants == 1 else f"{description}, variant {variant + 1} of {variants}"
            settings = self._settings()
            self._features.append(CachedFeatures(self.audio, extractor, self._all_augmented, label, settings))
        self._decoded = self._first_pass = None  # Free the memory.
        self.set_epoch(0)

    def _settings(self) -> list[Any]:
        """Returns the settings that determine this epoch's augmentation, as JSON-serializable values."""
        if self.augmentation is None:
            return []
        steps = {key: value for key, value in dataclasses.asdict(self.augmentation).items() if key != "variants"}
        noise = digest([{"path": file} for file in self.augmentation.files])
        return [steps, noise, self.seed, self._draw, sorted(self._followers.items())]

    def _all_augmented(self) -> Iterator[tuple[np.ndarray, tuple[float, float]]]:
        """Yields every utterance as augmented in this epoch, with its time map."""
        if self.augmentation is not None and self._decoded is None:
            self.keep_decoded("Reading")
        return (self._augment(self._read(index), index) for index in range(len(self)))

    def __getitem__(self, index: int) -> dict[str, Any]:
        start = time.perf_counter()
        self._update_epoch()
        copy, index = divmod(index, len(self))
        if copy > 0 and self.draw is None:
            raise IndexError(f"index out of range: there are {len(self)} utterances")
        utterance = {"files": self.files(index), "target": self.targets[index]}
        if self.phones is not None:
            utterance["phones"] = self.phones[index]
        if (follower := self._followers.get(index, -1)) >= 0:
            assert self.join_targets is not None
            utterance["target"] = self.join_targets(utterance["target"], self.targets[follower])
            if self.phones is not None:
                utterance["phones"] = torch.cat((utterance["phones"], self.phones[follower]))
        if self._features:
            # A variant fixes which utterances are joined, so copies cannot use another variant.
            joins = self.augmentation is not None and self.augmentation.joining
            variant = self._draw + (0 if joins else max(copy, 0))
            cached = self._features[variant % len(self._features)]
            utterance |= {"features": cached[index], "source": (index, follower, *cached.time_maps[index])}
            return {**utterance, "seconds": (time.perf_counter() - start, 0.0)}
        waveform = self._read(index)
        read = time.perf_counter()
        waveform, mapping = self._augment(waveform, index, copy)
        utterance["source"] = (index, follower, *mapping)
        return {**utterance, "waveform": waveform, "seconds": (read - start, time.perf_counter() - read)}

    def _read(self, index: int) -> np.ndarray:
        """Returns the waveform of an utterance, joined to that of its follower in this epoch."""
        waveform = self._waveform(index)
        follower = self._followers.get(index)
        return waveform if follower is None else np.concatenate((waveform, self._waveform(follower)))

    def _augment(self, waveform: np.ndarray, index: int, copy: int = 0) -> tuple[np.ndarray, tuple[float, float]]:
        """Returns a waveform with this epoch's augmentation, and its time map."""
        self.applied = {}
        if self.augmentation is not None:
            rng = np.random.default_rng((self.seed, self._draw, index, *([copy] if copy > 0 else [])))
            augmented = self.augmentation(waveform, self.sampling_rate, rng, self.applied)
            if len(augmented) < self.min_samples:
                self.applied = {}
            else:
                waveform = augmented
        return waveform, time_map(self.applied)

    def files(self, index: int) -> list[str]:
        """Returns the file of an utterance, and that of its follower in this epoch, if any."""
        rows = [index, *([self._followers[index]] if index in self._followers else [])]
        return [self.audio[row].get("path") or f"row {row}" for row in rows]

    def _waveform(self, index: int) -> np.ndarray:
        if self._decoded is not None:
            return self._decoded[index]
        if self._first_pass is not None:
            return self._first_pass.read(self.audio[index])
        return read_audio(self.audio[index], self.sampling_rate)


def count_variants(augmentation: Augmentation | None) -> int:
    """Returns the number of distinct versions of each utterance over all epochs.

    Raises:
        RecipeError: If it is unlimited, so that features cannot be cached.
    """
    if augmentation is None or not augmentation.is_active:
        return 1
    if augmentation.variants is None:
        raise RecipeError(
            "training.cache_features keeps features that augmentation would change in every epoch: set "
            "augmentation.variants, for example to 6, or turn off one of them."
        )
    return augmentation.variants


class SpeechCollator:
    """Builds batches of `input_features`, `attention_mask`, `labels`, and `phone_targets` if utterances have phones.

    Four more keys are for the Trainer, which removes them: `files` are the source files, `left_out` the reasons why
    utterances of a stream were skipped, and `loader_seconds` the times for reading, augmenting and computing features.
    A row of `sources` `(batch, 4)` contains the index of the utterance, the index of its follower or -1, and its time
    map (see `augmentation.time_map`); batches of a stream have no `sources`.

    Args:
        feature_extractor: Computes features of waveforms, padded on the right.
        collate_targets: Returns the tensor `labels` for the targets of the utterances.
    """

    def __init__(self, feature_extractor: Any, collate_targets: Callable[[Sequence[Any]], torch.Tensor]) -> None:
        self.feature_extractor = feature_extractor
        self.collate_targets = collate_targets

    def __call__(self, utterances: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Collates utterances of a `SpeechDataset` or of a `SpeechStream`."""
        start = time.perf_counter()
        if "features" in utterances[0]:
            batch = self._pad([utterance["features"] for utterance in utterances])
        else:
            batch = self.feature_extractor(
                [utterance["waveform"] for utterance in utterances],
                sampling_rate=self.feature_extractor.sampling_rate,
                return_tensors="pt",
            )
        read, augment = np.sum([utterance["seconds"] for utterance in utterances], axis=0)
        seconds = (read, augment, time.perf_counter() - start)
        collated = {
            **batch,
            "files": [file for utterance in utterances for file in utterance["files"]],
            "left_out": [reason for utterance in utterances for reason in utterance.get("left_out", ())],
            "loader_seconds": torch.tensor(seconds, dtype=torch.float32),
            "labels": self.collate_targets([utterance["target"] for utterance in utterances]),
        }
        if "source" in utterances[0]:
            sources = [utterance["source"] for utterance in utterances]
            collated["sources"] = torch.tensor(sources, dtype=torch.float32)
        if "phones" in utterances[0]:
            collated["phone_targets"] = self.collate_targets([utterance["phones"] for utterance in utterances])
        return collated

    def _pad(self, utterances: Sequence[tuple[torch.Tensor, int]]) -> dict[str, torch.Tensor]:
        """Pads features to the longest utterance, with an attention mask if the extractor returns one."""
        features = pad_sequence([frames for frames, _ in utterances], batch_first=True)
        if not self.feature_extractor.return_attention_mask:
            return {"input_features": features}
        lengths = torch.tensor([valid for _, valid in utterances])
        mask = torch.arange(features.shape[1]) < lengths[:, None]
        return {"input_features": features, "attention_mask": mask.long()}
