"""Keyword events from logits: smoothing, thresholds, refractory time, and pieces of any size."""

from __future__ import annotations

import numpy as np
import pytest

from hf_speech.decoding.keywords import KeywordDecoder, KeywordScores, find_peaks


def logits_of(*probabilities: float) -> np.ndarray:
    """Returns frames in which the first of two keywords has these probabilities."""
    p = np.array(probabilities)
    return np.log(np.stack([0.98 * (1 - p) + 1e-9, p + 1e-9, 0.02 * (1 - p)], axis=1)).astype(np.float32)


def test_score_is_the_log_odds_over_the_last_frames() -> None:
    scores = KeywordScores(2).accept(logits_of(0.2, 0.9, 0.5, 0.0))
    anywhere = np.array([0.2, 1 - 0.8 * 0.1, 1 - 0.1 * 0.5, 0.5])  # No context before the first frame.
    np.testing.assert_allclose(scores[:, 0], np.log(anywhere / (1 - anywhere)), atol=1e-5)


@pytest.mark.parametrize("spread", [[0.999], [0.9, 0.99], [0.9, 0.9, 0.9]])
def test_detects_keywords_in_one_or_several_frames(spread: list[float]) -> None:
    frames = logits_of(*[0.0] * 5, *spread, *[0.0] * 5)
    assert KeywordScores(3).accept(frames)[:, 0].max() == pytest.approx(np.log(999), abs=0.01)


def test_extreme_scores_remain_distinct() -> None:
    scores = KeywordScores(1).accept(np.array([[0.0, 20.0], [0.0, 25.0]], dtype=np.float32))[:, 0]
    np.testing.assert_allclose(scores, [20, 25], rtol=1e-2)


def test_an_event_is_at_the_first_frame_above_the_threshold() -> None:
    decoder = KeywordDecoder(["a", "b"], 0.04, {"a": 2.0}, smoothing_frames=1, refractory_frames=5)
    events = decoder.accept(logits_of(0.5, 0.8, 0.95, 0.99, 0.5, 0.5, 0.5, 0.99))
    assert [(event.keyword, event.time) for event in events] == [("a", 0.12), ("a", 0.32)]
    assert events[0].score == pytest.approx(np.log(0.95 / 0.05), abs=0.05)


@pytest.mark.parametrize("sizes", [[1] * 60, [7, 0, 30, 23], [59, 1], [2, 28, 28, 2]])
def test_pieces_of_any_size_give_the_same_events(sizes: list[int]) -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 3, size=(60, 4)).astype(np.float32)
    make = lambda: KeywordDecoder(["a", "b", "c"], 0.04, {"b": 1.0}, refractory_frames=8)  # noqa: E731
    decoder = make()
    pieces = np.split(logits, np.cumsum(sizes)[:-1])
    events = [event for piece in pieces for event in decoder.accept(piece)]
    assert events == make().accept(logits)
    assert len(events) > 3
    decoder.reset()
    assert decoder.accept(logits) == events


def test_peaks_are_separated_maxima() -> None:
    scores = np.full((20, 2), -9.0)
    scores[[3, 5, 5, 12], [0, 0, 1, 0]] = [1.0, 4.0, 3.0, 2.0]
    assert find_peaks(scores, 4, -6.0) == [(5, 0, 4.0), (5, 1, 3.0), (12, 0, 2.0)]
    assert find_peaks(scores, 2, -6.0)[0] == (3, 0, 1.0)
    assert find_peaks(scores[:0], 4, -6.0) == []
