from __future__ import annotations

import itertools

import numpy as np
import pytest

from hf_speech.decoding import phone_scores
from hf_speech.errors import HFSpeechError


def draw(frames: int, phones: int, seed: int = 0) -> np.ndarray:
    logits = np.random.default_rng(seed).normal(0, 2, (frames, phones))
    return (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)


def test_the_score_of_a_pronunciation_sums_over_all_paths() -> None:
    log_probs = draw(5, 4)
    found: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(4), repeat=5):
        said = tuple(phone for phone, _ in itertools.groupby(path) if phone)
        score = float(sum(log_probs[frame, phone] for frame, phone in enumerate(path)))
        found[said] = np.logaddexp(found.get(said, -np.inf), score)
    pronunciations = [(1,), (2, 3, 1), (), (3, 3), (1, 2, 1, 2), (2, 2, 2)]
    scores = phone_scores(log_probs, pronunciations)
    np.testing.assert_allclose(scores, [found[each] for each in pronunciations], atol=1e-5)


def test_a_text_longer_than_its_sound_is_impossible() -> None:
    assert phone_scores(draw(3, 4), [(1, 1), (1, 1, 1), (1, 2, 3)])[1] == -10_000
    assert phone_scores(np.zeros((0, 4), np.float32), [(), (1,)]).tolist() == [0, -10_000]


def test_rejects_logits() -> None:
    with pytest.raises(HFSpeechError, match="apply log_softmax"):
        phone_scores(np.zeros((3, 4), np.float32), [(1,)])
