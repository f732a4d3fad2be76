"""Finds the pattern of a keyword in a few recordings of it; see `hf_speech.decoding.patterns`.

* The candidates are what the recognizer recognizes in each recording. It need not be right, since the same mistakes
  occur when others speak the keyword. The best candidate is the one that distinguishes the other recordings from
  negatives.
* The classifier is fitted to the recordings and to the places in the negatives that match the pattern best, by linear
  discriminant analysis (Fisher 1936, "The use of multiple measurements in taxonomic problems"). Since there are more
  features than recordings, their covariance comes mainly from the negatives, and is shrunk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from hf_speech.decoding import collapse, find_peaks
from hf_speech.decoding.keywords import REFRACTORY_FRAMES
from hf_speech.decoding.patterns import WINDOW, Pattern, PatternMatcher, PatternScores, before_start

MIN_SYMBOLS = 3
HARDEST = 1500
"""Number of places in the negatives, those with the best matches, that the classifier is fitted to."""
HIGHEST = 500
"""Number of places in the negatives with the highest scores that it is then fitted to as well."""
UNCLEAR = 0.1
"""Share of the clips that may match too badly to be classified."""
SHRINKAGE = 0.3
"""Weight of a multiple of the identity in the covariance."""
OVERCONFIDENCE = 6.0
"""Factor by which scores would exceed log odds, since the classifier takes its correlated features at their word."""
CHOICE_FRAMES = 90_000
"""Number of frames of negatives that candidates are compared on."""
BATCH = 256
LOWEST = -80.0
"""The lowest value of a peak."""
PEAKS = 3
"""Maximum number of places in a recording of negatives, so that they come from many recordings."""
Place = tuple[int, int, float]
"""The index of a recording, a frame, and the match or score there."""


def find_pattern(
    clips: Sequence[np.ndarray],
    negatives: Sequence[np.ndarray],
    labels: Sequence[str],
    silent: Sequence[str] = (),
    in_context: Sequence[np.ndarray] = (),
) -> Pattern | None:
    """Finds the pattern of a keyword.

    Args:
        clips: The logits of the recordings of the keyword, each `(frames, symbols)`.
        negatives: The logits of recordings without it.
        labels: The symbols, of which the first is the blank.
        silent: Symbols that are not spoken, such as the space.
        in_context: The logits of these recordings between others, to which the classifier is fitted as well.

    Returns:
        The pattern, or None if too few symbols were recognized.
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
            matcher = PatternMatcher(symbols, labels)
            false = np.sort([match for *_, match in _peaks(_matches(matcher, some))])
            true = [match for *_, match in _maxima(_matches(matcher, others))]
            higher = len(false) - np.searchsorted(false, true)
            cost[symbols] = float(np.log1p(higher).mean())
    if not cost:
        return None
    best, _ = min(cost.items(), key=lambda item: item[1])
    return fit_pattern(best, [*clips, *in_context], negatives, labels)


def fit_pattern(
    symbols: Sequence[str], clips: Sequence[np.ndarray], negatives: Sequence[np.ndarray], labels: Sequence[str]
) -> Pattern:
    """Fits the classifier of a pattern; see `find_pattern` for the arguments."""
    matcher = PatternMatcher(symbols, labels)
    matches = _matches(matcher, negatives)
    hardest = _peaks(matches)[:HARDEST] or _maxima(matches)
    spoken = _maxima(_matches(matcher, clips))
    # Many hours of negatives may all match better than some of the clips.
    lowest_match = min(hardest[-1][2], float(np.quantile([match for *_, match in spoken], UNCLEAR)))
    hits, alarms = _features(matcher, clips, spoken), _features(matcher, negatives, hardest)
    pattern = _discriminate(symbols, hits, alarms, lowest_match)
    # The highest scores are not always where the match is best.
    highest = _peaks(score_recordings(pattern, negatives, labels))[:HIGHEST]
    alarms = np.concatenate((alarms, _features(matcher, negatives, highest)))
    return _discriminate(symbols, hits, alarms, lowest_match)


def _discriminate(symbols: Sequence[str], hits: np.ndarray, alarms: np.ndarray, lowest_match: float) -> Pattern:
    """Returns the pattern that tells the features of the keyword from those of negatives."""
    classifier = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=SHRINKAGE)
    classifier.fit(np.concatenate((alarms, hits)), np.arange(len(alarms) + len(hits)) >= len(alarms))
    weights, bias = classifier.coef_[0] / OVERCONFIDENCE, float(classifier.intercept_[0]) / OVERCONFIDENCE
    return Pattern(tuple(symbols), tuple(weights.tolist()), bias, lowest_match)


def score_recordings(pattern: Pattern, recordings: Sequence[np.ndarray], labels: Sequence[str]) -> list[np.ndarray]:
    """Returns the scores `(frames,)` of a keyword in the logits of recordings `(frames, symbols)`."""
    return _in_batches(recordings, lambda logits: PatternScores([pattern], labels).accept_batch(logits)[..., 0])


def _in_batches(recordings: Sequence[np.ndarray], compute: Callable[[np.ndarray], np.ndarray]) -> list[np.ndarray]:
    """Computes an array `(frames,)` for each recording `(frames, symbols)`, in batches of similar length."""
    order = sorted(range(len(recordings)), key=lambda index: len(recordings[index]))
    results: dict[int, np.ndarray] = {}
    for first in range(0, len(order), BATCH):
        batch = order[first : first + BATCH]
        padded = np.zeros((len(batch), len(recordings[batch[-1]]), recordings[0].shape[1]), dtype=np.float32)
        for row, index in zip(padded, batch, strict=True):
            row[: len(recordings[index])] = recordings[index]
        computed = compute(padded)
        results |= {index: row[: len(recordings[index])] for row, index in zip(computed, batch, strict=True)}
    return [results[index] for index in range(len(recordings))]


def _matches(matcher: PatternMatcher, recordings: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Returns the matches `(frames,)` of each recording."""
    return _in_batches(recordings, lambda logits: matcher.matches(logits)[0])


def _peaks(recordings: Sequence[np.ndarray]) -> list[Place]:
    """Returns the highest values, at most `PEAKS` of each recording, the highest first."""
    places: list[Place] = []
    for index, values in enumerate(recordings):
        peaks = find_peaks(values[:, None], REFRACTORY_FRAMES, LOWEST)
        highest = sorted(peaks, key=lambda peak: -peak[2])[:PEAKS]
        places += [(index, frame, value) for frame, _, value in highest]
    return sorted(places, key=lambda place: -place[2])


def _maxima(recordings: Sequence[np.ndarray]) -> list[Place]:
    """Returns the highest value of each recording, however low."""
    return [(index, int(values.argmax()), float(values.max())) for index, values in enumerate(recordings)]


def _features(matcher: PatternMatcher, recordings: Sequence[np.ndarray], places: Sequence[Place]) -> np.ndarray:
    """Returns the features of the matches that end at places, `(places, num_features)`."""
    windows = np.empty((len(places), WINDOW, recordings[0].shape[1]), dtype=np.float32)
    (before,) = before_start(1, windows.shape[2])
    for window, (index, end, _) in zip(windows, places, strict=True):
        window[:] = np.concatenate((before, recordings[index][max(end - WINDOW + 1, 0) : end + 1]))[-WINDOW:]
    return matcher.features(windows)
