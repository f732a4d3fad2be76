"""A tree of sequences of integers, in one sorted array: n-grams of words, and words of letters.

Nodes are numbered level by level, the root is 0, and the node reached from `parent` by `symbol` is one more than the
place of `parent * num_symbols + symbol` among the sorted keys. So a lookup is a binary search, of many nodes at once,
and the array can be read from a file as it is.
"""

from __future__ import annotations

import numpy as np


class Trie:
    """A tree of sequences.

    Args:
        keys: `parent * num_symbols + symbol` of each node but the root, int64 `(nodes - 1,)`, ascending.
        num_symbols: The number of symbols.
    """

    def __init__(self, keys: np.ndarray, num_symbols: int) -> None:
        self.keys = keys
        self.num_symbols = num_symbols

    @classmethod
    def of(cls, sequences: np.ndarray, lengths: np.ndarray, num_symbols: int) -> tuple[Trie, np.ndarray]:
        """Make the tree of sequences.

        Args:
            sequences: Symbols `(sequences, longest)`; those beyond the length of a sequence do not count.
            lengths: Length of each sequence, at least 1.
            num_symbols: The number of symbols.

        Returns:
            The tree, and the node at which each sequence ends.
        """
        nodes = np.zeros(len(sequences), dtype=np.int64)
        levels: list[np.ndarray] = [np.zeros(0, dtype=np.int64)]
        first = 1  # node of the level
        for place in range(sequences.shape[1]):
            rows = np.flatnonzero(lengths > place)
            keys, inverse = np.unique(nodes[rows] * num_symbols + sequences[rows, place], return_inverse=True)
            nodes[rows] = first + inverse
            first += len(keys)
            levels.append(keys)
        return cls(np.concatenate(levels), num_symbols), nodes

    def __len__(self) -> int:
        """The number of nodes, the root included."""
        return len(self.keys) + 1

    @property
    def parents(self) -> np.ndarray:
        """The parent of each node but the root `(nodes - 1,)`."""
        parents: np.ndarray = self.keys // self.num_symbols
        return parents

    def find(self, parents: np.ndarray, symbols: np.ndarray) -> np.ndarray:
        """Return the nodes reached from others by symbols, int64; 0 where there is none."""
        wanted = parents * np.int64(self.num_symbols) + symbols
        places = np.searchsorted(self.keys, wanted)
        inside = places < len(self.keys)
        inside[inside] = self.keys[places[inside]] == wanted[inside]
        return np.where(inside, places + 1, 0)

    def highest_below(self, values: np.ndarray) -> np.ndarray:
        """Return for each node the highest of the values `(nodes,)` of it and of all nodes below it."""
        highest, parents = values.copy(), self.parents
        firsts = [0, 1]  # nodes of the levels; parents are ascending
        while firsts[-1] < len(self):
            firsts.append(1 + int(np.searchsorted(parents, firsts[-1])))
        for first, end in zip(firsts[-2:0:-1], firsts[:1:-1], strict=True):
            np.maximum.at(highest, parents[first - 1 : end - 1], highest[first:end])
        return highest
