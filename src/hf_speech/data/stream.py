"""Streams a split that is too large for the disk during training; each process and worker reads its own part.

Nothing is known of an utterance until it is read, so an unusable one is skipped or refused at that point.
The order is that of the shards, shuffled, and of a buffer. No utterance is read by two processes or two workers, and
none is lost between them. The stream never ends: each pass has another order, and processes whose parts
differ by an utterance never wait for each other. Training ends after its number of steps.
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
    """The checks of a streamed utterance before training on it, the same as the inspection makes of other corpora.

    Attributes:
        limits: The shortest and the longest utterance in seconds, given the value of a row's column `corpus`, if any.
        bad_rows: Whether an unusable utterance stops training ("refuse") or is left out ("skip").
        examine: Given a row and its seconds, says why its target cannot be learned; `None` if it can.
    """

    limits: Callable[[str | None], tuple[float, float]]
    bad_rows: Literal["refuse", "skip"]
    examine: Callable[[Mapping[str, Any], float], str | None]

    def fault(self, row: Mapping[str, Any], seconds: float) -> str | None:
        """Why an utterance is unusable, in a sentence; None if it is usable."""
        of_duration = duration_fault(source_name(row["audio"]), seconds, *self.limits(row.get("corpus")))
        return of_duration[1] if of_duration is not None else self.examine(row, seconds)


class SpeechStream(torch.utils.data.IterableDataset[dict[str, Any]]):
    """Utterances of a streamed split, as items of `SpeechDataset` are.

    Args:
        source: The split.
        sampling_rate: Rate in Hz at which waveforms are given.
        encode_target: Makes the training target of a row.
        admission: The checks of each utterance.
        augmentation: How waveforms are varied, or `None`.
        seed: Seed of order and augmentation.
        batch_size: Consecutive utterances that make a batch, of similar length.
        window: Batches of utterances that are read ahead and sorted by length; 1 to leave them in their order.
        process: Number of this process, and of all of them.
        encode_phones: Makes the phone ids `(phones,)` of a row; `None` for no phones.
        num_passes: Passes over the stream, `None` for no end.
        min_samples: Samples that features need; an utterance that augmentation makes shorter stays as it is.
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
        """Utterances in batches of similar length, which come in random order.

        Raises:
            CorpusError: If an utterance cannot be learned from and bad rows are refused, or if none can.
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
            yield from pool[complete:]  # Last, or it would shift the boundaries of the others.

    def _utterances(self) -> Iterator[dict[str, Any]]:
        """The utterances of this worker of this process, in the order of the stream."""
        left_out: list[str] = []
        for number in itertools.count() if self.num_passes is None else range(self.num_passes):
            seen = learned = 0
            for row in self.source.rows(number, self.process):
                seen += 1
                try:
                    utterance = self._utterance(row, number)
                except BadAudio as error:
                    if self.admission.bad_rows == "refuse":
                        raise CorpusError(
                            f"{str(error).rstrip('.')}: correct it, or leave such utterances out with bad_rows: skip."
                        ) from error
                    left_out.append(str(error))
                    continue
                learned += 1
                yield {**utterance, "left_out": left_out}
                left_out = []
            if not seen:
                return  # There are more workers than shards, and the others have them all.
            if not learned:
                raise CorpusError(f"Of the streamed utterances none can be learned from, such as: {left_out[0]}")

    def _utterance(self, row: dict[str, Any], number: int) -> dict[str, Any]:
        """An item of a row."""
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
            # Rows of a stream have no numbers: seed, pass and recording decide the augmentation, in any process.
            draw = self.augmentation.draw(row.get("pass", number))
            rng = np.random.default_rng((self.seed, draw, zlib.crc32(row["audio"]["bytes"])))
            varied = self.augmentation(waveform, self.sampling_rate, rng)
            waveform = varied if len(varied) >= self.min_samples else waveform
        return {**utterance, "waveform": waveform, "seconds": (read - start, time.perf_counter() - read)}
