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
    import torch  # imported late: other decoders run without PyTorch

    log_probs = check_log_probs(log_probs, log_probs.shape[1])
    frames, count = len(log_probs), len(pronunciations)
    if frames == 0:
        return np.array([FLOOR if ids else 0.0 for ids in pronunciations])
    lengths = torch.tensor([len(ids) for ids in pronunciations])
    losses = torch.nn.functional.ctc_loss(
        torch.from_numpy(log_probs)[:, None].expand(-1, count, -1),
        torch.tensor([phone for ids in pronunciations for phone in ids], dtype=torch.long),
        torch.full((count,), frames),
        lengths,
        blank=blank,
        reduction="none",
    )
    scores: np.ndarray = np.maximum(-losses.double().numpy(), FLOOR)
    return scores
