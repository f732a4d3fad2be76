"""Best-path decoding: takes the most probable token of every frame, merges repetitions and removes blanks.

Source: Graves et al. (2006, "Connectionist temporal classification", ICML), section 3.2. The recognition pipeline of
transformers does the same, without confidences. Best-path decoding is fast, but does not sum over the alignments of a
text; `beam` does, and supports a language model.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

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
    """Decodes one utterance along its best path.

    Args:
        log_probs: Natural logarithms of the tokens' probabilities `(frames, tokens)`.
        tokens: The string of each token id.
        seconds_per_frame: Time from one frame to the next, such as 0.04.
        blank: The id of the CTC blank.
        word_delimiter: The token between words.

    Returns:
        The hypothesis. Its score is the log probability of the best path.

    Raises:
        HFSpeechError: If `log_probs` is invalid; see `check_log_probs`.
    """
    log_probs = check_log_probs(log_probs, len(tokens))
    score = float(log_probs.max(axis=1).sum(dtype=np.float64))
    return make_hypothesis(best_path(log_probs, blank), score, tokens, seconds_per_frame, word_delimiter)


def collapse(ids: Iterable[int], blank: int = BLANK, previous: int | None = None) -> list[int]:
    """Merges repeated ids and removes blanks.

    Args:
        ids: The id of each frame.
        blank: The id of the CTC blank.
        previous: The id of the preceding frame, if `ids` continues a path.
    """
    path = [previous, *ids]
    return [token for before, token in pairwise(path) if token is not None and token not in (before, blank)]


def best_path(log_probs: np.ndarray, blank: int = BLANK) -> list[TokenSpan]:
    """Returns the tokens along the best path, with repetitions merged and blanks removed.

    Args:
        log_probs: Natural logarithms of the tokens' probabilities `(frames, tokens)`.
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
