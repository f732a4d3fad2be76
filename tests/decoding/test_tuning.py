"""Tuning of weights: finds the minimum on, between and beyond the grid, deterministically."""

from __future__ import annotations

import math

import pytest

from hf_speech.decoding.tuning import tune_decoder
from hf_speech.errors import HFSpeechError

GRID = {"lm_weights": (0.0, 1.0, 2.0), "word_scores": (-1.0, 0.0, 1.0)}


def bowl(lm_weight: float, word_score: float, *, at: tuple[float, float]) -> float:
    """Returns an error with a single minimum."""
    return (lm_weight - at[0]) ** 2 + (word_score - at[1]) ** 2


def test_finds_the_best_of_a_grid():
    found = tune_decoder(lambda *pair: bowl(*pair, at=(1.0, 1.0)), **GRID, halvings=0)
    assert (found.best.lm_weight, found.best.word_score, found.best.error) == (1.0, 1.0, 0.0)


@pytest.mark.parametrize("at", [(0.75, -0.25), (1.5, 0.75), (4.25, -3.0), (0.0, 2.5)])
def test_searches_between_and_beyond_the_grid(at):
    found = tune_decoder(lambda *pair: bowl(*pair, at=at), **GRID, halvings=2)
    assert (found.best.lm_weight, found.best.word_score) == at


def test_prefers_the_middle_of_equal_weights():
    """Returns an error that is constant from 0.5 to 1.5 and from 0 to 1, like word error rates."""

    def error(lm_weight: float, word_score: float) -> float:
        return 0.1 if 0.5 <= lm_weight <= 1.5 and 0.0 <= word_score <= 1.0 else 0.2

    found = tune_decoder(error, **GRID, halvings=2)
    assert (found.best.lm_weight, found.best.word_score) == (1.0, 0.5)


def test_measures_each_pair_once_in_a_fixed_order():
    runs: list[list[tuple[float, float]]] = []
    for _ in range(2):
        runs.append([])
        found = tune_decoder(lambda *pair: runs[-1].append(pair) or bowl(*pair, at=(0.3, 0.3)), **GRID)
    assert runs[0] == runs[1]
    assert len(set(runs[0])) == len(runs[0]) == len(found.trials)
    assert runs[0][:4] == [(0.0, -1.0), (0.0, 0.0), (0.0, 1.0), (1.0, -1.0)]
    assert min(lm_weight for lm_weight, _ in runs[0]) == 0.0


def test_limits_trials_after_the_grid():
    found = tune_decoder(lambda *pair: bowl(*pair, at=(0.3, 0.3)), **GRID, max_trials=11)
    assert len(found.trials) == 11
    assert len(tune_decoder(lambda *pair: bowl(*pair, at=(0.3, 0.3)), **GRID, max_trials=1).trials) == 9


def test_tunes_a_single_weight():
    found = tune_decoder(lambda *pair: bowl(*pair, at=(0.75, 3.0)), lm_weights=(0, 1, 2), word_scores=(0.5,))
    assert (found.best.lm_weight, found.best.word_score) == (0.75, 0.5)


def test_the_table_starts_with_the_best():
    found = tune_decoder(lambda *pair: bowl(*pair, at=(1.0, 0.0)) / 100, **GRID, halvings=0)
    errors = [trial.error for trial in found.trials]
    assert errors == sorted(errors)
    lines = found.format_table(max_rows=3).splitlines()
    assert lines[2].split() == ["1.000", "0.000", "0.00"]
    assert lines[3].split() == ["0.000", "0.000", "1.00"]
    assert lines[-1] == "... and 6 more"
    assert len(lines) == 6


def test_rejects_empty_data_and_invalid_errors():
    with pytest.raises(HFSpeechError, match="no weights"):
        tune_decoder(lambda *_: 0.0, lm_weights=())
    with pytest.raises(HFSpeechError, match="no weights"):
        tune_decoder(lambda *_: 0.0, lm_weights=(-1.0, 0.0))
    with pytest.raises(HFSpeechError, match="gave the error nan"):
        tune_decoder(lambda *_: math.nan)
