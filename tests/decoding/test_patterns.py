"""Scores of keywords in the logits of a recognizer."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from hf_speech.decoding import collapse
from hf_speech.decoding.patterns import PATTERNS, Pattern, PatternPaths, PatternScores, load_patterns, save_patterns
from hf_speech.errors import ModelError

LABELS = ("<blank>", "a", "b", "c")
ABA = Pattern(("a", "b", "a"), (0.5, 1.0, 2.0, 0.25), bias=3.0)
CC = Pattern(("c", "c"), (1.0, 0.5, 0.1))


def random_logits(frames: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 3, (frames, len(LABELS))).astype(np.float32)


@pytest.mark.parametrize("pattern", [ABA, CC, Pattern(("b",), (0.7, 0.1), -1.0)])
def test_score_is_that_of_the_best_path_that_ends_at_the_frame(pattern: Pattern) -> None:
    logits = random_logits(5)
    relative = logits - logits.max(axis=1, keepdims=True)
    wanted = [LABELS.index(symbol) for symbol in pattern.symbols]

    def score(path: tuple[int, ...], start: int) -> float:
        """The score of a path that spells the pattern, from its first to its last symbol."""
        position, before, total = -1, 0, pattern.bias
        for frame, symbol in enumerate(path, start=start):
            position += symbol not in (0, before)
            before = symbol
            total += relative[frame, symbol] * pattern.weights[position if symbol else -1]
        return total

    (scores,), _ = PatternPaths(pattern, LABELS).scores(logits[None])
    for end in range(len(wanted) - 1, 5):
        paths = (
            (path, start)
            for start in range(end + 1)
            for path in itertools.product({0, *wanted}, repeat=end + 1 - start)
            if path[0] and path[-1] and collapse(path) == wanted
        )
        best = max((score(*path) for path in paths), default=-np.inf)
        assert scores[end] == pytest.approx(best, abs=1e-4) or best < -1e8


def test_a_perfect_match_scores_the_bias_and_a_repeated_symbol_needs_a_blank() -> None:
    def scores_of(pattern: Pattern, text: str) -> np.ndarray:
        logits = np.full((len(text), len(LABELS)), -10.0, dtype=np.float32)
        logits[np.arange(len(text)), [max("-abc".index(symbol), 0) for symbol in text]] = 0
        return PatternPaths(pattern, LABELS).scores(logits[None])[0][0]

    assert scores_of(ABA, "c-aab-a").argmax() == 6
    assert scores_of(ABA, "c-aab-a").max() == 3.0
    assert scores_of(CC, "acca").max() < -0.5
    assert scores_of(CC, "ac-ca").max() == 0.0


@pytest.mark.parametrize("sizes", [[1] * 40, [7, 0, 33], [39, 1]])
def test_pieces_of_any_size_have_the_scores_of_the_whole(sizes: list[int]) -> None:
    logits = random_logits(40)
    whole = PatternScores([[ABA, CC], [CC]], LABELS, 3).accept(logits)
    stream = PatternScores([[ABA, CC], [CC]], LABELS, 3)
    pieces = [stream.accept(piece) for piece in np.split(logits, np.cumsum(sizes)[:-1])]
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-9)
    alone = [PatternScores([[pattern]], LABELS, 3).accept(logits)[:, 0] for pattern in (ABA, CC)]
    np.testing.assert_allclose(whole[:, 0], np.mean(alone, axis=0), atol=1e-9)
    batch = PatternScores([[CC]], LABELS, 3).accept_batch(np.stack((random_logits(40, 1), logits)))
    np.testing.assert_allclose(batch[1], whole[:, 1:], atol=1e-9)


@pytest.mark.parametrize("pattern", [ABA, CC])
def test_the_evidence_of_the_best_path_times_the_weights_is_its_score(pattern: Pattern) -> None:
    logits = np.stack([random_logits(12, seed) for seed in range(20)])
    paths = PatternPaths(pattern, LABELS)
    evidence = paths.evidence_of_best(logits)
    np.testing.assert_allclose(evidence @ pattern.weights + pattern.bias, paths.scores(logits)[0][:, -1], atol=1e-4)


def test_smoothing_over_no_frames_is_over_one() -> None:
    logits = random_logits(6)
    scores = [PatternScores([[ABA]], LABELS, frames).accept(logits) for frames in (0, 1)]
    np.testing.assert_array_equal(*scores)


def test_patterns_are_saved_and_damage_is_reported(tmp_path: Path) -> None:
    save_patterns(tmp_path, {"é": [ABA, CC]})
    assert load_patterns(tmp_path / PATTERNS) == {"é": [ABA, CC]}
    for damage, message in (
        ("[]", "no patterns of keywords"),
        ("{", "no patterns of keywords"),
        ('{"x": [{"symbols": ["a"]}]}', "no patterns of keywords"),
        ('{"x": []}', "damaged pattern of 'x'"),
        ('{"x": [{"symbols": ["a"], "weights": [1], "bias": 0}]}', "damaged pattern of 'x'"),
    ):
        (tmp_path / PATTERNS).write_text(damage)
        with pytest.raises(ModelError, match=message):
            load_patterns(tmp_path / PATTERNS)
    with pytest.raises(ModelError, match="no symbol 'd'"):
        PatternPaths(Pattern(("a", "d"), (1, 1, 1)), LABELS)
