"""From rows to batches: decode, augment, compute features, pad.

Decoding and augmentation happen one utterance at a time, features for a whole batch at once, and all of it in the
loader's worker processes, so that the training process only computes gradients. Random choices for an utterance
depend only on seed, epoch and row, not on order or number of workers: a resumed run sees the same data.
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

# Keys of a batch that are for the Trainer, and not for the model.
TRAINERS_OWN = ("files", "left_out", "loader_seconds", "sources")


class SpeechDataset(torch.utils.data.Dataset[dict[str, Any]]):
    """Utterances of one split as `{"waveform": float32 (samples,), "target": ...}`.

    Args:
        rows: One split of a corpus, with the columns `audio` and `duration`.
        sampling_rate: Rate in Hz at which waveforms are given.
        encode_target: Makes the training target of a row (without its audio).
        augmentation: How waveforms are varied, or `None`.
        seed: Seed of the augmentation.
        encode_phones: Makes the phone ids `(phones,)` of a row, which then has them as "phones"; `None` for no phones.
        join_targets: Makes the target of two utterances, one after the other; needed where `augmentation` joins them.
        min_samples: Samples that features need; an utterance that augmentation makes shorter stays as it is.
        first_pass: Has the waveforms that were decoded already.
        draw: Draws the rows of an epoch, for a sampler. Then an index may be that of a row's copy: the row's own plus
            a multiple of the number of rows. Copies are augmented differently.

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
        # Plain lists: a column of `datasets` is read lazily, which a sampler of indices must not do a thousand times.
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
        # Shared with the loader's workers, which may live longer than an epoch.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self._drawn = -1
        self.set_epoch(0)
        self._longest_durations = self.durations

    def __len__(self) -> int:
        return len(self.audio)

    def set_epoch(self, epoch: int) -> None:
        """Draws other augmentation from here on; the Trainer calls it at the start of each epoch."""
        self._epoch.fill_(epoch)
        self._follow_epoch()

    def _follow_epoch(self) -> None:
        """Draws what belongs to the epoch, in whichever process this is, unless it is drawn already."""
        epoch = int(self._epoch)
        if epoch == self._drawn:
            return
        self._drawn = epoch
        self._draw = epoch if self.augmentation is None else self.augmentation.draw(epoch)
        self._followers = self._draw_followers()
        self.durations = [
            duration + (self.own_durations[self._followers[index]] if index in self._followers else 0.0)
            for index, duration in enumerate(self.own_durations)
        ]

    @property
    def can_join(self) -> bool:
        """Whether any known speaker has two utterances, one of which may follow the other."""
        known = [speaker for speaker in self._speakers if speaker]
        return len(set(known)) < len(known)

    def follower(self, index: int) -> int | None:
        """The utterance that follows this one in the same clip in this epoch, if one does."""
        return self._followers.get(index)

    def _draw_followers(self) -> dict[int, int]:
        """Which utterance follows which in this epoch.

        An utterance is followed by another one of the same known speaker. Both together are at most as long as the
        longest utterance. Which utterances are followed is the same in all epochs, and the clip is never longer than in
        the first one: batches are composed by the durations of that.
        """
        if self.augmentation is None or not self.augmentation.joining:
            return {}
        by_speaker: dict[str, list[int]] = {}
        for index, speaker in enumerate(self._speakers):
            if speaker:
                by_speaker.setdefault(speaker, []).append(index)
        own = self.own_durations
        joined = np.flatnonzero(np.random.default_rng(self.seed).random(len(self)) < self.augmentation.joining)
        rng = np.random.default_rng((self.seed, self._draw))
        followers: dict[int, int] = {}
        longest = max(own)
        for index in joined.tolist():
            limit = longest if self._draw == 0 else self._longest_durations[index]
            others = [
                other
                for other in by_speaker.get(self._speakers[index] or "", ())
                if other != index and own[index] + own[other] <= limit
            ]
            if others:
                followers[index] = others[rng.integers(len(others))]
        return followers

    def keep_decoded(self, description: str) -> None:
        """Decodes everything once and keeps it, if it fits; workers share this memory instead of decoding again.

        What the first pass has decoded is taken from there.
        """
        if sum(self.own_durations) * self.sampling_rate * 4 <= KEEP_DECODED_BYTES:
            indices = progress_bar(range(len(self)), desc=description, unit="utterance", leave=False, delay=0.5)
            self._decoded = [self._waveform(index) for index in indices]
        self._first_pass = None  # Nothing more is taken from it, and workers must not carry it along.

    def cache_features(self, extractor: Any, description: str) -> None:
        """Computes all features once and keeps them on the disk; items have them in place of the waveform."""
        variants = count_variants(self.augmentation)
        for variant in range(variants):
            self.set_epoch(variant)
            shown = description if variants == 1 else f"{description}, variant {variant + 1} of {variants}"
            settings = self._settings()
            self._features.append(CachedFeatures(self.audio, extractor, self._all_varied, shown, settings))
        self._decoded = self._first_pass = None  # They served to make the variants of one reading.
        self.set_epoch(0)

    def _settings(self) -> list[Any]:
        """What makes this epoch's sounds differ from the recordings, as JSON can write it."""
        if self.augmentation is None:
            return []
        steps = {key: value for key, value in dataclasses.asdict(self.augmentation).items() if key != "variants"}
        noise = digest([{"path": file} for file in self.augmentation.files])
        return [steps, noise, self.seed, self._draw, sorted(self._followers.items())]

    def _all_varied(self) -> Iterator[tuple[np.ndarray, tuple[float, float]]]:
        """Every utterance as it is in this epoch, and its time map."""
        if self.augmentation is not None and self._decoded is None:
            self.keep_decoded("Reading")
        return (self._vary(self._read(index), index) for index in range(len(self)))

    def __getitem__(self, index: int) -> dict[str, Any]:
        start = time.perf_counter()
        self._follow_epoch()
        copy, index = divmod(index, len(self))
        if copy > 0 and self.draw is None:
            raise IndexError(f"there are {len(self)} utterances")
        utterance = {"files": self.files(index), "target": self.targets[index]}
        if self.phones is not None:
            utterance["phones"] = self.phones[index]
        if (follower := self._followers.get(index, -1)) >= 0:
            assert self.join_targets is not None
            utterance["target"] = self.join_targets(utterance["target"], self.targets[follower])
            if self.phones is not None:
                utterance["phones"] = torch.cat((utterance["phones"], self.phones[follower]))
        if self._features:
            # Of joined utterances, who follows whom belongs to the variant.
            joins = self.augmentation is not None and self.augmentation.joining
            variant = self._draw + (0 if joins else max(copy, 0))
            cached = self._features[variant % len(self._features)]
            utterance |= {"features": cached[index], "source": (index, follower, *cached.time_maps[index])}
            return {**utterance, "seconds": (time.perf_counter() - start, 0.0)}
        waveform = self._read(index)
        read = time.perf_counter()
        waveform, moved = self._vary(waveform, index, copy)
        utterance["source"] = (index, follower, *moved)
        return {**utterance, "waveform": waveform, "seconds": (read - start, time.perf_counter() - read)}

    def _read(self, index: int) -> np.ndarray:
        """An utterance, and what follows it in this epoch."""
        waveform = self._waveform(index)
        follower = self._followers.get(index)
        return waveform if follower is None else np.concatenate((waveform, self._waveform(follower)))

    def _vary(self, waveform: np.ndarray, index: int, copy: int = 0) -> tuple[np.ndarray, tuple[float, float]]:
        """A waveform with this epoch's augmentation, and its time map."""
        if self.augmentation is None:
            return waveform, time_map({})
        applied: dict[str, tuple[float, ...]] = {}
        rng = np.random.default_rng((self.seed, self._draw, index, *([copy] if copy > 0 else [])))
        varied = self.augmentation(waveform, self.sampling_rate, rng, applied)
        return (varied, time_map(applied)) if len(varied) >= self.min_samples else (waveform, time_map({}))

    def files(self, index: int) -> list[str]:
        """Where the sound of an utterance comes from in this epoch: its file, and that of the one joined to it."""
        rows = [index, *([self._followers[index]] if index in self._followers else [])]
        return [self.audio[row].get("path") or f"row {row}" for row in rows]

    def _waveform(self, index: int) -> np.ndarray:
        if self._decoded is not None:
            return self._decoded[index]
        if self._first_pass is not None:
            return self._first_pass.read(self.audio[index])
        return read_audio(self.audio[index], self.sampling_rate)


