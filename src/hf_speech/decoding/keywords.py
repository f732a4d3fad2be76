"""From the logits of a keyword spotter to events: a keyword, when it was detected, and how sure the model is.

The score of a keyword at a frame is the logarithm of the odds that it is at one of the last frames: a model may be sure
of a single frame, or spread a keyword over several, and an average would miss the former. An event is the first frame
at which a keyword's score reaches its threshold, after which nothing is detected for the refractory time. It depends on
earlier frames alone, so events of a stream are those of the whole recording, however it is cut into pieces.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

THRESHOLD = 0.0
"""The score of a probability of one half."""
SMOOTHING_FRAMES = 3
REFRACTORY_FRAMES = 25
"""A second, where frames are of 40 ms."""
_EPSILON = 1e-12


@dataclass(frozen=True)
class Event:
    """A keyword that was detected.

    Attributes:
        keyword: The keyword.
        time: Seconds from the beginning of the stream to the end of the frame at which it was detected.
        score: Logarithm of the odds; 0 is a probability of one half, 4.6 one of 99 %.
    """

    keyword: str
    time: float
    score: float


def frame_probabilities(logits: np.ndarray) -> np.ndarray:
    """Probabilities `(frames, classes)`, float64, of logits `(frames, classes)`."""
    exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True, initial=-np.inf))
    probabilities: np.ndarray = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities


class KeywordScores:
    """Scores of keywords, frame by frame.

    Args:
        smoothing_frames: Frames at one of which the keyword has to be: the last one and those before it.
    """

    def __init__(self, smoothing_frames: int) -> None:
        self._smoothing_frames = max(smoothing_frames, 1)
        self._past: np.ndarray | None = None

    def accept(self, logits: np.ndarray) -> np.ndarray:
        """Scores `(frames, classes - 1)` of the next logits `(frames, classes)`; class 0 is no keyword."""
        absent = np.log1p(-np.minimum(frame_probabilities(logits)[:, 1:], 1 - _EPSILON))
        count = self._smoothing_frames
        if self._past is None:
            self._past = np.zeros((count - 1, absent.shape[1]))
        known = np.concatenate((self._past, absent))
        self._past = known[len(known) - (count - 1) :]
        if not len(absent):
            return absent
        # The logarithm of the probability that the keyword is at none of the frames.
        nowhere = np.lib.stride_tricks.sliding_window_view(known, count, axis=0).sum(axis=-1)
        scores: np.ndarray = np.log(-np.expm1(nowhere) + _EPSILON) - nowhere
        return scores


def find_events(
    scores: np.ndarray, thresholds: np.ndarray | float, refractory_frames: int, ready: int = 0
) -> Iterator[tuple[int, int]]:
    """Events in scores.

    Args:
        scores: `(frames, keywords)`.
        thresholds: Lowest score of an event, of all keywords or of each, `(keywords,)`.
        refractory_frames: Frames after an event in which there is no other.
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
    """The highest scores of each keyword, which are at least the refractory time apart.

    So many of them as reach a threshold are detected with it.

    Args:
        scores: `(frames, keywords)`.
        refractory_frames: Frames between two peaks of a keyword.
        lowest: The lowest score of a peak.

    Returns:
        Frame, keyword and score of each, in their order.
    """
    peaks: list[tuple[int, int, float]] = []
    for keyword, own in enumerate(scores.T):
        frames = np.flatnonzero(own >= lowest)
        chosen: list[int] = []
        for frame in frames[np.argsort(-own[frames], kind="stable")].tolist():
            if all(abs(frame - other) >= refractory_frames for other in chosen):
                chosen.append(frame)
        peaks += [(frame, keyword, float(own[frame])) for frame in chosen]
    return sorted(peaks)


class KeywordDecoder:
    """Detects keywords in logits that arrive in pieces.

    Args:
        keywords: The keywords, in the order of the classes 1, 2, ...
        seconds_per_frame: Time from one frame to the next.
        thresholds: Lowest score of an event for each keyword that has its own; `THRESHOLD` for the others.
        smoothing_frames: See `KeywordScores`.
        refractory_frames: Frames after an event in which there is no other.
    """

    def __init__(
        self,
        keywords: Sequence[str],
        seconds_per_frame: float,
        thresholds: Mapping[str, float] | None = None,
        smoothing_frames: int = SMOOTHING_FRAMES,
        refractory_frames: int = REFRACTORY_FRAMES,
    ) -> None:
        self.keywords = tuple(keywords)
        self.seconds_per_frame = seconds_per_frame
        self.thresholds = np.array([(thresholds or {}).get(keyword, THRESHOLD) for keyword in keywords])
        self.smoothing_frames = smoothing_frames
        self.refractory_frames = refractory_frames
        self.reset()

    def reset(self) -> None:
        """Forgets the stream, ready for another one."""
        self._scores = KeywordScores(self.smoothing_frames)
        self._frames = self._ready = 0

    def accept(self, logits: np.ndarray) -> list[Event]:
        """The events in the next logits `(frames, classes)`."""
        scores = self._scores.accept(logits)
        events = []
        for frame, keyword in find_events(scores, self.thresholds, self.refractory_frames, self._ready - self._frames):
            self._ready = self._frames + frame + self.refractory_frames
            time = (self._frames + frame + 1) * self.seconds_per_frame
            events.append(Event(self.keywords[keyword], round(time, 3), float(scores[frame, keyword])))
        self._frames += len(logits)
        return events


__all__ = ["Event", "KeywordDecoder", "KeywordScores", "find_events", "find_peaks", "frame_probabilities"]
