"""Thresholds for scores with known false alarm rates."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from hf_speech.errors import CorpusError
from hf_speech.evaluation.thresholds import LEVELS, _fewest_misses, expected_rates, thresholds_for

LOWEST = float(LEVELS[0])
CLIP = {"correct": True, "is_keyword": True, "duration": 1.0}


def table(hits: Mapping[str, Sequence[float]], alarms: Mapping[str, Sequence[float]], hours: float) -> list[Any]:
    """Returns records of clips with one peak each, and of one recording without a keyword."""
    clips = [
        {**CLIP, "reference": word, "peaks": [[word, 9, score]]} for word, scores in hits.items() for score in scores
    ]
    peaks = [[word, 9, score] for word, scores in alarms.items() for score in scores]
    return [
        *clips,
        {**CLIP, "reference": "other", "is_keyword": False, "duration": 3600 * hours, "peaks": peaks},
    ]


def true_rates(scales: Mapping[str, float], per_hour: float, thresholds: Mapping[str, float]) -> dict[str, float]:
    """Draws scores that exceed `LOWEST` `per_hour` times per hour, by exponentially distributed amounts."""
    return {word: per_hour * float(np.exp((LOWEST - thresholds[word]) / scales[word])) for word in scales}


@pytest.mark.parametrize(
    "scales", [{"a": 1.0, "b": 1.0}, {"a": 1.0, "b": 2.5}, {"a": 0.5, "b": 1.5, "c": 2.0}], ids=["light", "heavy", "3"]
)
def test_thresholds_meet_the_rate_on_other_recordings(scales: dict[str, float]) -> None:
    rng = np.random.default_rng(0)
    rates = []
    for _ in range(40):
        alarms = {word: LOWEST + rng.exponential(scale, rng.poisson(60)) for word, scale in scales.items()}
        hits = {word: rng.normal(5, 2, 30) for word in scales}
        tuned = thresholds_for(table(hits, alarms, 6.0), list(scales), rate=0.5)
        assert sum(tuned.expected.values()) <= 0.5
        rates.append(sum(true_rates(scales, 10, tuned.options.thresholds).values()))
    assert 0.35 < np.mean(rates) < 0.65
    assert max(rates) < 2
    # The keyword with the heavier tail gets the higher threshold.
    ordered = [tuned.options.thresholds[word] for word in scales]
    assert ordered == sorted(ordered) or len(set(scales.values())) == 1


@pytest.mark.parametrize(("hours", "rate"), [(1.0, 0.1), (6.0, 0.02), (50.0, 0.005)])
def test_no_false_alarms_do_not_mean_a_rate_of_zero(hours: float, rate: float) -> None:
    hits = {"a": [8.0, 9.0, 9.5], "b": [7.0, 8.0, 12.0]}
    tuned = thresholds_for(table(hits, {}, hours), ["a", "b"], rate)
    assert 0 < sum(tuned.expected.values()) <= rate
    assert all(LOWEST < threshold < 8.0 for threshold in tuned.options.thresholds.values())
    assert sum(tuned.false_alarms.values()) == 0
    longer = thresholds_for(table(hits, {}, 100 * hours), ["a", "b"], rate)
    assert sum(longer.options.thresholds.values()) < sum(tuned.options.thresholds.values())


def test_a_keyword_with_many_false_alarms_gets_a_larger_share() -> None:
    rng = np.random.default_rng(1)
    alarms = {"noisy": LOWEST + rng.exponential(2.5, 600), **{word: LOWEST + rng.exponential(1, 20) for word in "bcd"}}
    hits = {"noisy": rng.normal(8, 1.5, 50), **{word: rng.normal(8, 1.5, 50) for word in "bcd"}}
    tuned = thresholds_for(table(hits, alarms, 10.0), list(hits), rate=1.0)
    assert tuned.expected["noisy"] > 0.7
    assert sum(tuned.expected.values()) <= 1.0
    assert tuned.options.thresholds["noisy"] > max(tuned.options.thresholds[word] for word in "bcd") + 2
    assert [tuned.misses[word] for word in "bcd"] == [0, 0, 0]
    assert 0 < tuned.misses["noisy"] < 50


def test_drops_keywords_that_cannot_meet_the_rate() -> None:
    rng = np.random.default_rng(2)
    alarms = {"a": LOWEST + rng.exponential(6.0, 500)}
    tuned = thresholds_for(table({"a": [2.0, 3.0], "b": [4.0]}, alarms, 1.0), ["a", "b"], rate=0.5)
    assert tuned.misses == {"a": 2, "b": 0}
    assert "100.0%" in tuned.format_table()


def test_expected_rates_decrease_and_match_the_counts() -> None:
    scores = LOWEST + np.random.default_rng(3).exponential(2.0, 300)
    rates = expected_rates(scores, 5.0)
    assert (np.diff(rates) <= 0).all()
    for threshold in (-5.0, -3.0, 0.0):
        index = int(np.abs(LEVELS - threshold).argmin())
        assert rates[index] == pytest.approx((scores >= threshold).sum() / 5.0, rel=0.25, abs=0.4)


def test_no_other_combination_has_fewer_misses() -> None:
    rng = np.random.default_rng(4)
    for _ in range(20):
        misses = np.sort(rng.uniform(0, 10, (3, 6)), axis=1)
        rates = np.sort(rng.uniform(0, 1, (3, 6)), axis=1)[:, ::-1]
        rates[:, -1] = 0
        chosen = _fewest_misses(misses, rates, 1.0)
        assert sum(rates[range(3), chosen]) <= 1.0
        possible = [i for i in itertools.product(range(6), repeat=3) if sum(rates[range(3), i]) <= 0.995]
        assert sum(misses[range(3), chosen]) <= min(sum(misses[range(3), i]) for i in possible) + 1e-9


def test_the_curve_shifts_all_thresholds_together() -> None:
    """Each keyword has its own level of scores, so no common threshold works for both."""
    rng = np.random.default_rng(5)
    alarms = {"a": LOWEST + rng.exponential(2.5, 60), "b": LOWEST + rng.exponential(0.5, 60)}
    tuned = thresholds_for(table({"a": [9.0] * 5, "b": [-1.0] * 5}, alarms, 20.0), ["a", "b"], rate=0.1)
    assert tuned.options.thresholds["a"] > max(alarms["a"]) > -1.0 > tuned.options.thresholds["b"]
    assert sum(tuned.misses.values()) == 0
    chosen, lowest = [point for point in tuned.curve if point["threshold"] <= 0][-1], tuned.curve[0]
    assert chosen["miss_rate"] == 0
    for point, offset in ((chosen, 0), (lowest, -6)):
        seen = sum((alarms[word] >= tuned.options.thresholds[word] + offset).sum() for word in "ab")
        assert point["false_alarms_per_hour"] == pytest.approx(seen / 20)
    assert lowest["false_alarms_per_hour"] > 0


@pytest.mark.parametrize("missing", ["clips", "hours"])
def test_clips_and_hours_are_needed(missing: str) -> None:
    records = table({"a": [3.0]}, {}, 1.0)
    with pytest.raises(CorpusError, match="needs both clips of the keywords and hours of negatives"):
        thresholds_for(records[1:] if missing == "clips" else records[:1], ["a"], 1.0)
