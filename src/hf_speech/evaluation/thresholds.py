"""Chooses the threshold of each keyword for a given rate of false alarms, on a split with hours of negatives.

Counting the false alarms of a few hours is not enough: a keyword without any in six hours may have one in ten hours,
and thresholds just above the highest observed scores are too low for other recordings. The rate at a threshold is
therefore estimated from a model of the scores, which are log odds: the excess of the highest scores over a value is
exponentially distributed, with a scale for each keyword (peaks over threshold: Coles 2001, "An Introduction to
Statistical Modeling of Extreme Values", chapter 4).

Among all combinations of thresholds whose expected false alarms stay within the given rate, the one with the fewest
expected misses is chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import Dataset
from scipy.special import expit

from hf_speech.common.tables import format_text
from hf_speech.data.augmentation import Conditions
from hf_speech.errors import CorpusError
from hf_speech.inference import DetectorOptions, LoadedModel, predict
from hf_speech.tasks import KeywordSpotting, Record
from hf_speech.tasks.keyword_spotting import THRESHOLDS, subtract_thresholds

LEVELS = np.append(THRESHOLDS, 100.0)
"""Candidate thresholds; no score reaches the last one."""
TAIL = 20
"""Number of highest scores of a keyword that the exponential distribution is fitted to."""
SCALE = 2.0
"""Prior of the distribution's scale, with the weight of one score."""
UNSEEN = 0.5
"""False alarms added to those observed (the Jeffreys prior of a rate)."""
SMOOTHING = 0.3
"""Assumed deviation of the scores of other clips of a keyword from those of the split."""
BUDGET = 1000
"""Number of equal parts of the given rate that are distributed among the keywords."""


@dataclass(frozen=True)
class TunedThresholds:
    """Thresholds, and their misses and false alarms on the split that they were chosen on.

    Attributes:
        options: Detector options with these thresholds.
        hours: Hours of negatives, twice for two passes.
        clips: Number of clips of each keyword.
        misses: Number of missed clips of each keyword.
        false_alarms: Number of false alarms of each keyword on the negatives.
        expected: Expected false alarms per hour of each keyword on other recordings.
        curve: The detection error trade-off relative to these thresholds, from `KeywordSpotting.curve`.
    """

    options: DetectorOptions
    hours: float
    clips: dict[str, int]
    misses: dict[str, int]
    false_alarms: dict[str, int]
    expected: dict[str, float]
    curve: list[dict[str, float]]

    def format_table(self) -> str:
        """Formats a table with a line for each keyword and one for all."""
        rows = [
            [
                keyword,
                f"{threshold:.2f}",
                str(self.clips[keyword]),
                f"{self.misses[keyword] / max(self.clips[keyword], 1):.1%}",
                f"{self.expected[keyword]:.2f}",
                f"{self.false_alarms[keyword] / self.hours:.2f}",
            ]
            for keyword, threshold in self.options.thresholds.items()
        ]
        clips, misses, alarms = (sum(x.values()) for x in (self.clips, self.misses, self.false_alarms))
        expected = sum(self.expected.values())
        rows.append(["all", "", str(clips), f"{misses / clips:.1%}", f"{expected:.2f}", f"{alarms / self.hours:.2f}"])
        return format_text(["keyword", "threshold", "clips", "missed", "false alarms per hour", "on this split"], rows)

    def origin(self, rate: float) -> dict[str, Any]:
        """Returns the entries of the thresholds file about how they were chosen.

        Args:
            rate: The false alarms per hour that were asked for.
        """
        return {
            "false_alarms_per_hour": rate,
            "negative_hours": round(self.hours, 3),
            "expected_false_alarms_per_hour": {keyword: round(value, 4) for keyword, value in self.expected.items()},
            "curve": self.curve,
        }


def choose_thresholds(
    loaded: LoadedModel, rows: Dataset, rate: float, conditions: Conditions | None = None
) -> TunedThresholds:
    """Chooses the thresholds of a keyword spotter.

    Args:
        loaded: The keyword spotter.
        rows: The validation split.
        rate: Accepted false alarms per hour, over all keywords.
        conditions: Recording conditions to simulate, in a second pass over the split. The thresholds are then chosen
            for both passes together.

    Raises:
        CorpusError: If the split has no clip of a keyword, or no negatives.
    """
    task, config = loaded.task, loaded.model.config
    assert isinstance(task, KeywordSpotting)
    references = task.references(rows, config)
    records = [
        {"duration": prediction.duration, **task.score(reference, task.decode(prediction.logits, config))}
        for simulated in ([None] if conditions is None else [None, conditions])
        for reference, prediction in zip(references, predict(loaded, rows["audio"], conditions=simulated), strict=True)
        if prediction.logits is not None
    ]
    return thresholds_for(records, loaded.labels[1:], rate)


