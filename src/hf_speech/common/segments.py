"""From the probability of speech in each frame to the stretches of sound in which somebody speaks.

A stretch begins with the first frame that is likely to be speech, and ends when none has been for a while; it is kept
if it is long enough. The segments of a stream are those of the whole recording, however it is cut into pieces.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from hf_speech.errors import CorpusError

NOTHING = "none"
"""What stands for no segment at all: a corpus has no empty targets."""


@dataclass(frozen=True)
class Segment:
    """A stretch of speech, in seconds from the beginning of the recording."""

    start: float
    end: float

    @property
    def duration(self) -> float:
        """Its length in seconds."""
        return self.end - self.start


@dataclass(frozen=True)
class SegmentOptions:
    """What counts as a segment.

    Attributes:
        threshold: The smallest probability of a frame of speech.
        min_silence: Seconds without speech that end a segment; shorter pauses are within it.
        min_speech: Seconds of the shortest segment.
        padding: Seconds that are added before and after each segment.
    """

    threshold: float = 0.5
    min_silence: float = 0.1
    min_speech: float = 0.1
    padding: float = 0.0


class SegmentDecoder:
    """Finds the segments of a stream of probabilities.

    Args:
        seconds_per_frame: Time from one frame to the next.
        options: What counts as a segment.
    """

    def __init__(self, seconds_per_frame: float, options: SegmentOptions | None = None) -> None:
        self.seconds_per_frame = seconds_per_frame
        self.options = options or SegmentOptions()
        self.reset()

    def reset(self) -> None:
        """Forgets everything, ready for another stream."""
        self._frames = 0
        self._start: int | None = None
        self._last = 0
        self._waiting: Segment | None = None

    def accept(self, probabilities: np.ndarray) -> list[Segment]:
        """The segments that have ended in the next frames.

        Args:
            probabilities: Of speech in each frame, `(frames,)`.
        """
        longest_pause = self.options.min_silence / self.seconds_per_frame
        found: list[Segment] = []
        for is_speech in (np.asarray(probabilities) >= self.options.threshold).tolist():
            if is_speech:
                self._start = self._frames if self._start is None else self._start
                self._last = self._frames
            elif self._start is not None and self._frames - self._last >= longest_pause:
                self._end()
            self._frames += 1
            found += self._complete()
        return found

    def finish(self) -> list[Segment]:
        """The segments in what was still waiting at the end of the recording."""
        self._end()
        if self._waiting is None:
            return []
        last, self._waiting = self._waiting, None
        return [Segment(last.start, min(last.end, self._frames * self.seconds_per_frame))]

    def _end(self) -> None:
        """Ends the segment that has begun, if one has; what the padding joins to the one before becomes part of it."""
        if self._start is None:
            return
        first, last, self._start = self._start, self._last + 1, None
        if (last - first) * self.seconds_per_frame < self.options.min_speech:
            return
        start = max(first * self.seconds_per_frame - self.options.padding, 0.0)
        start = start if self._waiting is None else self._waiting.start
        self._waiting = Segment(start, last * self.seconds_per_frame + self.options.padding)

    def _complete(self) -> list[Segment]:
        """The segment that waits for one that the padding could join to it, once there can be none."""
        next_start = self._frames if self._start is None else self._start
        if self._waiting is None or next_start * self.seconds_per_frame - self.options.padding <= self._waiting.end:
            return []
        found, self._waiting = [self._waiting], None
        return found


def find_segments(
    probabilities: np.ndarray, seconds_per_frame: float, options: SegmentOptions | None = None
) -> list[Segment]:
    """The segments of a whole recording.

    Args:
        probabilities: Of speech in each frame, `(frames,)`.
        seconds_per_frame: Time from one frame to the next.
        options: What counts as a segment.
    """
    decoder = SegmentDecoder(seconds_per_frame, options)
    return [*decoder.accept(probabilities), *decoder.finish()]


def format_segments(segments: Iterable[Segment]) -> str:
    """Segments as text, as tables have them: `0.31-2.4 2.9-4.2`, or `none`."""
    return " ".join(f"{segment.start:.10g}-{segment.end:.10g}" for segment in segments) or NOTHING


def parse_segments(text: str) -> list[Segment]:
    """The segments of a text like that of `format_segments`.

    Raises:
        CorpusError: If it is not such a text, or segments overlap or are not in order.
    """
    segments: list[Segment] = []
    for part in [] if text == NOTHING else text.split():
        start, _, end = part.partition("-")
        try:
            segments.append(Segment(float(start), float(end)))
        except ValueError as error:
            raise CorpusError(f"{part!r} is not a segment of speech: write START-END in seconds.") from error
        if not (segments[-2].end if len(segments) > 1 else 0.0) <= segments[-1].start < segments[-1].end < np.inf:
            raise CorpusError(f"{part!r} is not a segment after the one before it: write START-END, in order.")
    return segments


def overlap(first: Iterable[Segment], second: Iterable[Segment]) -> float:
    """The seconds that two lists of segments, each in order, have in common."""
    ones, others = list(first), list(second)
    seconds, one, other = 0.0, 0, 0
    while one < len(ones) and other < len(others):
        seconds += max(min(ones[one].end, others[other].end) - max(ones[one].start, others[other].start), 0.0)
        if ones[one].end < others[other].end:
            one += 1
        else:
            other += 1
    return seconds


__all__ = [
    "Segment",
    "SegmentDecoder",
    "SegmentOptions",
    "find_segments",
    "format_segments",
    "overlap",
    "parse_segments",
]
