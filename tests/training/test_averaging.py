from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers.trainer_callback import TrainerControl, TrainerState

from hf_speech.training import load_recipe, train
from hf_speech.training.averaging import WEIGHTS_FILE, WeightAveraging

WORDS = ["--training.weight_averaging", "0.9", "--training.load_best_model_at_end", "false"]


@pytest.fixture(scope="module")
def averaged_run(tones_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(load_recipe(tones_recipe, WORDS), tmp_path_factory.mktemp("averaged") / "run").run_dir


def test_saves_the_average(averaged_run: Path, tones_run: Path) -> None:
    last = max((averaged_run / "checkpoints").iterdir(), key=lambda path: int(path.name.rpartition("-")[2]))
    average = load_file(averaged_run / "model.safetensors")
    weights = load_file(last / WEIGHTS_FILE)
    plain = load_file(tones_run / "checkpoints" / last.name / "model.safetensors")
    # Averaging does not disturb training: the weights beside the average are those of a run without it.
    assert all(torch.equal(weights[key], plain[key]) for key in weights)
    assert all(torch.equal(average[key], value) for key, value in load_file(last / "model.safetensors").items())
    assert any((average[key] - weights[key]).abs().max() > 1e-3 for key in weights)


def test_the_average_is_exponential_and_training_uses_raw_weights() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    callback = WeightAveraging(0.5)
    state = TrainerState(global_step=100)
    event = {"args": None, "state": state, "control": TrainerControl(), "model": model}

    def put(value: float) -> None:
        with torch.no_grad():
            model.weight.fill_(value)

    put(0.0)
    callback.on_train_begin(**event)
    for value in (1.0, 2.0, 4.0):
        put(value)
        callback.on_step_end(**event)
    callback.on_epoch_end(**event)
    assert model.weight.item() == 0.5 * (0.5 * (0.5 * 0 + 0.5 * 1) + 0.5 * 2) + 0.5 * 4
    callback.on_step_begin(**event)
    assert model.weight.item() == 4.0


def test_averages_batch_norm_statistics_like_weights() -> None:
    model = torch.nn.BatchNorm1d(1)
    callback = WeightAveraging(0.5)
    event = {"args": None, "state": TrainerState(global_step=100), "control": TrainerControl(), "model": model}
    callback.on_train_begin(**event)
    model.running_mean.fill_(8.0)
    model.num_batches_tracked.fill_(7)
    callback.on_step_end(**event)
    callback.on_epoch_end(**event)
    assert (model.running_mean.item(), model.num_batches_tracked.item()) == (4.0, 7)
    callback.on_step_begin(**event)
    assert model.running_mean.item() == 8.0


def test_resuming_continues_weights_and_average(averaged_run: Path, tones_recipe: Path, tmp_path: Path) -> None:
    interrupted = tmp_path / "interrupted"
    shutil.copytree(averaged_run, interrupted)
    last = max((interrupted / "checkpoints").iterdir(), key=lambda path: int(path.name.rpartition("-")[2]))
    shutil.rmtree(last)
    train(load_recipe(tones_recipe, WORDS), interrupted, resume=True)
    one, two = (load_file(folder / "model.safetensors") for folder in (averaged_run, interrupted))
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_resuming_a_finished_run_keeps_the_average(averaged_run: Path, tones_recipe: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    shutil.copytree(averaged_run, again)
    (again / "model.safetensors").unlink()
    train(load_recipe(tones_recipe, WORDS), again, resume=True)
    one, two = (load_file(folder / "model.safetensors") for folder in (averaged_run, again))
    assert all(torch.equal(one[key], two[key]) for key in one)
