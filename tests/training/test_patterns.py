"""Patterns of a keyword, found in noisy logits."""

from __future__ import annotations

import numpy as np
import pytest

from hf_speech.training.patterns import MAX_PATTERNS, find_patterns, score_recordings

LABELS = ("<blank>", *"abcdefgh", "|")


def spoken(text: str, rng: np.random.Generator) -> np.ndarray:
    """Returns logits of a text, each of whose symbols has one or two frames and a blank after it."""
    symbols = [symbol for letter in text for symbol in (*[letter] * rng.integers(1, 3), "<blank>")]
    logits = rng.normal(0, 1, (len(symbols), len(LABELS))).astype(np.float32)
    logits[np.arange(len(symbols)), [LABELS.index(symbol) for symbol in symbols]] += 8
    return logits


@pytest.fixture
def negatives() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [spoken("".join(rng.choice(list("abcdefgh"), 30)), rng) for _ in range(150)]


def test_finds_what_the_clips_have_in_common(negatives: list[np.ndarray]) -> None:
    rng = np.random.default_rng(1)
    # The third letter is often misrecognized.
    clips = [spoken(f"|bad{third}e|", rng) for third in "ggghfgcg"]
    patterns = find_patterns(clips, negatives, LABELS, silent=["|"])
    assert 1 <= len(patterns) <= MAX_PATTERNS
    assert patterns[0].symbols == tuple("badge")
    weights = patterns[0].weights
    assert weights[3] < min(weights[index] for index in (0, 1, 2, 4))
    others = [spoken(f"cc{text}hh", rng) for text in ("badge", "badfe", "badge")]
    hits = [scores.max() for scores in score_recordings(patterns, others, LABELS, 3)]
    alarms = [scores.max() for scores in score_recordings(patterns, negatives, LABELS, 3)]
    assert min(hits) > np.quantile(alarms, 0.98)


def test_equal_clips_have_one_pattern_and_a_click_has_none(negatives: list[np.ndarray]) -> None:
    rng = np.random.default_rng(1)
    (pattern,) = find_patterns([spoken("fee|hd", rng) for _ in range(4)], negatives, LABELS, silent=["|"])
    assert pattern.symbols == tuple("feehd")
    assert find_patterns([spoken("a|b", rng) for _ in range(4)], negatives, LABELS, silent=["|"]) == []


def test_a_recording_has_the_same_scores_alone_and_in_a_batch(negatives: list[np.ndarray]) -> None:
    rng = np.random.default_rng(2)
    patterns = find_patterns([spoken("badge", rng) for _ in range(3)], negatives, LABELS)
    batch = score_recordings(patterns, negatives[:5], LABELS, 3)
    for scores, logits in zip(batch, negatives, strict=False):
        np.testing.assert_allclose(score_recordings(patterns, [logits], LABELS, 3)[0], scores, atol=1e-6)
