"""Scores of keywords in the output of a recognizer: how well the last frames match the phones of a keyword.

A pattern is the sequence of phones, or letters, of a keyword. A CTC path that spells it is, at each frame, at one of
these symbols or at the blank between two of them. Its match is the sum over its frames of the symbol's log-probability,
relative to that of the frame's most likely symbol. The best path that ends at a frame, wherever it starts, divides the
frames before into parts, one for each symbol. If it matches well enough, a linear classifier computes the score, the
log odds of the keyword, from the match, the durations of the parts, and how likely each symbol of the recognizer is in
each part. The classifier knows what the recognizer often confuses, and what distinguishes a keyword from similar words.
`training.patterns` finds the symbols and the classifier from a few recordings.
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
WINDOW = 61
"""Number of frames in which a match must start and end."""
FLOOR = -8.0
"""The lowest log-probability that the classifier distinguishes."""


@dataclass(frozen=True)
class Pattern:
    """The pattern of a keyword.

    Attributes:
        symbols: Its phones or letters.
        weights: The weight of each feature, see `PatternMatcher.features`.
        bias: The score if all features are zero.
        lowest_match: The lowest match that is classified; frames that match less have no score.
    """

    symbols: tuple[str, ...]
    weights: tuple[float, ...] = ()
    bias: float = 0.0
    lowest_match: float = IMPOSSIBLE


class PatternMatcher:
    """Matches logits with a pattern. The states of a path are the symbols, with a blank between each two.

    Args:
        symbols: The phones or letters of the pattern.
        labels: The symbols of the recognizer, in the order of its logits; the first is the blank.

    Raises:
        ModelError: If the recognizer lacks a symbol.
    """

    def __init__(self, symbols: Sequence[str], labels: Sequence[str]) -> None:
        if missing := [symbol for symbol in symbols if symbol not in labels]:
            raise ModelError(f"The model has no symbol {missing[0]!r} for a keyword: enroll the keyword again.")
        self._ids = np.zeros(2 * len(symbols) - 1, dtype=np.int64)
        self._ids[::2] = [labels.index(symbol) for symbol in symbols]
        # CTC may skip the blank between two different symbols.
        self._skips = np.zeros(len(self._ids), dtype=bool)
        self._skips[2::2] = self._ids[2::2] != self._ids[:-2:2]
        self.num_features = len(symbols) * (len(labels) + 1) + 1

    def matches(self, logits: np.ndarray, ends: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Computes the best match that ends at each frame.

        Args:
            logits: `(batch, frames, symbols)`.
            ends: The second result for the frames before; None at the start.

        Returns:
            The matches `(batch, frames)`, and those of the best paths that end in each state, `(batch, states)`.
        """
        gains = self._gains(logits)
        ends = np.full((len(logits), len(self._ids)), IMPOSSIBLE) if ends is None else ends
        matches = np.empty(gains.shape[:2])
        for frame in range(gains.shape[1]):
            ends = self._previous(ends).max(axis=0) + gains[:, frame]
            matches[:, frame] = ends[:, -1]
        return matches, ends

    def features(self, windows: np.ndarray) -> np.ndarray:
        """Describes the best match that ends at the last frame of each window.

        A symbol's part of a window ends halfway between the symbol's frames and those of the next symbol.

        Args:
            windows: Logits `(windows, WINDOW, symbols)`.

        Returns:
            `(windows, num_features)`: for each part, the highest log-probability of each symbol of the recognizer, not
            lower than `FLOOR`; for each part, its duration in frames; and the match, not lower than `WINDOW * FLOOR`.
        """
        states, matches = self._best_paths(windows)
        frames = np.arange(windows.shape[1])
        log_probabilities = windows - np.logaddexp.reduce(windows, axis=2, keepdims=True)
        log_probabilities = np.maximum(log_probabilities, FLOOR)
        at_symbol = states[:, None] == np.arange(0, len(self._ids), 2)[:, None]
        centers = (at_symbol * frames).sum(axis=2) / np.maximum(at_symbol.sum(axis=2), 1)
        starts = (states >= 0).argmax(axis=1)
        borders = np.ceil((centers[:, :-1] + centers[:, 1:]) / 2)
        firsts = np.column_stack((starts, borders))[..., None]
        ends = np.column_stack((borders, np.full(len(windows), len(frames))))[..., None]
        parts = (frames >= firsts) & (frames < ends)
        likely = [np.where(part[..., None], log_probabilities, FLOOR).max(axis=1) for part in parts.swapaxes(0, 1)]
        durations = np.column_stack((len(frames) - starts, np.diff(centers)))
        return np.column_stack((*likely, durations, np.maximum(matches, WINDOW * FLOOR)))

    def _gains(self, logits: np.ndarray) -> np.ndarray:
        """Returns relative log-probabilities `(..., frames, states)` of logits `(..., frames, symbols)`."""
        relative: np.ndarray = logits[..., self._ids] - logits.max(axis=-1, keepdims=True)
        return relative.astype(np.float64)

    def _best_paths(self, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the state at each frame of the best path, `(windows, WINDOW)`, -1 before its start, and the match."""
        gains = self._gains(windows)
        ends = np.full((len(gains), len(self._ids)), IMPOSSIBLE)
        steps = np.empty(gains.shape, dtype=np.int64)
        for frame in range(gains.shape[1]):
            previous = self._previous(ends)
            steps[:, frame] = previous.argmax(axis=0)
            ends = previous.max(axis=0) + gains[:, frame]
        state = np.full(len(gains), len(self._ids) - 1)
        states = np.full(gains.shape[:2], -1)
        for frame in reversed(range(gains.shape[1])):
            states[:, frame] = state
            step = steps[np.arange(len(gains)), frame, state]
            state = np.where(state < 0, -1, np.maximum(state - step, -1))
        return states, ends[:, -1]

    def _previous(self, ends: np.ndarray) -> np.ndarray:
        """Returns sums of the best paths before a frame, `(3, batch, states)`, that advance by 0, 1 or 2 states."""
        previous = np.full((3, *ends.shape), IMPOSSIBLE)
        previous[0] = ends
        previous[1, :, 1:], previous[1, :, 0] = ends[:, :-1], 0.0
        previous[2, :, 2:] = np.where(self._skips[2:], ends[:, :-2], IMPOSSIBLE)
        return previous


class PatternScores:
    """Computes the scores of keywords in a stream, like `KeywordScores`.

    Args:
        patterns: The pattern of each keyword.
        labels: The symbols of the recognizer; see `PatternMatcher`.
    """

    def __init__(self, patterns: Sequence[Pattern], labels: Sequence[str]) -> None:
        self._patterns = [(pattern, PatternMatcher(pattern.symbols, labels)) for pattern in patterns]
        self._ends: list[np.ndarray | None] = [None] * len(patterns)
        self._past: np.ndarray | None = None

    def accept(self, logits: np.ndarray) -> np.ndarray:
        """Returns scores `(frames, keywords)` for the next logits `(frames, symbols)`, `IMPOSSIBLE` without a match."""
        return self.accept_batch(logits[None])[0]

    def accept_batch(self, logits: np.ndarray) -> np.ndarray:
        """Returns scores `(batch, frames, keywords)` for the next logits `(batch, frames, symbols)` of streams."""
        past = before_start(len(logits), logits.shape[2]) if self._past is None else self._past
        extended = np.concatenate((past, logits), axis=1)
        self._past = extended[:, extended.shape[1] - past.shape[1] :]
        scores = np.full((*logits.shape[:2], len(self._patterns)), IMPOSSIBLE)
        for index, (pattern, matcher) in enumerate(self._patterns):
            matches, self._ends[index] = matcher.matches(logits, self._ends[index])
            rows, frames = np.nonzero(matches >= pattern.lowest_match)
            if len(rows):
                windows = extended[rows[:, None], frames[:, None] + np.arange(WINDOW)]
                scores[rows, frames, index] = matcher.features(windows) @ pattern.weights + pattern.bias
        return scores


def before_start(batch: int, symbols: int) -> np.ndarray:
    """Returns the logits before the start of streams, `(batch, WINDOW - 1, symbols)`: only the blank is possible."""
    logits = np.full((batch, WINDOW - 1, symbols), 5 * FLOOR, dtype=np.float32)
    logits[..., 0] = 0.0
    return logits


def save_patterns(folder: Path, keywords: Mapping[str, Pattern]) -> None:
    """Writes the patterns of keywords to the folder of a recognizer."""
    write_json(folder / PATTERNS, {keyword: asdict(pattern) for keyword, pattern in keywords.items()})


def load_patterns(path: Path, num_labels: int) -> dict[str, Pattern]:
    """Reads the patterns of keywords.

    Args:
        path: The file.
        num_labels: Number of symbols of the recognizer.

    Raises:
        ModelError: If the file is damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        keywords = {
            str(keyword): Pattern(
                tuple(map(str, own["symbols"])),
                tuple(map(float, own["weights"])),
                float(own["bias"]),
                float(own["lowest_match"]),
            )
            for keyword, own in content.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path} has no patterns of keywords: enroll the keyword again.") from error
    for keyword, own in keywords.items():
        if not own.symbols or len(own.weights) != len(own.symbols) * (num_labels + 1) + 1:
            raise ModelError(f"{path} has a damaged pattern of {keyword!r}: enroll the keyword again.")
    return keywords
