"""The hypotheses of a beam search, as arrays, and the tokens of all that were ever among them."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np


@dataclass
class Beam:
    """Hypotheses, as arrays `(hypotheses,)`.

    Attributes:
        blank: Log-probability of the alignments that end in a blank.
        token: Log-probability of those that end in the last token.
        score: What the language model, the words and the hot words add.
        last: The last token; the delimiter at the beginning.
        node: The node of the begun word in the trie of words; 0 between words, -1 outside the trie.
        context: The history of the language model.
        hash: A hash of the text.
        entry: The place of the last token in the history.
    """

    blank: np.ndarray
    token: np.ndarray
    score: np.ndarray
    last: np.ndarray
    node: np.ndarray
    context: np.ndarray
    hash: np.ndarray
    entry: np.ndarray

    @classmethod
    def start(cls, context: int, delimiter: int) -> Beam:
        """The empty text alone."""
        blank, token, score = np.array([[0.0], [-np.inf], [0.0]])
        last, node, history, entry = np.array([[delimiter], [0], [context], [-1]])
        return cls(blank, token, score, last, node, history, np.ones(1, dtype=np.uint64), entry)

    def take(self, rows: np.ndarray) -> Beam:
        """Some of the hypotheses."""
        return Beam(*(getattr(self, field.name)[rows] for field in fields(self)))

    def join(self, other: Beam) -> Beam:
        """These hypotheses and others behind them."""
        names = (field.name for field in fields(self))
        return Beam(*(np.concatenate([getattr(self, name), getattr(other, name)]) for name in names))


class History:
    """The tokens of all hypotheses that were ever in the beam, each with the place of the one before it."""

    def __init__(self) -> None:
        self._entries: list[np.ndarray] = []
        self._count = 0

    def add(self, before: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """Add tokens; returns their places."""
        self._entries.append(np.stack([before, tokens]))
        self._count += len(tokens)
        return np.arange(self._count - len(tokens), self._count)

    def all_tokens(self, places: np.ndarray) -> list[tuple[int, ...]]:
        """The tokens of the texts that end at some places; -1 is the empty text."""
        before, tokens = np.concatenate([np.zeros((2, 0), dtype=np.int64), *self._entries], axis=1).tolist()
        texts = []
        for place in places.tolist():
            text = []
            while place >= 0:
                text.append(tokens[place])
                place = before[place]
            texts.append(tuple(reversed(text)))
        return texts


__all__ = ["Beam", "History"]
