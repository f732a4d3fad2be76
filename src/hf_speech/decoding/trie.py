"""A trie in one sorted array, for n-grams of words and for words of letters.

Nodes are numbered level by level from the root, 0. The child of `parent` by `symbol` is one plus the index of
`parent * num_symbols + symbol` in the sorted keys. A lookup of many nodes is one vectorized binary search, and a file
can store the array unchanged.
"""

from __future__ import annotations

import numpy as np


class Trie:
    """A trie of sequences of integers.

    Args:
        keys: `parent * num_symbols + symbol` of each node except the root, int64 `(nodes - 1,)`, ascending.
        num_symbols: The number of symbols.
    """

    def __init__(self, keys: np.ndarray, num_symbols: int) -> None:
        self.keys = keys
        self.num_symbols = num_symbols

    @classmethod
    def of(cls, sequences: np.ndarray, lengths: np.ndarray, num_symbols: int) -> tuple[Trie, np.ndarray]:
        """Builds the trie of sequences.

        Args:
            sequences: Symbols `(sequences, longest)`; those beyond the length of a sequence are ignored.
            lengths: Length of each sequence, at least 1.
            num_symbols: The number of symbols.

        Returns:
            The trie, and the node at which each sequence ends.
        """
        nodes = np.zeros(len(sequences), dtype=np.int64)
        levels: list[np.ndarray] = [np.zeros(0, dtype=np.int64)]
        first = 1  # first node of the level
        for position in range(sequences.shape[1]):
            rows = np.flatnonzero(lengths > position)
            keys, inverse = np.unique(nodes[rows] * num_symbols + sequences[rows, position], return_inverse=True)
            nodes[rows] = first + inverse
            first += len(keys)
            levels.append(keys)
        return cls(np.concatenate(levels), num_symbols), nodes

    def __len__(self) -> int:
        """Returns the number of nodes, including the root."""
        return len(self.keys) + 1

    @property
    def parents(self) -> np.ndarray:
        """The parent of each node except the root `(nodes - 1,)`."""
        parents: np.ndarray = self.keys // self.num_symbols
        return parents

    def find(self, parents: np.ndarray, symbols: np.ndarray) -> np.ndarray:
        """Returns the children of nodes by symbols, int64; 0 where there is none."""
        keys = parents * np.int64(self.num_symbols) + symbols
        indices = np.searchsorted(self.keys, keys)
        found = indices < len(self.keys)
        found[found] = self.keys[indices[found]] == keys[found]
        return np.where(found, indices + 1, 0)

    def highest_below(self, values: np.ndarray) -> np.ndarray:
        """Returns, for each node, the highest value `(nodes,)` in its subtree."""
        highest, parents = values.copy(), self.parents
        firsts = [0, 1]  # first node of each level; parents are ascending
        while firsts[-1] < len(self):
            firsts.append(1 + int(np.searchsorted(parents, firsts[-1])))
        for first, end in zip(firsts[-2:0:-1], firsts[:1:-1], strict=True):
            np.maximum.at(highest, parents[first - 1 : end - 1], highest[first:end])
        return highest
