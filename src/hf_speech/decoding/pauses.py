"""Decoding of long recordings in pieces: cut at pauses, decoded separately, joined again.

Beam search keeps every hypothesis of every frame, and alignment a byte for each frame and letter: gigabytes for an
hour. So a recording is cut in the middle of every pause of a second, and what is still too long in its longest gap.
This also separates words where the model writes no delimiter: models that were trained on short utterances have not
learned to end a pause with one. A language model scores each piece as a sentence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from hf_speech.decoding.hypothesis import BLANK, Hypothesis

PAUSE_SECONDS = 1.0
"""Silence that is longer than any silence within a word."""
MAX_SECONDS = 60.0
"""Length of the longest piece."""


def cut_at_pauses(
    log_probs: np.ndarray,
    *,
    seconds_per_frame: float,
    blank: int = BLANK,
    delimiter: int | None = None,
    pause_seconds: float = PAUSE_SECONDS,
    max_seconds: float = MAX_SECONDS,
) -> list[tuple[int, int]]:
    """Cut a recording where its best path is silent.

    Args:
        log_probs: Natural logarithms of the tokens' probabilities `(frames, tokens)`.
        seconds_per_frame: Time from one frame to the next, such as 0.04.
        blank: The id of the CTC blank.
        delimiter: The id of the token between words, if there is one.
        pause_seconds: Silence that is always cut.
        max_seconds: Length of the longest piece. A longer one without a pause is cut in the longest silence of its
            second half, between two words if there is a delimiter.

    Returns:
        The first frame of each piece and the one after its last; the pieces cover all frames.
    """
    total = len(log_probs)
    if total == 0:
        return []
    ids = log_probs.argmax(axis=1)
    delimiters = ids == delimiter if delimiter is not None else np.zeros(total, dtype=bool)
    silent = (ids == blank) | delimiters
    edges = np.flatnonzero(np.diff(silent, prepend=False, append=False))
    starts, ends = edges[::2], edges[1::2]
    # Silence before the first word and after the last one is not a place to cut.
    inner = (starts > 0) & (ends < total)
    starts, ends = starts[inner], ends[inner]
    middles, lengths = (starts + ends) // 2, ends - starts
    counted = np.cumsum(delimiters)
    scores = np.zeros(total + 1, dtype=int)
    # Prefer any silence between words to any within a word.
    scores[middles] = lengths + total * (counted[ends - 1] > counted[starts - 1])
    cuts = [0, *middles[lengths * seconds_per_frame >= pause_seconds].tolist(), total]
    longest = max(2, int(max_seconds / seconds_per_frame))
    return [piece for first, last in pairwise(cuts) for piece in split_long(first, last, longest, scores)]


def split_long(first: int, last: int, longest: int, scores: np.ndarray) -> Iterator[tuple[int, int]]:
    """Cut the frames from `first` to `last` into pieces of at most `longest` frames.

    Each cut is before the frame with the highest of `scores` in the second half of the longest piece that is possible;
    of equal ones before the last, so that pieces are long.
    """
    while last - first > longest:
        cut = first + longest - int(scores[first + longest // 2 + 1 : first + longest + 1][::-1].argmax())
        yield first, cut
        first = cut
    yield first, last


def join_pieces(
    found: Sequence[Sequence[Hypothesis]], starts: Sequence[int], *, seconds_per_frame: float, num_best: int = 1
) -> list[Hypothesis]:
    """Join the hypotheses of all pieces.

    Args:
        found: The hypotheses of each piece, at least one, the best first.
        starts: The first frame of each piece in the recording.
        seconds_per_frame: Time from one frame to the next.
        num_best: The number of different texts to return at most.

    Returns:
        At least one hypothesis, the best first; a score is the sum of the pieces' scores.
    """
    best: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    for hypotheses in found:
        longer = (
            (score + hypothesis.score, (*chosen, index))
            for score, chosen in best
            for index, hypothesis in enumerate(hypotheses[:num_best])
        )
        best = sorted(longer, key=lambda item: (-item[0], item[1]))[:num_best]
    joined: dict[str, Hypothesis] = {}
    for score, chosen in best:
        parts = [
            _shift(hypotheses[index], start, seconds_per_frame)
            for hypotheses, index, start in zip(found, chosen, starts, strict=True)
        ]
        text = " ".join(part.text for part in parts if part.text)
        # The same words may be divided among the pieces in two ways: the first is the better one.
        joined.setdefault(
            text,
            Hypothesis(
                text,
                score,
                tuple(word for part in parts for word in part.words),
                tuple(span for part in parts for span in part.tokens),
            ),
        )
    return list(joined.values())


def _shift(hypothesis: Hypothesis, frames: int, seconds_per_frame: float) -> Hypothesis:
    """A hypothesis some frames later."""
    seconds = frames * seconds_per_frame
    return replace(
        hypothesis,
        words=tuple(word.shift(seconds) for word in hypothesis.words),
        tokens=tuple(replace(span, start=span.start + frames, end=span.end + frames) for span in hypothesis.tokens),
    )
