"""Pronunciation scores for rescoring the hypotheses of a beam search.

A recognizer that was trained with a pronunciation dictionary predicts phones in its middle layer and letters in its
last layer, with different errors. The dictionary gives the phones of each hypothesis, so the n-best texts are rescored
with both, like a combination of acoustic models.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hf_speech.decoding.hypothesis import BLANK, FLOOR, check_log_probs


def phone_scores(log_probs: np.ndarray, pronunciations: Sequence[Sequence[int]], blank: int = BLANK) -> np.ndarray:
    """Computes the CTC log probability of pronunciations over all alignments (Graves et al. 2006, section 4.1).

    Args:
        log_probs: Natural logarithms of the phones' probabilities `(frames, phones)`.
        pronunciations: The phone ids of each text, at least one text.
        blank: The id of the CTC blank.

    Returns:
        Natural logarithms `(pronunciations,)`, float64; -10,000 for a pronunciation that does not fit into the frames.

    Raises:
        HFSpeechError: If `log_probs` is invalid; see `check_log_probs`.
    """
    from hf_speech.decoding.search import sum_alignments

    log_probs = check_log_probs(log_probs, log_probs.shape[1])
    if len(log_probs) == 0:
        return np.array([FLOOR if ids else 0.0 for ids in pronunciations])
    lengths = np.array([len(ids) for ids in pronunciations], dtype=np.int64)
    ids = np.array([phone for ids in pronunciations for phone in ids], dtype=np.int64)
    scores: np.ndarray = np.maximum(sum_alignments(np.exp(log_probs, dtype=np.float64), ids, lengths, blank), FLOOR)
    return scores
