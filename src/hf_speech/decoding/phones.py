"""Pronunciation scores for rescoring the hypotheses of a beam search.

A recognizer that was trained with a pronouncing dictionary predicts phones in its middle layer and letters in its last.
The two err in different places, and the dictionary knows the phones of each hypothesis. So the n-best texts are
rescored by both, as the scores of several acoustic models are combined.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hf_speech.decoding.hypothesis import BLANK, FLOOR, check_log_probs


def phone_scores(log_probs: np.ndarray, pronunciations: Sequence[Sequence[int]], blank: int = BLANK) -> np.ndarray:
    """Compute the log-probability of pronunciations over all alignments (CTC: Graves et al. 2006, section 4.1).

    Args:
        log_probs: Natural logarithms of the phones' probabilities `(frames, phones)`.
        pronunciations: The phone ids of each text, at least one text.
        blank: The id of the CTC blank.

    Returns:
        Natural logarithms `(pronunciations,)`, float64; -10,000 for one that does not fit into the frames.

    Raises:
        HFSpeechError: If these are not log-probabilities.
    """
    from hf_speech.decoding.search import sum_alignments

    log_probs = check_log_probs(log_probs, log_probs.shape[1])
    if len(log_probs) == 0:
        return np.array([FLOOR if ids else 0.0 for ids in pronunciations])
    lengths = np.array([len(ids) for ids in pronunciations], dtype=np.int64)
    ids = np.array([phone for ids in pronunciations for phone in ids], dtype=np.int64)
    scores: np.ndarray = np.maximum(sum_alignments(np.exp(log_probs, dtype=np.float64), ids, lengths, blank), FLOOR)
    return scores
