"""Samplers that group utterances of similar length to reduce padding, in random order.

The order depends only on seed and epoch, so resumed training continues with the same batches and all processes agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from hf_speech.data.shares import ShareDraw


class LengthBatchSampler(torch.utils.data.Sampler[int]):
    """Samples row indices so that each batch of `batch_size` consecutive rows has similar lengths.

    Rows are shuffled and sorted by length within windows of `window` batches; then the batches are shuffled.

    Args:
        lengths: Length of each row, in any unit.
        batch_size: Rows per batch, over all processes.
        seed: Seed of the order.
        window: Number of batches in which rows are sorted. A larger window means less padding and less randomness.
        draw: Draws the rows of each epoch; by default, each row occurs once.
    """

    def __init__(
        self,
        lengths: Sequence[float],
        batch_size: int,
        seed: int = 0,
        window: int = 20,
        draw: ShareDraw | None = None,
    ) -> None:
        self.draw = draw
        self.lengths = np.asarray(lengths)
        self.batch_size = batch_size
        self.seed = seed
        self.window = window
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.lengths)

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch, which determines the order."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng((self.seed, self.epoch))
        order = rng.permutation(len(self.lengths) if self.draw is None else self.draw.rows(self.epoch))
        # The incomplete batch is last, so that it does not shift the boundaries of the others. Its rows are not sorted.
        complete = len(order) // self.batch_size * self.batch_size
        order, rest = order[:complete], order[complete:]
        span = self.batch_size * self.window
        windows = [order[start : start + span] for start in range(0, len(order), span)]
        batches = [
            rows[np.argsort(self.lengths[rows % len(self.lengths)], kind="stable")].reshape(-1, self.batch_size)
            for rows in windows
        ]
        if batches:
            yield from rng.permutation(np.concatenate(batches)).flatten().tolist()
        yield from rest.tolist()


class DurationBatchSampler(torch.utils.data.Sampler[list[int]]):
    """Samples batches of row indices with a maximum duration, in an order that changes with the epoch.

    The duration of a batch includes padding: it is the length of the longest utterance times the number of utterances.
    The composition of batches depends only on the seed, so their number is fixed, as the Trainer requires.

    Args:
        durations: Duration of each row in seconds.
        max_seconds: Maximum duration of a batch; a single longer utterance gets its own batch.
        seed: Seed of composition and order.
        divisible_by: Number of processes. The number of batches becomes a multiple of it, by halving the largest ones.
    """

    def __init__(self, durations: Sequence[float], max_seconds: float, seed: int = 0, divisible_by: int = 1) -> None:
        self.seed = seed
        self.epoch = 0
        rng = np.random.default_rng(seed)
        # Durations are perturbed by up to 5%, so that the composition depends on the seed.
        order = np.argsort(np.asarray(durations) * rng.uniform(0.95, 1.05, len(durations)), kind="stable")
        self.batches: list[list[int]] = []
        longest = 0.0
        for index in order.tolist():
            longest = max(longest, durations[index])
            if not self.batches or longest * (len(self.batches[-1]) + 1) > max_seconds:
                self.batches.append([])
                longest = durations[index]
            self.batches[-1].append(index)
        while len(self.batches) % divisible_by and max(map(len, self.batches)) > 1:
            largest = max(self.batches, key=len)
            self.batches.append(largest[len(largest) // 2 :])
            del largest[len(largest) // 2 :]

    def __len__(self) -> int:
        return len(self.batches)

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch, which determines the order."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        for index in np.random.default_rng((self.seed, self.epoch)).permutation(len(self.batches)):
            yield list(self.batches[index])
