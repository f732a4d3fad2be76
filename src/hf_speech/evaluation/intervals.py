"""Confidence intervals of metrics that were measured on a finite test split.

The metric determines the method:

* A proportion (accuracy) gets the score interval of Wilson (1927, "Probable inference, the law of succession,
  and statistical inference", JASA 22), which stays valid near 100%, where the normal approximation fails.
* Every other metric (macro F1, WER) gets the percentile bootstrap (Efron 1979, "Bootstrap methods: another look
  at the jackknife", Annals of Statistics 7; for WER: Bisani & Ney 2004, ICASSP), which resamples utterances with
  replacement and recomputes the metric. A resample is a row of integer weights, and all metrics are functions of
  summed counts, so 2,000 resamples are one matrix product.

Both methods assume independent utterances, but the clips of one speaker are correlated. Resampling whole speakers
(`clusters`) estimates the metric on other speakers: the intervals are wider, and rough if there are few speakers. On a
split without errors, the bootstrap interval has zero width; Wilson's interval does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.stats import binomtest

CONFIDENCE = 0.95
RESAMPLES = 2000
# Resamples per matrix product, to bound memory to a few MB for a split of 10,000 utterances.
_CHUNK = 100


def wilson_interval(successes: int, trials: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Returns the Wilson score interval of a proportion.

    Args:
        successes: Number of correct utterances.
        trials: Number of utterances.
        confidence: Coverage, 0.95 for a 95% interval.

    Returns:
        The lower and upper bound, between 0 and 1.
    """
    interval = binomtest(int(successes), int(trials)).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def bootstrap_intervals(
    tally: np.ndarray,
    metrics: Callable[[np.ndarray], dict[str, np.ndarray]],
    *,
    clusters: Sequence[str] | None = None,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Returns percentile bootstrap intervals of metrics that are functions of summed counts.

    Args:
        tally: Counts of each utterance, `(utterances, counts)`, from `Task.tally`.
        metrics: Function from sums `(resamples, counts)` to an array `(resamples,)` for each metric.
        clusters: The speaker of each utterance, to resample whole speakers instead of utterances.
        resamples: Number of resamples.
        confidence: Coverage, 0.95 for the 2.5th to the 97.5th percentile.
        seed: Seed of the resampling.

    Returns:
        The lower and upper bound of each metric.
    """
    units = tally if clusters is None else _sum_by_cluster(tally, clusters)
    generator = np.random.default_rng(seed)
    sums = np.concatenate(
        [_weights(generator, min(_CHUNK, resamples - done), len(units)) @ units for done in range(0, resamples, _CHUNK)]
    )
    tail = (1 - confidence) / 2
    return {
        name: (float(low), float(high))
        for name, values in metrics(sums).items()
        for low, high in [np.quantile(values, [tail, 1 - tail])]
    }


def _weights(generator: np.random.Generator, resamples: int, units: int) -> np.ndarray:
    """Returns how often each resample contains each unit, `(resamples, units)`; rows sum to `units`."""
    drawn = generator.integers(units, size=(resamples, units)) + units * np.arange(resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=resamples * units).reshape(resamples, units).astype(float)


def _sum_by_cluster(tally: np.ndarray, clusters: Sequence[str]) -> np.ndarray:
    """Returns the summed counts of each cluster, `(clusters, counts)`."""
    _, index = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    sums = np.zeros((index.max() + 1, tally.shape[1]))
    np.add.at(sums, index, tally)
    return sums
