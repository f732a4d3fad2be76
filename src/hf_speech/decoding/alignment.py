"""Forced alignment: finds the times of a given text by the most probable path through its tokens and blanks.

This is the Viterbi algorithm on the lattice of Graves et al. (2006, "Connectionist temporal classification", ICML,
section 4.1): L tokens interleaved with blanks are 2L + 1 states, and each frame stays in its state, moves to the next,
or skips the blank between two different tokens.

`torchaudio.functional.forced_align` does the same, but cannot be imported with every version of torch, and does not
support an empty text.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from hf_speech.decoding.hypothesis import (
    BLANK,
    WORD_DELIMITER,
    Hypothesis,
    LogProbs,
    TokenSpan,
    check_log_probs,
    encode,
    make_hypothesis,
    shorten,
)
from hf_speech.errors import HFSpeechError

# Alignment takes a byte for each frame and state; this is about ten minutes of speech.
_MAX_BYTES = 2**30


def min_frames(ids: Sequence[int]) -> int:
    """Returns the minimum number of frames for CTC: one per token, and a blank between equal neighbors."""
    return len(ids) + sum(first == second for first, second in pairwise(ids))


def align_text(
    log_probs: LogProbs,
    text: str,
    tokens: Sequence[str],
    *,
    seconds_per_frame: float,
    blank: int = BLANK,
    word_delimiter: str = WORD_DELIMITER,
) -> Hypothesis:
    """Finds the times of the words of a text.

    Args:
        log_probs: Natural logarithms of the tokens' probabilities `(frames, tokens)`.
        text: The text, written like the training transcripts.
        tokens: The string of each token id.
        seconds_per_frame: Time from one frame to the next, such as 0.04.
        blank: The id of the CTC blank.
        word_delimiter: The token between words.

    Returns:
        The text with times. Its score is the log probability of the best path. Words that are not in the recording
        have low confidences.

    Raises:
        HFSpeechError: If the text cannot be spelled, or does not fit into the frames.
    """
    log_probs = check_log_probs(log_probs, len(tokens))
    ids = encode(text, tokens, word_delimiter)
    if min_frames(ids) > len(log_probs):
        raise HFSpeechError(
            f"The text {shorten(text)!r} needs {min_frames(ids)} frames, but the recording has {len(log_probs)} "
            f"({len(log_probs) * seconds_per_frame:.2f} s): give the text of this recording, and the whole recording."
        )
    spans, score = align(log_probs, ids, blank)
    return make_hypothesis(spans, score, tokens, seconds_per_frame, word_delimiter)


def align(log_probs: LogProbs, ids: Sequence[int], blank: int = BLANK) -> tuple[list[TokenSpan], float]:
    """Finds the most probable path that collapses to the given tokens.

    Args:
        log_probs: Natural logarithms of the tokens' probabilities `(frames, tokens)`.
        ids: The tokens, without blanks; may be empty.
        blank: The id of the CTC blank.

    Returns:
        The frames of each token, and the log probability of the path. Of equally probable paths, the one with the
        earliest transitions is returned.

    Raises:
        HFSpeechError: If the tokens do not fit into the frames, or the alignment would take too much memory.
    """
    log_probs = check_log_probs(log_probs)
    num_frames, num_states = len(log_probs), 2 * len(ids) + 1
    if min_frames(ids) > num_frames:
        raise HFSpeechError(
            f"{len(ids)} tokens need {min_frames(ids)} frames, but there are {num_frames}: give the tokens of this "
            "recording, and the whole recording."
        )
    if num_frames * num_states > _MAX_BYTES:
        raise HFSpeechError(
            f"{len(ids)} tokens and {num_frames} frames are too many to align at once: cut the recording and its text "
            "into shorter pieces."
        )
    if not num_frames:
        return [], 0.0
    states = np.full(num_states, blank)
    states[1::2] = ids
    from hf_speech.decoding.search import most_probable_path

    path, score = most_probable_path(log_probs, states)
    return _spans(path, ids, log_probs), score


def _spans(path: np.ndarray, ids: Sequence[int], log_probs: np.ndarray) -> list[TokenSpan]:
    """Returns the frames of each token along a path of states."""
    in_token = np.flatnonzero(path % 2)
    positions = np.arange(len(ids))
    starts = in_token[np.searchsorted(path[in_token] // 2, positions, side="left")]
    ends = in_token[np.searchsorted(path[in_token] // 2, positions, side="right") - 1] + 1
    return [
        TokenSpan(int(token), int(start), int(end), float(np.exp(log_probs[start:end, token].max())))
        for token, start, end in zip(ids, starts, ends, strict=True)
    ]