def thresholds_for(records: list[Record], keywords: Sequence[str], rate: float) -> TunedThresholds:
    """Chooses thresholds from the scores of clips and negatives.

    Args:
        records: Records from `KeywordSpotting.score`, with `duration` in seconds; their peaks become relative to the
            thresholds.
        keywords: The keywords.
        rate: Accepted false alarms per hour, over all keywords.

    Raises:
        CorpusError: If there is no clip of a keyword, or no negatives.
    """
    hours = sum(record["duration"] for record in records if not record["is_keyword"]) / 3600
    if not hours or all(not record["is_keyword"] for record in records):
        raise CorpusError(
            "The validation split needs both clips of the keywords and hours of negatives: set validation_fraction and "
            "validation_negatives."
        )
    hits = {keyword: _hits(records, keyword) for keyword in keywords}
    alarms = {keyword: _alarms(records, keyword) for keyword in keywords}
    # A keyword without clips gets the scores of all the others.
    misses = np.stack([expected_misses(own if len(own) else np.concatenate([*hits.values()])) for own in hits.values()])
    rates = np.stack([expected_rates(own, hours) for own in alarms.values()])
    chosen = _fewest_misses(misses, rates, rate)
    thresholds = {keyword: float(LEVELS[index]) for keyword, index in zip(keywords, chosen, strict=True)}
    subtract_thresholds(records, thresholds)
    return TunedThresholds(
        DetectorOptions(thresholds),
        hours,
        clips={keyword: len(hits[keyword]) for keyword in keywords},
        misses={keyword: int((hits[keyword] < thresholds[keyword]).sum()) for keyword in keywords},
        false_alarms={keyword: int((alarms[keyword] >= thresholds[keyword]).sum()) for keyword in keywords},
        expected={keyword: float(own[index]) for keyword, own, index in zip(keywords, rates, chosen, strict=True)},
        curve=KeywordSpotting().curve(records),
    )


def expected_rates(scores: np.ndarray, hours: float) -> np.ndarray:
    """Returns the expected false alarms per hour of a keyword on other recordings, at each of `LEVELS`.

    Args:
        scores: The scores of the keyword's peaks in the negatives.
        hours: Hours of negatives.
    """
    ordered = np.sort(scores)[::-1]
    count = min(TAIL, len(ordered))
    start = ordered[count] if count < len(ordered) else LEVELS[0]
    scale = (SCALE + (ordered[:count] - start).sum()) / (1 + count)
    tail = (count + UNSEEN) * np.exp(-np.maximum(LEVELS - start, 0) / scale)
    counted = (ordered[:, None] >= LEVELS).sum(axis=0) + UNSEEN
    rates: np.ndarray = np.where(start > LEVELS, counted, tail) / hours
    return rates


def expected_misses(scores: np.ndarray) -> np.ndarray:
    """Returns the expected misses of a keyword at each of `LEVELS`: the sum of a logistic function of each score."""
    misses: np.ndarray = expit((LEVELS - scores[:, None]) / SMOOTHING).sum(axis=0)
    return misses


def _fewest_misses(misses: np.ndarray, rates: np.ndarray, allowed: float) -> list[int]:
    """Chooses a threshold for each keyword, with the fewest misses overall and no more false alarms than allowed.

    This is a knapsack problem, solved by dynamic programming over parts of the allowed rate.

    Args:
        misses: Expected misses, `(keywords, thresholds)`.
        rates: Expected false alarms per hour, `(keywords, thresholds)`.
        allowed: Accepted false alarms per hour, over all keywords.

    Returns:
        The index of each keyword's threshold; the last index for a keyword that cannot be detected at this rate.
    """
    prices = np.ceil(np.minimum(rates * BUDGET / max(allowed, 1e-9), BUDGET + 1)).astype(int)
    prices[:, -1] = 0
    total = np.zeros(BUDGET + 1)
    best = []
    for own, price in zip(misses, prices, strict=True):
        left = np.arange(BUDGET + 1)[:, None] - price
        totals = np.where(left >= 0, total[np.maximum(left, 0)], np.inf) + own
        best.append(totals.argmin(axis=1))
        total = totals.min(axis=1)
    chosen, budget = [], BUDGET
    for index, price in zip(reversed(best), reversed(prices), strict=True):
        chosen.append(int(index[budget]))
        budget -= price[chosen[-1]]
    return chosen[::-1]


def _hits(records: list[Record], keyword: str) -> np.ndarray:
    """Returns the highest score of a keyword in each of its clips, or `-inf` for a clip without a peak."""
    return np.array(
        [
            max((score for name, _, score in record["peaks"] if name == keyword), default=-np.inf)
            for record in records
            if record["reference"] == keyword
        ]
    )


def _alarms(records: list[Record], keyword: str) -> np.ndarray:
    """Returns the scores of a keyword's peaks in the negatives, highest first."""
    peaks = [peak for record in records if not record["is_keyword"] for peak in record["peaks"]]
    return np.array(sorted((score for name, _, score in peaks if name == keyword), reverse=True))
