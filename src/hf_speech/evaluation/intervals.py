"""Confidence intervals of metrics measured on a test split of limited size.

There are two methods, chosen by metric:

* A proportion (accuracy) gets the score interval of Wilson (1927, "Probable inference, the law of succession,
  and statistical inference", JASA 22): valid even near 100%, where the textbook interval collapses.
* Everything else (macro F1, WER) gets the percentile bootstrap (Efron 1979, "Bootstrap methods: another look
  at the jackknife", Annals of Statistics 7; for WER: Bisani & Ney 2004, ICASSP): resample utterances with
  replacement, compute the metric again. A resample is a row of integer weights, and all metrics here are
  functions of summed counts, so that 2,000 resamples are one matrix product.

Both assume that utterances are independent, which the clips of one speaker are not. Resampling whole speakers
(`clusters`) answers "how would it do on other speakers?" and gives wider, more honest intervals, which
are rough with few speakers. On a split without errors the bootstrap interval has width 0: use Wilson's there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.stats import binomtest

CONFIDENCE = 0.95
RESAMPLES = 2000
# Resamples computed at once: bounds memory to a few MB for a split of 10,000 utterances.
_CHUNK = 100


def wilson_interval(successes: int, trials: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The Wilson score interval of a proportion.

    Args:
        successes: Utterances that were right.
        trials: Utterances.
        confidence: Coverage, 0.95 for a 95% interval.

    Returns:
        The low and high end, between 0 and 1.
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
    """Percentile bootstrap intervals of metrics that are functions of summed counts.

    Args:
        tally: Counts of each utterance `(utterances, counts)`, from `Task.tally`.
        metrics: From sums `(resamples, counts)` to an array `(resamples,)` for each metric.
        clusters: The speaker of each utterance, to draw whole speakers instead of utterances.
        resamples: How often to resample.
        confidence: Coverage, 0.95 for the 2.5th to the 97.5th percentile.
        seed: Seed of the resampling: the same split gives the same interval.

    Returns:
        The low and high end of each metric.
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
    """How often each unit was drawn in each resample, `(resamples, units)`; rows sum to `units`."""
    drawn = generator.integers(units, size=(resamples, units)) + units * np.arange(resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=resamples * units).reshape(resamples, units).astype(float)


def _sum_by_cluster(tally: np.ndarray, clusters: Sequence[str]) -> np.ndarray:
    """Counts of each cluster, `(clusters, counts)`."""
    _, index = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    sums = np.zeros((index.max() + 1, tally.shape[1]))
    np.add.at(sums, index, tally)
    return sums
