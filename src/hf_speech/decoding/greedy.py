"""Best-path decoding: the most probable token of every frame, repetitions collapsed, blanks removed.

Graves et al. (2006, "Connectionist temporal classification", ICML), section 3.2. It is what the recognition pipeline
of transformers does, with the times and confidences that it does not give. Fast, and blind to the many alignments of
one text: where these and a language model are to count, there is `beam`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hf_speech.decoding.hypothesis import (
    BLANK,
    WORD_DELIMITER,
    Hypothesis,
    LogProbs,
    TokenSpan,
    check_log_probs,
    make_hypothesis,
)


def greedy_decode(
    log_probs: LogProbs,
    tokens: Sequence[str],
    *,
    seconds_per_frame: float,
    blank: int = BLANK,
    word_delimiter: str = WORD_DELIMITER,
) -> Hypothesis:
    """Decode one utterance along its best path.

    Args:
        log_probs: Logarithms of the tokens' probabilities `(frames, tokens)`.
        tokens: The string of each token id.
        seconds_per_frame: Time from a frame to the next, such as 0.04.
        blank: The id of the CTC blank.
        word_delimiter: The token between words.

    Returns:
        The text; its score is the log-probability of the best path.

    Raises:
        HFSpeechError: If they are not log-probabilities of these tokens.
    """
    log_probs = check_log_probs(log_probs, len(tokens))
    score = float(log_probs.max(axis=1).sum(dtype=np.float64))
    return make_hypothesis(best_path(log_probs, blank), score, tokens, seconds_per_frame, word_delimiter)


def best_path(log_probs: np.ndarray, blank: int = BLANK) -> list[TokenSpan]:
    """The tokens along the best path: every run of equal ids is one token, runs of blanks are none.

    Args:
        log_probs: Logarithms of the tokens' probabilities `(frames, tokens)`.
        blank: The id of the CTC blank.
    """
    if not len(log_probs):
        return []
    ids = log_probs.argmax(axis=1)
    starts = np.concatenate([[0], np.flatnonzero(np.diff(ids)) + 1])
    ends = np.append(starts[1:], len(ids))
    peaks = np.exp(np.maximum.reduceat(log_probs.max(axis=1), starts))
    runs = zip(ids[starts].tolist(), starts.tolist(), ends.tolist(), peaks.tolist(), strict=True)
    return [TokenSpan(*run) for run in runs if run[0] != blank]
