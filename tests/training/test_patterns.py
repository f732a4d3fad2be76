"""The pattern of a keyword, found in noisy logits."""

from __future__ import annotations

import numpy as np
import pytest

from hf_speech.decoding.patterns import IMPOSSIBLE
from hf_speech.training.patterns import find_pattern, fit_pattern, score_recordings

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
    pattern = find_pattern(clips, negatives, LABELS, silent=["|"])
    assert pattern is not None
    assert pattern.symbols == tuple("badge")
    others = [spoken(f"cc{text}hh", rng) for text in ("badge", "badfe", "badge")]
    hits = [scores.max() for scores in score_recordings(pattern, others, LABELS)]
    alarms = [scores.max() for scores in score_recordings(pattern, negatives, LABELS)]
    assert min(hits) > np.quantile(alarms, 0.98)
    print(hits, np.quantile(alarms, [0.5, 0.9, 0.98]))


def test_learns_the_usual_mistake_of_the_recognizer(negatives: list[np.ndarray]) -> None:
    rng = np.random.default_rng(1)

    def misheard(text: str) -> np.ndarray:
        """Returns the logits of a text in which every "f" and "h" might also be a "g"."""
        logits = spoken(text, rng)
        logits[np.isin(logits.argmax(axis=1), [LABELS.index("f"), LABELS.index("h")]), LABELS.index("g")] += 5
        return logits

    # Half of all "g" sound more like "f" to the recognizer, but none like "h".
    pattern = fit_pattern(tuple("badge"), [misheard(f"bad{third}e") for third in "gfgfgfgf"], negatives, LABELS)
    usual, unusual = (
        np.mean([own.max() for own in score_recordings(pattern, [misheard(text) for _ in range(20)], LABELS)])
        for text in ("badfe", "badhe")
    )
    assert usual > unusual + 0.5


def test_equal_clips_have_a_pattern_and_a_click_has_none(negatives: list[np.ndarray]) -> None:
    rng = np.random.default_rng(1)
    pattern = find_pattern([spoken("fee|hd", rng) for _ in range(4)], negatives, LABELS, silent=["|"])
    assert pattern is not None
    assert pattern.symbols == tuple("feehd")
    assert find_pattern([spoken("a|b", rng) for _ in range(4)], negatives, LABELS, silent=["|"]) is None


def test_clips_that_match_worse_than_many_negatives_are_detected(
    negatives: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(1)
    monkeypatch.setattr("hf_speech.training.patterns.HARDEST", 5)
    mumbled = [spoken("bahge", rng) for _ in range(10)]
    pattern = fit_pattern(tuple("badge"), mumbled, [*negatives, *[spoken("badge", rng) for _ in range(5)]], LABELS)
    scores = score_recordings(pattern, mumbled, LABELS)
    assert sum(own.max() > IMPOSSIBLE for own in scores) >= 9


def test_negatives_without_any_match_are_enough() -> None:
    rng = np.random.default_rng(1)
    clips = [spoken("badge", rng) for _ in range(4)]
    silence = [np.eye(len(LABELS), dtype=np.float32)[[0] * frames] * 100 for frames in (3, 200)]
    pattern = find_pattern(clips, silence, LABELS)
    assert pattern is not None
    (hit,) = score_recordings(pattern, [spoken("cbadge", rng)], LABELS)
    assert hit.max() > 0


def test_a_recording_has_the_same_scores_alone_and_in_a_batch(negatives: list[np.ndarray]) -> None:
    rng = np.random.default_rng(2)
    pattern = find_pattern([spoken("badge", rng) for _ in range(3)], negatives, LABELS)
    assert pattern is not None
    for scores, logits in zip(score_recordings(pattern, negatives[:5], LABELS), negatives, strict=False):
        np.testing.assert_allclose(score_recordings(pattern, [logits], LABELS)[0], scores, atol=1e-6)
