"""Converts the probability of speech in each frame into segments of speech.

A segment starts at the first frame above the threshold and ends after enough silence; short segments are dropped.
Decoding a stream in pieces of any size gives the same segments as decoding the whole recording.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from hf_speech.errors import CorpusError

NOTHING = "none"
"""The text for an empty list of segments, since a corpus has no empty targets."""


@dataclass(frozen=True)
class Segment:
    """A segment of speech, in seconds from the start of the recording."""

    start: float
    end: float

    @property
    def duration(self) -> float:
        """The length of the segment in seconds."""
        return self.end - self.start


@dataclass(frozen=True)
class SegmentOptions:
    """Options of segment detection.

    Attributes:
        threshold: The minimum probability for a frame to count as speech.
        min_silence: Seconds without speech that end a segment. Shorter pauses stay inside the segment.
        min_speech: The minimum length of a segment in seconds.
        padding: Seconds to add before and after each segment.
    """

    threshold: float = 0.5
    min_silence: float = 0.1
    min_speech: float = 0.1
    padding: float = 0.0


class SegmentDecoder:
    """Finds segments of speech in a stream of probabilities.

    Args:
        seconds_per_frame: Time from one frame to the next.
        options: Options of segment detection.
    """

    def __init__(self, seconds_per_frame: float, options: SegmentOptions | None = None) -> None:
        self.seconds_per_frame = seconds_per_frame
        self.options = options or SegmentOptions()
        self.reset()

    def reset(self) -> None:
        """Clears the state to start another stream."""
        self._frames = 0
        self._start: int | None = None
        self._last = 0
        self._pending: Segment | None = None

    def accept(self, probabilities: np.ndarray) -> list[Segment]:
        """Processes the next frames and returns the segments that are now complete.

        Args:
            probabilities: The probability of speech in each frame, `(frames,)`.
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
        """Returns the segment that is still pending at the end of the recording, if any."""
        self._end()
        if self._pending is None:
            return []
        last, self._pending = self._pending, None
        return [Segment(last.start, min(last.end, self._frames * self.seconds_per_frame))]

    def _end(self) -> None:
        """Ends the current segment, if any, and merges it with the pending one if their padding overlaps."""
        if self._start is None:
            return
        first, last, self._start = self._start, self._last + 1, None
        if (last - first) * self.seconds_per_frame < self.options.min_speech:
            return
        start = max(first * self.seconds_per_frame - self.options.padding, 0.0)
        start = start if self._pending is None else self._pending.start
        self._pending = Segment(start, last * self.seconds_per_frame + self.options.padding)

    def _complete(self) -> list[Segment]:
        """Returns the pending segment once no later segment can be merged with it."""
        next_start = self._frames if self._start is None else self._start
        if self._pending is None or next_start * self.seconds_per_frame - self.options.padding <= self._pending.end:
            return []
        complete, self._pending = [self._pending], None
        return complete


def find_segments(
    probabilities: np.ndarray, seconds_per_frame: float, options: SegmentOptions | None = None
) -> list[Segment]:
    """Returns the segments of speech of a whole recording.

    Args:
        probabilities: The probability of speech in each frame, `(frames,)`.
        seconds_per_frame: Time from one frame to the next.
        options: Options of segment detection.
    """
    decoder = SegmentDecoder(seconds_per_frame, options)
    return [*decoder.accept(probabilities), *decoder.finish()]


def format_segments(segments: Iterable[Segment]) -> str:
    """Formats segments as in a table: `0.31-2.4 2.9-4.2`, or `none`."""
    return " ".join(f"{segment.start:.10g}-{segment.end:.10g}" for segment in segments) or NOTHING


def parse_segments(text: str) -> list[Segment]:
    """Parses the output of `format_segments`.

    Raises:
        CorpusError: If the text is malformed, or the segments overlap or are out of order.
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
    """Returns the total overlap in seconds of two sorted lists of segments."""
    a, b = list(first), list(second)
    seconds, i, j = 0.0, 0, 0
    while i < len(a) and j < len(b):
        seconds += max(min(a[i].end, b[j].end) - max(a[i].start, b[j].start), 0.0)
        if a[i].end < b[j].end:
            i += 1
        else:
            j += 1
    return seconds
