"""Scores of keywords in the logits of a recognizer."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from hf_speech.decoding import collapse
from hf_speech.decoding.patterns import (
    FLOOR,
    IMPOSSIBLE,
    PATTERNS,
    WINDOW,
    Pattern,
    PatternMatcher,
    PatternScores,
    load_patterns,
    save_patterns,
)
from hf_speech.errors import ModelError

LABELS = ("<blank>", "a", "b", "c")
ABA, CC, B = ("a", "b", "a"), ("c", "c"), ("b",)


def random_logits(frames: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 3, (frames, len(LABELS))).astype(np.float32)


def pattern(symbols: tuple[str, ...], lowest_match: float = IMPOSSIBLE) -> Pattern:
    """Returns a pattern with random weights."""
    rng = np.random.default_rng(len(symbols))
    weights = rng.normal(size=PatternMatcher(symbols, LABELS).num_features)
    return Pattern(symbols, tuple(weights.tolist()), 3.0, lowest_match)


def spoken(text: str) -> np.ndarray:
    """Returns logits that are certain of a symbol at each frame; "-" is the blank."""
    logits = np.full((len(text), len(LABELS)), -10.0, dtype=np.float32)
    logits[np.arange(len(text)), [max("-abc".index(symbol), 0) for symbol in text]] = 0
    return logits


@pytest.mark.parametrize("symbols", [ABA, CC, B])
def test_match_is_that_of_the_best_path_that_ends_at_the_frame(symbols: tuple[str, ...]) -> None:
    logits = random_logits(5)
    relative = logits - logits.max(axis=1, keepdims=True)
    wanted = [LABELS.index(symbol) for symbol in symbols]
    (matches,), _ = PatternMatcher(symbols, LABELS).matches(logits[None])
    for end in range(len(wanted) - 1, 5):
        paths = (
            (path, start)
            for start in range(end + 1)
            for path in itertools.product({0, *wanted}, repeat=end + 1 - start)
            if path[0] and path[-1] and collapse(path) == wanted
        )
        sums = (relative[np.arange(start, end + 1), list(path)].sum() for path, start in paths)
        best = max(sums, default=-np.inf)
        assert matches[end] == pytest.approx(best, abs=1e-4) or best < -1e8


def test_a_perfect_match_is_zero_and_a_repeated_symbol_needs_a_blank() -> None:
    def matches(symbols: tuple[str, ...], text: str) -> np.ndarray:
        return PatternMatcher(symbols, LABELS).matches(spoken(text)[None])[0][0]

    assert matches(ABA, "c-aab-a").argmax() == 6
    assert matches(ABA, "c-aab-a").max() == 0.0
    assert matches(CC, "acca").max() < -5
    assert matches(CC, "ac-ca").max() == 0.0


def test_features_are_the_symbols_and_duration_of_each_part_and_the_match() -> None:
    window = spoken("-" * (WINDOW - 10) + "ba--c----b")
    window[-6, 0] = -1.0  # "c", perhaps a blank
    (features,) = PatternMatcher(("a", "b"), LABELS).features(window[None])
    likely, durations, match = features[:8].reshape(2, 4), features[8:10], features[10]
    certain, doubtful = -np.log1p(3 * np.exp(-10)), -np.log1p(np.exp(-1) + 2 * np.exp(-10))
    # The path is at "a" nine frames from the end, and at "b" in the last one, so the second part has the last five.
    np.testing.assert_allclose(
        likely, [[certain, certain, FLOOR, doubtful], [certain, FLOOR, certain, FLOOR]], atol=1e-5
    )
    assert durations.tolist() == [9, 8]
    assert match == -1.0


@pytest.mark.parametrize("sizes", [[1] * 40, [7, 0, 33], [39, 1]])
def test_pieces_of_any_size_have_the_scores_of_the_whole(sizes: list[int]) -> None:
    logits = random_logits(40)
    patterns = [pattern(ABA), pattern(CC, lowest_match=-12.0)]
    whole = PatternScores(patterns, LABELS).accept(logits)
    stream = PatternScores(patterns, LABELS)
    pieces = [stream.accept(piece) for piece in np.split(logits, np.cumsum(sizes)[:-1])]
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-9)
    batch = PatternScores(patterns, LABELS).accept_batch(np.stack((random_logits(40, 1), logits)))
    np.testing.assert_allclose(batch[1], whole, atol=1e-9)


def test_only_frames_that_match_well_enough_have_a_score() -> None:
    logits = random_logits(100)
    matches = PatternMatcher(CC, LABELS).matches(logits[None])[0][0]
    scores = PatternScores([pattern(CC, lowest_match=-12.0)], LABELS).accept(logits)[:, 0]
    np.testing.assert_array_equal(scores > IMPOSSIBLE, matches >= -12.0)
    assert 5 < (matches >= -12.0).sum() < 95


def test_a_match_has_the_same_score_after_any_start() -> None:
    # What is longer ago than a window does not matter, and before a stream there is nothing.
    logits = random_logits(2 * WINDOW)
    whole = PatternScores([pattern(ABA, -25.0)], LABELS).accept(logits)
    part = PatternScores([pattern(ABA, -25.0)], LABELS).accept(logits[5:])
    np.testing.assert_allclose(part[WINDOW:], whole[WINDOW + 5 :], atol=1e-9)


def test_patterns_are_saved_and_damage_is_reported(tmp_path: Path) -> None:
    saved = {"é": pattern(ABA, -3.5)}
    save_patterns(tmp_path, saved)
    assert load_patterns(tmp_path / PATTERNS, len(LABELS)) == saved
    for damage, message in (
        ("[]", "no patterns of keywords"),
        ("{", "no patterns of keywords"),
        ('{"x": [{"symbols": ["a"], "weights": [1, 1], "bias": 0}]}', "no patterns of keywords"),
        ('{"x": {"symbols": [], "weights": [1], "bias": 0, "lowest_match": 0}}', "damaged pattern of 'x'"),
        ('{"x": {"symbols": ["a"], "weights": [1], "bias": 0, "lowest_match": 0}}', "damaged pattern of 'x'"),
    ):
        (tmp_path / PATTERNS).write_text(damage)
        with pytest.raises(ModelError, match=message):
            load_patterns(tmp_path / PATTERNS, len(LABELS))
    with pytest.raises(ModelError, match="no symbol 'd'"):
        PatternMatcher(("a", "d"), LABELS)
