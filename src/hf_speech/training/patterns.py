"""Finds the patterns of a keyword in a few recordings of it; see `hf_speech.decoding.patterns`.

* The candidates are what the recognizer recognizes in each recording. It need not be right, since the same mistakes
  occur when others speak the keyword. The best candidates are those that distinguish the other recordings from
  negatives.
* The weights of a pattern are fitted by logistic regression, to the recordings and to the places in the negatives that
  match the pattern best. They stay near equal weights, since there are few recordings.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from hf_speech.decoding import collapse, find_peaks
from hf_speech.decoding.keywords import REFRACTORY_FRAMES
from hf_speech.decoding.patterns import Pattern, PatternPaths, PatternScores

MAX_PATTERNS = 4
MIN_SYMBOLS = 3
WEIGHT = 0.5
"""The weight of every symbol before the fit."""
MIN_WEIGHT = 0.05
STRENGTH = 0.003
"""Penalty for each squared difference from `WEIGHT`, relative to the mean loss of an example."""
HARDEST = 1500
"""Number of places in the negatives that the weights of a pattern are fitted to."""
CHOICE_FRAMES = 90_000
"""Number of frames of negatives that candidates are compared on."""
WINDOW = 60
"""Frames before the end of a match in which it must start."""
BATCH = 256
LOWEST = -40.0


def find_patterns(
    clips: Sequence[np.ndarray], negatives: Sequence[np.ndarray], labels: Sequence[str], silent: Sequence[str] = ()
) -> list[Pattern]:
    """Finds the patterns of a keyword.

    Args:
        clips: The logits of the recordings of the keyword, each `(frames, symbols)`.
        negatives: The logits of recordings without it.
        labels: The symbols, of which the first is the blank.
        silent: Symbols that are not spoken, such as the space.

    Returns:
        At most `MAX_PATTERNS` patterns, the best first; none if too few symbols were recognized.
    """
    spelled = [
        tuple(label for id_ in collapse(logits.argmax(axis=1).tolist()) if (label := labels[id_]) not in silent)
        for logits in clips
    ]
    frames = np.cumsum([len(logits) for logits in negatives])
    some = list(negatives[: int(np.searchsorted(frames, CHOICE_FRAMES)) + 1])
    cost: dict[tuple[str, ...], float] = {}
    for symbols in dict.fromkeys(spelled):
        own = spelled.index(symbols)
        others = [logits for index, logits in enumerate(clips) if index != own]
        if len(symbols) >= MIN_SYMBOLS:
            pattern = _unfitted(symbols)
            false = np.sort([score for *_, score in best_matches(pattern, some, labels)])
            higher = len(false) - np.searchsorted(
                false, [score for *_, score in best_matches(pattern, others, labels, 1)]
            )
            cost[symbols] = float(np.log1p(higher).mean())
    best = sorted(cost, key=lambda symbols: cost[symbols])[:MAX_PATTERNS]
    return [fit_pattern(symbols, clips, negatives, labels) for symbols in best]


def fit_pattern(
    symbols: Sequence[str], clips: Sequence[np.ndarray], negatives: Sequence[np.ndarray], labels: Sequence[str]
) -> Pattern:
    """Fits the weights and the bias of a pattern; see `find_patterns` for the arguments."""
    pattern = _unfitted(symbols)
    hardest = sorted(best_matches(pattern, negatives, labels), key=lambda match: -match[2])[:HARDEST]
    paths = PatternPaths(pattern, labels)
    hits = _evidence(paths, clips, best_matches(pattern, clips, labels, 1))
    evidence = np.concatenate((hits, _evidence(paths, negatives, hardest)))
    is_keyword = np.arange(len(evidence)) < len(clips)

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        bias, weights = values[0], values[1:]
        scores = evidence @ weights + bias
        error = (expit(scores) - is_keyword) / len(scores)
        change = weights - WEIGHT
        gradient = np.append(error.sum(), evidence.T @ error + 2 * STRENGTH * change)
        losses = np.logaddexp(0, np.where(is_keyword, -scores, scores))
        return float(losses.mean() + STRENGTH * (change**2).sum()), gradient

    start = np.append(0.0, pattern.weights)
    bounds = [(None, None)] + [(MIN_WEIGHT, None)] * len(pattern.weights)
    bias, *weights = minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B").x.tolist()
    return Pattern(tuple(symbols), tuple(weights), bias)


def score_recordings(
    patterns: Sequence[Pattern], recordings: Sequence[np.ndarray], labels: Sequence[str], smoothing_frames: int
) -> list[np.ndarray]:
    """Returns the scores `(frames,)` of a keyword in the logits of recordings `(frames, symbols)`."""
    order = sorted(range(len(recordings)), key=lambda index: len(recordings[index]))
    scores: dict[int, np.ndarray] = {}
    for first in range(0, len(order), BATCH):
        batch = order[first : first + BATCH]
        padded = np.zeros((len(batch), len(recordings[batch[-1]]), len(labels)), dtype=np.float32)
        for row, index in zip(padded, batch, strict=True):
            row[: len(recordings[index])] = recordings[index]
        computed = PatternScores([patterns], labels, smoothing_frames).accept_batch(padded)[..., 0]
        scores |= {index: row[: len(recordings[index])] for row, index in zip(computed, batch, strict=True)}
    return [scores[index] for index in range(len(recordings))]


def best_matches(
    pattern: Pattern, recordings: Sequence[np.ndarray], labels: Sequence[str], count: int = 3
) -> list[tuple[int, int, float]]:
    """Returns the best matches in each recording: its index, the last frame and the score.

    Args:
        pattern: The pattern.
        recordings: Logits `(frames, symbols)`.
        labels: The symbols.
        count: Number of matches in a recording; 1 returns exactly one for each, however bad.
    """
    matches = []
    for index, scores in enumerate(score_recordings([pattern], recordings, labels, smoothing_frames=1)):
        if count == 1:
            matches.append((index, int(scores.argmax()), float(scores.max())))
            continue
        peaks = find_peaks(scores[:, None], REFRACTORY_FRAMES, LOWEST)
        best = sorted(peaks, key=lambda peak: -peak[2])[:count]
        matches += [(index, frame, score) for frame, _, score in best]
    return matches


def _unfitted(symbols: Sequence[str]) -> Pattern:
    return Pattern(tuple(symbols), (WEIGHT,) * (len(symbols) + 1))


def _evidence(
    paths: PatternPaths, recordings: Sequence[np.ndarray], matches: Sequence[tuple[int, int, float]]
) -> np.ndarray:
    """Returns the evidence of each match, `(matches, weights)`."""
    windows = np.full((len(matches), WINDOW + 1, recordings[0].shape[1]), LOWEST, dtype=np.float32)
    windows[..., 0] = 0.0  # Before a recording, no symbol can match.
    for window, (index, end, _) in zip(windows, matches, strict=True):
        frames = recordings[index][max(end - WINDOW, 0) : end + 1]
        window[len(window) - len(frames) :] = frames
    return paths.evidence_of_best(windows)
