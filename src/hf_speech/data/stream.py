"""Streams a split that is too large for the disk during training.

Every process and worker reads a separate part of the split, so that each utterance is read exactly once per pass.
Shards are shuffled, and rows within a buffer. An unusable utterance is only detected, and then skipped or refused, when
it is read. The stream has no end and each pass has a new order, so that processes with parts of different sizes never
wait for each other; training ends after its number of steps.
"""

from __future__ import annotations

import itertools
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from hf_speech.data.audio import read_audio, source_name
from hf_speech.data.augmentation import Augmentation
from hf_speech.data.corpora.base import RowStream
from hf_speech.data.corpora.mixed_stream import loader_process
from hf_speech.data.headers import BadAudio
from hf_speech.data.inspection import duration_fault
from hf_speech.errors import CorpusError


@dataclass(frozen=True)
class Admission:
    """The checks of a streamed utterance before training, equal to those of the inspection for other corpora.

    Attributes:
        limits: Returns the minimum and maximum duration in seconds for a value of the column `corpus` (None without).
        bad_rows: Whether an unusable utterance stops training ("refuse") or is left out ("skip").
        examine: Given a row and its duration in seconds, returns why its target cannot be learned, or `None`.
    """

    limits: Callable[[str | None], tuple[float, float]]
    bad_rows: Literal["refuse", "skip"]
    examine: Callable[[Mapping[str, Any], float], str | None]

    def fault(self, row: Mapping[str, Any], seconds: float) -> str | None:
        """Returns why an utterance is unusable, as a sentence, or None."""
        fault = duration_fault(source_name(row["audio"]), seconds, *self.limits(row.get("corpus")))
        return fault[1] if fault is not None else self.examine(row, seconds)


class SpeechStream(torch.utils.data.IterableDataset[dict[str, Any]]):
    """Utterances of a streamed split, in the format of `SpeechDataset` items.

    Args:
        source: The split.
        sampling_rate: Sampling rate of the waveforms in Hz.
        encode_target: Returns the training target of a row.
        admission: The checks of each utterance.
        augmentation: The augmentation of the waveforms, or `None`.
        seed: Seed of order and augmentation.
        batch_size: Number of consecutive utterances of similar length that form a batch.
        window: Number of batches to read ahead and sort by length; 1 to keep the order.
        process: The number of this process, and the number of processes.
        encode_phones: Returns the phone ids `(phones,)` of a row; `None` for no phones.
        num_passes: Number of passes over the stream, or `None` for an endless stream.
        min_samples: The minimum number of samples for features. An utterance that augmentation would make shorter is
            not augmented.
    """

    def __init__(
        self,
        source: RowStream,
        sampling_rate: int,
        encode_target: Callable[[Mapping[str, Any]], Any],
        admission: Admission,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        *,
        batch_size: int,
        window: int = 16,
        process: tuple[int, int] = (0, 1),
        encode_phones: Callable[[Mapping[str, Any]], torch.Tensor] | None = None,
        num_passes: int | None = None,
        min_samples: int = 1,
    ) -> None:
        self.source = source
        self.sampling_rate = sampling_rate
        self.encode_target = encode_target
        self.admission = admission
        self.augmentation = augmentation if augmentation is not None and augmentation.is_active else None
        self.seed = seed
        self.batch_size = batch_size
        self.window = window
        self.process = process
        self.encode_phones = encode_phones
        self.num_passes = num_passes
        self.min_samples = min_samples

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yields the utterances of batches of similar length; the batches are in random order.

        Raises:
            CorpusError: If an utterance is unusable and bad rows are refused, or if all utterances are unusable.
        """
        rng = np.random.default_rng((self.seed, *self.process, loader_process()[0]))
        utterances = self._utterances()
        while pool := list(itertools.islice(utterances, self.batch_size * self.window)):
            if self.window > 1:
                pool.sort(key=lambda utterance: len(utterance["waveform"]))
            complete = len(pool) // self.batch_size * self.batch_size
            batches = [pool[start : start + self.batch_size] for start in range(0, complete, self.batch_size)]
            for index in rng.permutation(len(batches)) if self.window > 1 else range(len(batches)):
                yield from batches[index]
            yield from pool[complete:]  # Incomplete, so it must be last to keep the boundaries of the other batches.

    def _utterances(self) -> Iterator[dict[str, Any]]:
        """Yields the utterances of this worker, in the order of the stream."""
        left_out: list[str] = []
        for number in itertools.count() if self.num_passes is None else range(self.num_passes):
            num_rows = num_usable = 0
            for row in self.source.rows(number, self.process):
                num_rows += 1
                try:
                    utterance = self._utterance(row, number)
                except BadAudio as error:
                    if self.admission.bad_rows == "refuse":
                        raise CorpusError(
                            f"{str(error).rstrip('.')}: correct it, or leave such utterances out with bad_rows: skip."
                        ) from error
                    left_out.append(str(error))
                    continue
                num_usable += 1
                yield {**utterance, "left_out": left_out}
                left_out = []
            if not num_rows:
                return  # There are more workers than shards, and this one has no shard.
            if not num_usable:
                raise CorpusError(f"None of the streamed utterances is usable, for example: {left_out[0]}")

    def _utterance(self, row: dict[str, Any], number: int) -> dict[str, Any]:
        """Returns the item of a row.

        Raises:
            BadAudio: If the row is unusable.
        """
        start = time.perf_counter()
        waveform = read_audio(row["audio"], self.sampling_rate)
        if len(waveform) < self.min_samples:
            raise BadAudio(f"{source_name(row['audio'])} is too short for a frame of features.", "too short")
        if (fault := self.admission.fault(row, len(waveform) / self.sampling_rate)) is not None:
            raise BadAudio(fault)
        utterance = {"files": [source_name(row["audio"])], "target": self.encode_target(row)}
        if self.encode_phones is not None:
            utterance["phones"] = self.encode_phones(row)
        read = time.perf_counter()
        if self.augmentation is not None:
            # Rows of a stream have no index, so the seed depends on the content of the recording instead.
            draw = self.augmentation.draw(row.get("pass", number))
            rng = np.random.default_rng((self.seed, draw, zlib.crc32(row["audio"]["bytes"])))
            augmented = self.augmentation(waveform, self.sampling_rate, rng)
            waveform = augmented if len(augmented) >= self.min_samples else waveform
        return {**utterance, "waveform": waveform, "seconds": (read - start, time.perf_counter() - read)}
