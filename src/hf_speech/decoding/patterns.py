"""Scores of keywords in the output of a recognizer: how well the last frames match the phones of a keyword.

A pattern is the sequence of phones, or letters, of a keyword. A CTC path that spells it is, at each frame, at one of
these symbols or at the blank between two of them. Each frame adds the log-probability of that symbol, relative to the
most likely symbol of the frame, times a weight, since mistakes at some symbols of a keyword mean more than at others.
The score at a frame is the bias plus the sum of the best path that ends there, wherever it starts. A keyword may have
several patterns, whose scores are averaged. `training.patterns` finds symbols, weights and biases from recordings, such
that scores are log odds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from hf_speech.common.files import write_json
from hf_speech.errors import ModelError

PATTERNS = "keyword_patterns.json"
"""The file in a recognizer's folder that contains the patterns of keywords."""
IMPOSSIBLE = -1e9


@dataclass(frozen=True)
class Pattern:
    """The pattern of a keyword.

    Attributes:
        symbols: Its phones or letters.
        weights: The weight of each symbol, followed by that of the blanks between them.
        bias: The score of a perfect match.
    """

    symbols: tuple[str, ...]
    weights: tuple[float, ...]
    bias: float = 0.0


class PatternPaths:
    """The paths that spell a pattern. Their states are the symbols, with a blank between each two.

    Args:
        pattern: The pattern.
        labels: The symbols of the recognizer, in the order of its logits; the first is the blank.

    Raises:
        ModelError: If the recognizer lacks a symbol.
    """

    def __init__(self, pattern: Pattern, labels: Sequence[str]) -> None:
        if missing := [symbol for symbol in pattern.symbols if symbol not in labels]:
            raise ModelError(f"The model has no symbol {missing[0]!r} for a keyword: enroll the keyword again.")
        count = len(pattern.symbols)
        ids = np.zeros(2 * count - 1, dtype=np.int64)
        ids[::2] = [labels.index(symbol) for symbol in pattern.symbols]
        # The weight of each state, by position: each symbol has its own, and all blanks share one.
        self.weight_of_state = np.full(len(ids), count)
        self.weight_of_state[::2] = np.arange(count)
        self._ids, self._bias = ids, pattern.bias
        self._weights = np.array(pattern.weights)[self.weight_of_state]
        # CTC may skip the blank between two different symbols.
        self._skips = np.zeros(len(ids), dtype=bool)
        self._skips[2::2] = ids[2::2] != ids[:-2:2]

    def evidence(self, logits: np.ndarray) -> np.ndarray:
        """Returns relative log-probabilities `(..., frames, states)` of logits `(..., frames, symbols)`."""
        relative: np.ndarray = logits[..., self._ids] - logits.max(axis=-1, keepdims=True)
        return relative.astype(np.float64)

    def scores(self, logits: np.ndarray, ends: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Computes the scores of the pattern.

        Args:
            logits: `(batch, frames, symbols)`.
            ends: The second result for the frames before; None at the start.

        Returns:
            The scores `(batch, frames)`, and the sums of the best paths that end in each state `(batch, states)`.
        """
        gains = self.evidence(logits) * self._weights
        ends = np.full((len(logits), len(self._ids)), IMPOSSIBLE) if ends is None else ends
        scores = np.empty(gains.shape[:2])
        for frame in range(gains.shape[1]):
            ends = self._previous(ends).max(axis=0) + gains[:, frame]
            scores[:, frame] = ends[:, -1] + self._bias
        return scores, ends

    def evidence_of_best(self, logits: np.ndarray) -> np.ndarray:
        """Returns the sums of evidence by weight, `(batch, weights)`, along the best path that ends in the last frame.

        Args:
            logits: `(batch, frames, symbols)`.
        """
        evidence = self.evidence(logits)
        states, batch = np.arange(len(self._ids)), len(logits)
        ends = np.full((batch, len(states)), IMPOSSIBLE)
        sums = np.zeros((batch, len(states), self.weight_of_state.max() + 1))
        for frame in range(evidence.shape[1]):
            previous = self._previous(ends)
            step = previous.argmax(axis=0)
            sums = np.take_along_axis(sums, np.maximum(states - step, 0)[..., None], axis=1)
            sums[:, 0] *= step[:, :1] == 0  # A step of one into the first state starts a path.
            sums[:, states, self.weight_of_state] += evidence[:, frame]
            ends = previous.max(axis=0) + evidence[:, frame] * self._weights
        best: np.ndarray = sums[:, -1]
        return best

    def _previous(self, ends: np.ndarray) -> np.ndarray:
        """Returns sums of the best paths before a frame, `(3, batch, states)`, that advance by 0, 1 or 2 states."""
        previous = np.full((3, *ends.shape), IMPOSSIBLE)
        previous[0] = ends
        previous[1, :, 1:], previous[1, :, 0] = ends[:, :-1], 0.0
        previous[2, :, 2:] = np.where(self._skips[2:], ends[:, :-2], IMPOSSIBLE)
        return previous


class PatternScores:
    """Computes the scores of keywords in a stream, like `KeywordScores`.

    Patterns of a keyword may end at different frames, so the highest score of each in the last few frames counts.

    Args:
        keywords: The patterns of each keyword; its score is the mean of theirs.
        labels: The symbols of the recognizer; see `PatternPaths`.
        smoothing_frames: The number of last frames in which a pattern may end.
    """

    def __init__(self, keywords: Sequence[Sequence[Pattern]], labels: Sequence[str], smoothing_frames: int) -> None:
        self._keywords = [[PatternPaths(pattern, labels) for pattern in patterns] for patterns in keywords]
        self._ends: dict[PatternPaths, np.ndarray] = {}
        self._past: dict[PatternPaths, np.ndarray] = {}
        self._smoothing_frames = max(smoothing_frames, 1)

    def accept(self, logits: np.ndarray) -> np.ndarray:
        """Returns scores `(frames, keywords)` for the next logits `(frames, symbols)`."""
        return self.accept_batch(logits[None])[0]

    def accept_batch(self, logits: np.ndarray) -> np.ndarray:
        """Returns scores `(batch, frames, keywords)` for the next logits `(batch, frames, symbols)` of streams."""
        means = [np.mean([self._smoothed(paths, logits) for paths in patterns], axis=0) for patterns in self._keywords]
        return np.stack(means, axis=-1)

    def _smoothed(self, paths: PatternPaths, logits: np.ndarray) -> np.ndarray:
        """Returns the highest scores of a pattern in the last frames, `(batch, frames)`."""
        scores, self._ends[paths] = paths.scores(logits, self._ends.get(paths))
        past = self._past.get(paths, np.full((len(logits), self._smoothing_frames - 1), IMPOSSIBLE))
        extended = np.concatenate((past, scores), axis=1)
        self._past[paths] = extended[:, extended.shape[1] - past.shape[1] :]
        if not scores.size:
            return scores
        highest: np.ndarray = np.lib.stride_tricks.sliding_window_view(extended, past.shape[1] + 1, axis=1).max(axis=-1)
        return highest


def save_patterns(folder: Path, keywords: Mapping[str, Sequence[Pattern]]) -> None:
    """Writes the patterns of keywords to the folder of a recognizer."""
    write_json(
        folder / PATTERNS, {keyword: [asdict(own) for own in patterns] for keyword, patterns in keywords.items()}
    )


def load_patterns(path: Path) -> dict[str, list[Pattern]]:
    """Reads the patterns of keywords.

    Raises:
        ModelError: If the file is damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        keywords = {
            str(keyword): [
                Pattern(tuple(map(str, own["symbols"])), tuple(map(float, own["weights"])), float(own["bias"]))
                for own in patterns
            ]
            for keyword, patterns in content.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path} has no patterns of keywords: enroll the keyword again.") from error
    for keyword, patterns in keywords.items():
        if not patterns or any(not own.symbols or len(own.weights) != len(own.symbols) + 1 for own in patterns):
            raise ModelError(f"{path} has a damaged pattern of {keyword!r}: enroll the keyword again.")
    return keywords
