"""Batch samplers that group utterances of similar length, to reduce padding, in random order.

The order depends only on seed and epoch, so a resumed run continues with the same batches and all processes agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from hf_speech.data.shares import ShareDraw


class LengthBatchSampler(torch.utils.data.Sampler[int]):
    """Row indices such that each `batch_size` consecutive ones have similar lengths, in random order.

    Rows are shuffled, sorted by length within windows of `window` batches, and the resulting batches shuffled.

    Args:
        lengths: Length of each row, in any unit.
        batch_size: Rows in a batch (of all processes together).
        seed: Seed of the order.
        window: Batches within which rows are sorted: a larger window means less padding and less randomness.
        draw: Draws the rows of each epoch; by default each row comes once.
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
        """Selects the order of this epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng((self.seed, self.epoch))
        order = rng.permutation(len(self.lengths) if self.draw is None else self.draw.rows(self.epoch))
        # The incomplete batch is last, so that the boundaries of the others do not shift; its rows are of any length.
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
    """Batches of row indices that fill a budget of seconds, in an order that changes with the epoch.

    The cost of a batch is the length of its longest utterance times their number, padding included. The seed alone
    decides which utterances share a batch, so the number of batches, from which the Trainer plans its steps, is fixed.

    Args:
        durations: Seconds of each row.
        max_seconds: Budget of a batch in seconds; a single longer utterance gets its own batch.
        seed: Seed of composition and order.
        divisible_by: The number of batches is made a multiple of this, by halving the largest ones: the number of
            processes, each of which needs equally many.
    """

    def __init__(self, durations: Sequence[float], max_seconds: float, seed: int = 0, divisible_by: int = 1) -> None:
        self.seed = seed
        self.epoch = 0
        rng = np.random.default_rng(seed)
        # Lengths vary by a tenth at random, so that batches do not always combine the same utterances.
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
        """Selects the order of this epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        for index in np.random.default_rng((self.seed, self.epoch)).permutation(len(self.batches)):
            yield list(self.batches[index])
