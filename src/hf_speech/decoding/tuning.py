"""Tunes the weights of a beam search on a validation split.

The search tries a grid of both weights, then smaller and smaller steps around the best pair, which may leave the grid.
Every pair is measured once, in a fixed order, so that the result is reproducible.

Several pairs may have the same lowest word error rate. The pair nearest to their mean is chosen, since it is farthest
from worse weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from hf_speech.common.tables import format_text
from hf_speech.errors import HFSpeechError

LM_WEIGHTS = (0.0, 0.4, 0.8, 1.2, 1.6)
WORD_SCORES = (-1.0, 0.0, 1.0, 2.0)


@dataclass(frozen=True, slots=True)
class Trial:
    """A pair of weights and its error.

    Attributes:
        lm_weight: Weight of the language model.
        word_score: Score to add for every word.
        error: The measured error, such as the word error rate.
    """

    lm_weight: float
    word_score: float
    error: float


@dataclass(frozen=True, slots=True)
class Tuning:
    """The result of `tune_decoder`.

    Attributes:
        best: The chosen pair.
        trials: All pairs, with the chosen one first and the others by error.
    """

    best: Trial
    trials: tuple[Trial, ...]

    def format_table(self, max_rows: int = 10) -> str:
        """Formats the best trials as an aligned table, with errors in percent."""
        shown = self.trials[:max_rows]
        rows = [[f"{t.lm_weight:.3f}", f"{t.word_score:.3f}", f"{100 * t.error:.2f}"] for t in shown]
        table = format_text(["lm_weight", "word_score", "error (%)"], rows, names=0)
        return table if len(shown) == len(self.trials) else f"{table}\n... and {len(self.trials) - max_rows} more"


def tune_decoder(
    measure: Callable[[float, float], float],
    *,
    lm_weights: Sequence[float] = LM_WEIGHTS,
    word_scores: Sequence[float] = WORD_SCORES,
    halvings: int = 2,
    max_trials: int = 60,
) -> Tuning:
    """Finds the weights with the lowest error.

    Args:
        measure: Returns the error on the validation split for `lm_weight` and `word_score`.
        lm_weights: Weights of the language model in the grid, not negative.
        word_scores: Word scores in the grid.
        halvings: The number of times that the steps of the grid are halved around the best pair.
        max_trials: Maximum number of trials, unless the grid is larger.

    Returns:
        The chosen pair and all trials.

    Raises:
        HFSpeechError: If there are no weights to choose from, or an error is not finite.
    """
    if not lm_weights or not word_scores or min(lm_weights) < 0:
        raise HFSpeechError("There are no weights to tune: give some lm_weights, 0 or more, and some word_scores.")
    steps = (_step(lm_weights), _step(word_scores))
    trials: dict[tuple[float, float], Trial] = {}

    def run(lm_weight: float, word_score: float) -> None:
        pair = (max(0.0, round(lm_weight, 6)), round(word_score, 6))
        if pair not in trials:
            error = float(measure(*pair))
            if not math.isfinite(error):
                raise HFSpeechError(
                    f"lm_weight {pair[0]} and word_score {pair[1]} gave the error {error}: tune on utterances that "
                    "have transcripts."
                )
            trials[pair] = Trial(*pair, error)

    for lm_weight in lm_weights:
        for word_score in word_scores:
            run(lm_weight, word_score)
    best = _central_best(trials.values(), steps)
    scale, smallest = 1.0, 0.5**halvings
    while scale >= smallest:
        for up in (-scale, 0.0, scale):
            for right in (-scale, 0.0, scale):
                if len(trials) < max_trials:
                    run(best.lm_weight + up * steps[0], best.word_score + right * steps[1])
        previous, best = best, _central_best(trials.values(), steps)
        if best == previous:
            scale /= 2
    others = sorted(trials.values(), key=lambda trial: (trial.error, trial.lm_weight, trial.word_score))
    return Tuning(best, (best, *(trial for trial in others if trial is not best)))


def _step(values: Sequence[float]) -> float:
    """Returns the mean distance between the values of a grid, or 0 for a single value."""
    return (max(values) - min(values)) / max(1, len(set(values)) - 1)


def _central_best(trials: Iterable[Trial], steps: tuple[float, float]) -> Trial:
    """Returns the trial with the lowest error that is nearest to the mean of all such trials, in units of steps."""
    trials = list(trials)
    lowest = min(trial.error for trial in trials)
    equals = [trial for trial in trials if trial.error == lowest]
    center = (fmean(trial.lm_weight for trial in equals), fmean(trial.word_score for trial in equals))

    def distance(trial: Trial) -> tuple[float, float, float]:
        offsets = (trial.lm_weight - center[0], trial.word_score - center[1])
        squares = (((offset / step) ** 2 if step else 0.0) for offset, step in zip(offsets, steps, strict=True))
        # Round, so that smaller weights win among equal distances instead of rounding errors.
        return round(sum(squares), 9), trial.lm_weight, trial.word_score

    return min(equals, key=distance)
