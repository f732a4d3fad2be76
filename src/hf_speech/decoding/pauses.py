"""Cuts long recordings at pauses, to decode the pieces separately, and joins the results.

Beam search stores every hypothesis of every frame, and alignment a byte for each frame and letter, which is gigabytes
for an hour. A recording is therefore cut in the middle of every pause of a second, and longer pieces at their longest
silence. This also separates words if the model predicts no delimiter in a pause, as models trained on short utterances
may not. A language model scores each piece as a sentence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from hf_speech.decoding.hypothesis import BLANK, Hypothesis

PAUSE_SECONDS = 1.0
"""Minimum length of a pause, longer than any silence within a word."""
MAX_SECONDS = 60.0
"""Maximum length of a piece."""


def cut_at_pauses(
    log_probs: np.ndarray,
    *,
    seconds_per_frame: float,
    blank: int = BLANK,
    delimiter: int | None = None,
    pause_seconds: float = PAUSE_SECONDS,
    max_seconds: float = MAX_SECONDS,
) -> list[tuple[int, int]]:
    """Cuts a recording where its best path is silent.

    Args:
        log_probs: Natural logarithms of the tokens' probabilities `(frames, tokens)`.
        seconds_per_frame: Time from one frame to the next, such as 0.04.
        blank: The id of the CTC blank.
        delimiter: The id of the token between words, if there is one.
        pause_seconds: Minimum length of a silence at which the recording is always cut.
        max_seconds: Maximum length of a piece. A longer piece without a pause is cut in the longest silence of its
            second half, between two words if there is a delimiter.

    Returns:
        The first frame and the end frame (exclusive) of each piece. The pieces cover all frames.
    """
    total = len(log_probs)
    if total == 0:
        return []
    ids = log_probs.argmax(axis=1)
    delimiters = ids == delimiter if delimiter is not None else np.zeros(total, dtype=bool)
    silent = (ids == blank) | delimiters
    edges = np.flatnonzero(np.diff(silent, prepend=False, append=False))
    starts, ends = edges[::2], edges[1::2]
    # Do not cut in the silence before the first and after the last word.
    inner = (starts > 0) & (ends < total)
    starts, ends = starts[inner], ends[inner]
    middles, lengths = (starts + ends) // 2, ends - starts
    delimiter_counts = np.cumsum(delimiters)
    scores = np.zeros(total + 1, dtype=int)
    # Prefer any silence between words to any silence within a word.
    scores[middles] = lengths + total * (delimiter_counts[ends - 1] > delimiter_counts[starts - 1])
    cuts = [0, *middles[lengths * seconds_per_frame >= pause_seconds].tolist(), total]
    longest = max(2, int(max_seconds / seconds_per_frame))
    return [piece for first, last in pairwise(cuts) for piece in split_long(first, last, longest, scores)]


def split_long(first: int, last: int, longest: int, scores: np.ndarray) -> Iterator[tuple[int, int]]:
    """Cuts the frames from `first` to `last` into pieces of at most `longest` frames.

    Each cut is before the frame with the highest score in the second half of the longest possible piece. Of equal
    scores the last one is used, so that pieces are long.
    """
    while last - first > longest:
        cut = first + longest - int(scores[first + longest // 2 + 1 : first + longest + 1][::-1].argmax())
        yield first, cut
        first = cut
    yield first, last


def join_pieces(
    found: Sequence[Sequence[Hypothesis]], starts: Sequence[int], *, seconds_per_frame: float, num_best: int = 1
) -> list[Hypothesis]:
    """Joins the hypotheses of all pieces.

    Args:
        found: The hypotheses of each piece, at least one, with the best first.
        starts: The first frame of each piece in the recording.
        seconds_per_frame: Time from one frame to the next.
        num_best: Maximum number of different texts to return.

    Returns:
        At least one hypothesis, with the best first. A score is the sum of the scores of the pieces.
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
        # Different combinations may give the same text; the first one is the best.
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
    """Returns a hypothesis with its times increased by `frames`."""
    seconds = frames * seconds_per_frame
    return replace(
        hypothesis,
        words=tuple(word.shift(seconds) for word in hypothesis.words),
        tokens=tuple(replace(span, start=span.start + frames, end=span.end + frames) for span in hypothesis.tokens),
    )
