"""Confidence intervals: published values, coverage, and resampling."""

from __future__ import annotations

import numpy as np
import pytest

from hf_speech.evaluation.intervals import bootstrap_intervals, wilson_interval


def mean(sums: np.ndarray) -> dict[str, np.ndarray]:
    """Returns a metric of counts (hits, trials)."""
    return {"mean": sums[..., 0] / sums[..., 1]}


def tally(hits: np.ndarray) -> np.ndarray:
    return np.stack([hits, np.ones(len(hits))], axis=1).astype(float)


def test_wilson_equals_published_values():
    # Newcombe (1998, Statistics in Medicine 17, table I), method 3: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson_interval(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


def test_wilson_does_not_collapse_at_one_hundred_per_cent():
    low, high = wilson_interval(300, 300)
    assert low == pytest.approx(0.98736, abs=1e-5)
    assert high == 1.0


def test_bootstrap_of_a_mean_agrees_with_the_normal_approximation():
    hits = np.repeat([1, 0], [800, 200])
    low, high = bootstrap_intervals(tally(hits), mean)["mean"]
    half = 1.96 * np.sqrt(0.8 * 0.2 / 1000)
    assert (low, high) == pytest.approx((0.8 - half, 0.8 + half), abs=0.003)


def test_bootstrap_depends_on_the_seed():
    hits = np.random.default_rng(0).integers(0, 2, 200)
    first = bootstrap_intervals(tally(hits), mean, resamples=150)
    assert first == bootstrap_intervals(tally(hits), mean, resamples=150)
    assert first != bootstrap_intervals(tally(hits), mean, resamples=150, seed=1)


def test_more_confidence_is_a_wider_interval():
    hits = np.random.default_rng(0).integers(0, 2, 200)
    low, high = bootstrap_intervals(tally(hits), mean, confidence=0.8)["mean"]
    lower, higher = bootstrap_intervals(tally(hits), mean, confidence=0.99)["mean"]
    assert lower < low < high < higher


def test_intervals_have_their_nominal_coverage():
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        low, high = bootstrap_intervals(tally(rng.random(120) < 0.7), mean, resamples=400, seed=trial)["mean"]
        covered += low <= 0.7 <= high
    assert 0.90 <= covered / 200 <= 0.99


def test_resamples_whole_speakers():
    """If each of ten speakers is all right or all wrong, a hundred clips of one are worth no more than one."""
    hits = np.repeat([1, 1, 1, 1, 1, 1, 1, 0, 0, 0], 100)
    speakers = np.repeat([f"speaker {i}" for i in range(10)], 100).tolist()
    low, high = bootstrap_intervals(tally(hits), mean)["mean"]
    assert high - low < 0.07
    wide_low, wide_high = bootstrap_intervals(tally(hits), mean, clusters=speakers)["mean"]
    assert wide_high - wide_low > 0.5
    # Every draw is of whole speakers: only tenths can result.
    assert np.allclose([wide_low * 10, wide_high * 10], np.round([wide_low * 10, wide_high * 10]))