def count_variants(augmentation: Augmentation | None) -> int:
    """How many epochs pass before the same sounds come again, so that their features can be kept."""
    if augmentation is None or not augmentation.is_active:
        return 1
    if augmentation.variants is None:
        raise RecipeError(
            "training.cache_features keeps features that augmentation would change in every epoch: set "
            "augmentation.variants, such as 6, or leave one of them out."
        )
    return augmentation.variants


class SpeechCollator:
    """Makes a model's batch: `input_features`, `attention_mask`, `labels`, and `phone_targets` where there are phones.

    `files`, where the sound comes from, `left_out`, why utterances of a stream are not among them, `loader_seconds`,
    the time it took to read, to augment and to compute features, and `sources`, are for the Trainer, which takes them
    out. A row of `sources` `(batch, 4)` has the number of an utterance's row, that of the one that follows it in the
    same clip or -1, and its time map (see `augmentation.time_map`); streams have no rows.

    Args:
        feature_extractor: Turns waveforms into features, padded on the right.
        collate_targets: Turns the utterances' targets into the tensor `labels`.
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
        """What the extractor gives for the waveforms: features padded to the longest, and the mask if it has one."""
        features = pad_sequence([frames for frames, _ in utterances], batch_first=True)
        if not self.feature_extractor.return_attention_mask:
            return {"input_features": features}
        lengths = torch.tensor([valid for _, valid in utterances])
        mask = torch.arange(features.shape[1]) < lengths[:, None]
        return {"input_features": features, "attention_mask": mask.long()}
