"""Detects keywords in the logits of a keyword spotter, with the time and score of each event.

The score of a keyword at a frame is the logarithm of the odds that it is at any of the last few frames. Averaging would
miss keywords that a model detects with certainty in a single frame. An event is the first frame where a keyword's score
reaches its threshold; then nothing is detected during the refractory time. Events depend only on earlier frames, so a
stream in pieces of any size gives the same events as the whole recording.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hf_speech.decoding.patterns import Pattern, PatternScores

THRESHOLD = 0.0
"""The score of a probability of one half."""
SMOOTHING_FRAMES = 3
REFRACTORY_FRAMES = 25
"""One second, if frames are 40 ms apart."""
_EPSILON = 1e-12


@dataclass(frozen=True)
class Event:
    """A detected keyword.

    Attributes:
        keyword: The keyword.
        time: Seconds from the start of the stream to the end of the frame in which the keyword was detected.
        score: Logarithm of the odds; 0 is a probability of 50%, 4.6 a probability of 99%.
    """

    keyword: str
    time: float
    score: float


def frame_probabilities(logits: np.ndarray) -> np.ndarray:
    """Returns the probabilities `(frames, classes)`, float64, for logits `(frames, classes)`."""
    exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True, initial=-np.inf))
    probabilities: np.ndarray = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities


class KeywordScores:
    """Computes scores of keywords frame by frame.

    Args:
        smoothing_frames: The number of last frames over which a score is computed.
    """

    def __init__(self, smoothing_frames: int) -> None:
        self._smoothing_frames = max(smoothing_frames, 1)
        self._past: np.ndarray | None = None

    def accept(self, logits: np.ndarray) -> np.ndarray:
        """Returns scores `(frames, classes - 1)` for the next logits `(frames, classes)`; class 0 is no keyword."""
        absent = np.log1p(-np.minimum(frame_probabilities(logits)[:, 1:], 1 - _EPSILON))
        count = self._smoothing_frames
        if self._past is None:
            self._past = np.zeros((count - 1, absent.shape[1]))
        extended = np.concatenate((self._past, absent))
        self._past = extended[len(extended) - (count - 1) :]
        if not len(absent):
            return absent
        # The log probability that the keyword is at none of the frames.
        none = np.lib.stride_tricks.sliding_window_view(extended, count, axis=0).sum(axis=-1)
        scores: np.ndarray = np.log(-np.expm1(none) + _EPSILON) - none
        return scores


def find_events(
    scores: np.ndarray, thresholds: np.ndarray | float, refractory_frames: int, ready: int = 0
) -> Iterator[tuple[int, int]]:
    """Finds events in scores.

    Args:
        scores: `(frames, keywords)`.
        thresholds: Minimum score of an event, for all keywords or for each, `(keywords,)`.
        refractory_frames: Number of frames after an event without another event.
        ready: The first frame that may have an event.

    Yields:
        The frame and the keyword of each event.
    """
    above = scores - thresholds
    for frame in np.flatnonzero((above >= 0).any(axis=1)).tolist():
        if frame >= ready:
            ready = frame + refractory_frames
            yield frame, int(above[frame].argmax())


def find_peaks(scores: np.ndarray, refractory_frames: int, lowest: float) -> list[tuple[int, int, float]]:
    """Finds the highest scores of each keyword that are at least the refractory time apart.

    The number of peaks that reach a threshold is the number of detections with this threshold.

    Args:
        scores: `(frames, keywords)`.
        refractory_frames: Minimum number of frames between two peaks of a keyword.
        lowest: The minimum score of a peak.

    Returns:
        Frame, keyword and score of each peak, sorted.
    """
    peaks: list[tuple[int, int, float]] = []
    for keyword, keyword_scores in enumerate(scores.T):
        frames = np.flatnonzero(keyword_scores >= lowest)
        chosen: list[int] = []
        for frame in frames[np.argsort(-keyword_scores[frames], kind="stable")].tolist():
            if all(abs(frame - other) >= refractory_frames for other in chosen):
                chosen.append(frame)
        peaks += [(frame, keyword, float(keyword_scores[frame])) for frame in chosen]
    return sorted(peaks)


class KeywordDecoder:
    """Detects keywords in logits that arrive in pieces.

    Args:
        keywords: The keywords, in the order of the classes 1, 2, ...
        seconds_per_frame: Time from one frame to the next.
        thresholds: Minimum score of an event by keyword; `THRESHOLD` for keywords that are not listed.
        smoothing_frames: See `KeywordScores`.
        refractory_frames: Number of frames after an event without another event.
        patterns: For the logits of a recognizer, the pattern of each keyword and the labels of the logits.
    """

    def __init__(
        self,
        keywords: Sequence[str],
        seconds_per_frame: float,
        thresholds: Mapping[str, float] | None = None,
        smoothing_frames: int = SMOOTHING_FRAMES,
        refractory_frames: int = REFRACTORY_FRAMES,
        patterns: tuple[Sequence[Pattern], Sequence[str]] | None = None,
    ) -> None:
        self.keywords = tuple(keywords)
        self.seconds_per_frame = seconds_per_frame
        self.thresholds = np.array([(thresholds or {}).get(keyword, THRESHOLD) for keyword in keywords])
        self.smoothing_frames = smoothing_frames
        self.refractory_frames = refractory_frames
        self._patterns = patterns
        self.reset()

    def reset(self) -> None:
        """Clears the state to start another stream."""
        self._scores: KeywordScores | PatternScores
        if self._patterns is None:
            self._scores = KeywordScores(self.smoothing_frames)
        else:
            self._scores = PatternScores(*self._patterns)
        self._frames = self._ready = 0

    def accept(self, logits: np.ndarray) -> list[Event]:
        """Returns the events in the next logits `(frames, classes)`."""
        scores = self._scores.accept(logits)
        events = []
        for frame, keyword in find_events(scores, self.thresholds, self.refractory_frames, self._ready - self._frames):
            self._ready = self._frames + frame + self.refractory_frames
            time = (self._frames + frame + 1) * self.seconds_per_frame
            events.append(Event(self.keywords[keyword], round(time, 3), float(scores[frame, keyword])))
        self._frames += len(logits)
        return events
