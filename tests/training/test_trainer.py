from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import TrainingArguments
from transformers.trainer_callback import TrainerControl, TrainerState

from hf_speech.training.samplers import DurationBatchSampler, LengthBatchSampler
from hf_speech.training.trainer import EpochBegin, SpeechTrainer

LENGTHS = np.random.default_rng(0).uniform(0.3, 3.0, 203)


def test_samples_every_row_once() -> None:
    assert sorted(LengthBatchSampler(LENGTHS, 8)) == list(range(203))


def test_batches_contain_similar_lengths_in_random_order() -> None:
    order = list(LengthBatchSampler(LENGTHS, 8))
    batches = [LENGTHS[order[start : start + 8]] for start in range(0, 200, 8)]
    spread = np.mean([batch.max() - batch.min() for batch in batches])
    assert spread < 0.3
    means = [batch.mean() for batch in batches]
    # Neither ascending nor descending: the lengths of neighboring batches are unrelated.
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.5
    assert np.sign(np.diff(means)).sum() < len(means) / 2


def test_the_order_depends_only_on_seed_and_epoch() -> None:
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


def test_duration_batches_fill_the_budget_and_contain_every_row_once() -> None:
    sampler = DurationBatchSampler(LENGTHS, 12.0)
    batches = list(sampler)
    assert len(batches) == len(sampler)
    assert sorted(index for batch in batches for index in batch) == list(range(203))
    seconds = [LENGTHS[batch].max() * len(batch) for batch in batches]
    assert max(seconds) <= 12.0
    assert np.median(seconds) > 9.0


def test_the_number_of_duration_batches_is_constant_and_their_order_changes() -> None:
    sampler = DurationBatchSampler(LENGTHS, 12.0, seed=1)
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    assert first != second
    assert sorted(first) == sorted(second)
    assert sorted(DurationBatchSampler(LENGTHS, 12.0, seed=2)) != sorted(first)


def test_duration_batches_for_several_processes_and_a_long_row() -> None:
    sampler = DurationBatchSampler(LENGTHS, 12.0, divisible_by=7)
    assert len(sampler) % 7 == 0
    assert sorted(index for batch in sampler for index in batch) == list(range(203))
    assert sorted(map(sorted, DurationBatchSampler([1.0, 1.0, 60.0], 4.0))) == [[0, 1], [2]]


def test_lengths_follow_the_epoch_of_the_dataset(tmp_path: Path) -> None:
    class Growing(torch.utils.data.Dataset):
        def __init__(self) -> None:
            self.durations = [1.0, 2.0, 3.0, 4.0]

        def __len__(self) -> int:
            return 4

        def set_epoch(self, epoch: int) -> None:
            self.durations = [1.0 + epoch * index for index in range(4)]

        def __getitem__(self, index: int) -> dict[str, int]:
            return {"index": index}

    trainer = SpeechTrainer(
        model=torch.nn.Linear(1, 1),
        args=TrainingArguments(str(tmp_path), report_to="none", use_cpu=True),
        train_dataset=Growing(),
    )
    trainer.get_train_dataloader()
    trainer.set_epoch(5)
    assert trainer._sampler is not None
    np.testing.assert_array_equal(trainer._sampler.lengths, [1, 6, 11, 16])


def test_duration_batches_keep_evaluation_batches_equal(tmp_path: Path) -> None:
    class Rows(torch.utils.data.Dataset):
        durations = (1.0, 2.0, 3.0, 4.0)

        def __len__(self) -> int:
            return 4

        def __getitem__(self, index: int) -> dict[str, int]:
            return {"index": index}

    trainer = SpeechTrainer(
        model=torch.nn.Linear(1, 1),
        args=TrainingArguments(str(tmp_path), report_to="none", use_cpu=True),
        train_dataset=Rows(),
        max_batch_seconds=4.0,
    )
    assert len(list(trainer.get_train_dataloader().batch_sampler)) == 3
    assert trainer.accelerator.even_batches


@pytest.mark.parametrize(
    ("epoch", "number"), [(None, 0), (0.0, 0), (0.99, 0), (1.0, 1), (2.9999999999, 3), (3.5, 3), (0.5, 0)]
)
def test_tracks_the_current_epoch(epoch: float | None, number: int) -> None:
    numbers: list[int] = []
    EpochBegin(numbers.append).on_epoch_begin(None, TrainerState(epoch=epoch), TrainerControl())
    assert numbers == [number]


def test_the_incomplete_batch_has_utterances_of_any_length() -> None:
    ranks = np.argsort(np.argsort(LENGTHS)) / len(LENGTHS)
    sampler = LengthBatchSampler(LENGTHS, 16)
    means = []
    for epoch in range(100):
        sampler.set_epoch(epoch)
        order = list(sampler)
        assert sorted(order) == list(range(203))
        means.append(ranks[order[-(203 % 16) :]].mean())
    assert np.mean(means) == pytest.approx(0.5, abs=0.05)
