"""Draws the rows of an epoch when the corpora of a mixture have weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np


class ShareDraw:
    """Draws the rows of each epoch so that every corpus makes up its share.

    An epoch has as many rows as the table. The rows of each corpus are drawn in random order, pass after pass: a large
    corpus continues in the next epoch where it stopped, and a small one repeats within an epoch. All rows of a corpus
    are therefore drawn equally often. The result depends only on seed and epoch.

    Args:
        corpora: The corpus of each row.
        shares: Each corpus's share of an epoch; they sum to 1.
        seed: Seed of the order.
    """

    def __init__(self, corpora: Iterable[str], shares: Mapping[str, float], seed: int = 0) -> None:
        names = np.asarray(list(corpora))
        self.seed = seed
        self.num_rows = len(names)
        self._rows = [np.flatnonzero(names == name) for name in shares]
        # Round the cumulative sums, not the shares, so that the counts add up to the number of rows.
        ends = np.rint(np.cumsum(list(shares.values())) * self.num_rows).astype(int)
        self._counts = np.diff(ends, prepend=0).tolist()

    def rows(self, epoch: int) -> np.ndarray:
        """Returns the rows of an epoch in no particular order.

        Args:
            epoch: The number of the epoch, from 0.

        Returns:
            `(num_rows,)` integers. Copy `k` of a row in the same epoch is the row plus `k * num_rows`.
        """
        drawn = []
        for corpus, (rows, count) in enumerate(zip(self._rows, self._counts, strict=True)):
            if not len(rows):
                continue
            positions = np.arange(epoch * count, (epoch + 1) * count)
            passes = positions // len(rows)
            orders = {
                number: np.random.default_rng((self.seed, corpus, number)).permutation(rows)
                for number in np.unique(passes).tolist()
            }
            own = np.array(
                [
                    orders[number][position % len(rows)]
                    for number, position in zip(passes.tolist(), positions.tolist(), strict=True)
                ],
                dtype=int,
            )
            drawn.append(own + _occurrences(own) * self.num_rows)
        return np.concatenate(drawn)


def _occurrences(values: np.ndarray) -> np.ndarray:
    """Returns how often each value has occurred before in the array, `(values,)`."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.maximum.accumulate(np.where(np.r_[True, ordered[1:] != ordered[:-1]], np.arange(len(values)), 0))
    counts = np.empty(len(values), dtype=int)
    counts[order] = np.arange(len(values)) - starts
    return counts
