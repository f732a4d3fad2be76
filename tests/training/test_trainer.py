from __future__ import annotations

import numpy as np

from hf_speech.training.trainer import LengthBatchSampler

LENGTHS = np.random.default_rng(0).uniform(0.3, 3.0, 203)


def test_every_row_once() -> None:
    assert sorted(LengthBatchSampler(LENGTHS, 8)) == list(range(203))


def test_batches_have_similar_lengths_in_random_order() -> None:
    order = list(LengthBatchSampler(LENGTHS, 8))
    batches = [LENGTHS[order[start : start + 8]] for start in range(0, 200, 8)]
    spread = np.mean([batch.max() - batch.min() for batch in batches])
    assert spread < 0.3
    means = [batch.mean() for batch in batches]
    # Neither ascending nor descending: the lengths of neighbouring batches are unrelated.
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.5
    assert np.sign(np.diff(means)).sum() < len(means) / 2


def test_order_depends_on_seed_and_epoch_alone() -> None:
    sampler = LengthBatchSampler(LENGTHS, 8, seed=1)
    first = list(sampler)
    assert list(sampler) == first
    sampler.set_epoch(1)
    second = list(sampler)
    assert second != first
    other = LengthBatchSampler(LENGTHS, 8, seed=1)
    other.set_epoch(1)
    assert list(other) == second
    assert list(LengthBatchSampler(LENGTHS, 8, seed=2)) != first


def test_fewer_rows_than_a_batch() -> None:
    assert sorted(LengthBatchSampler(LENGTHS[:3], 8)) == [0, 1, 2]
