"""Killed training runs resume exactly.

The tests compare the weights of the last checkpoint and all logged losses, not the final model: the best checkpoint may
be older than the kill, and would be the same however training continued. Another test shows that this comparison
detects every kind of wrong resume.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.training.faults_driver import die_at_call
from tests.training.launching import launch_two
from transformers import TrainerCallback

from hf_speech.data.augmentation import Augmentation
from hf_speech.errors import TrainingError
from hf_speech.training import load_recipe, train
from hf_speech.training.averaging import WEIGHTS_FILE
from hf_speech.training.checkpoints import find_fault, list_checkpoints
from hf_speech.training.samplers import LengthBatchSampler
from hf_speech.training.trainer import SpeechTrainer

DRIVER = Path(__file__).with_name("faults_driver.py")
MOMENTS = (
    "in a step",
    "writing the weights of a checkpoint",
    "writing the optimizer of a checkpoint",
    "after an epoch, evaluating",
    "in an evaluation",
    "at the end, writing the model",
    "at the end, evaluating",
)
# Dropout, augmentation and momenta, so that a resume that loses one of them shows.
SENSITIVE = ("--model.dropout", "0.2", "--augmentation.gain", "[-6, 6]", "--training.logging_steps", "1")


@pytest.fixture(scope="module")
def sensitive_recipe(tones_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe whose weights depend on all state that a resume must restore."""
    path = tmp_path_factory.mktemp("sensitive") / "sensitive.yaml"
    path.write_text(load_recipe(tones_recipe, SENSITIVE).to_yaml())
    return path


@pytest.fixture(scope="module")
def whole_run(sensitive_recipe: Path) -> Path:
    """The run folder of an undisturbed training run; tests only read it."""
    return train(load_recipe(sensitive_recipe), sensitive_recipe.parent / "whole").run_dir


def same(one: Path, two: Path) -> bool:
    first, second = (load_file(folder / "model.safetensors") for folder in (one, two))
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def losses(run: Path) -> list[tuple[int, float, float]]:
    """Returns step, loss and gradient norm of every step in the last checkpoint."""
    state = json.loads((list_checkpoints(run)[0] / "trainer_state.json").read_text())
    return [(entry["step"], entry["loss"], entry["grad_norm"]) for entry in state["log_history"] if "loss" in entry]


def trained_alike(run: Path, other: Path) -> bool:
    """Returns whether two runs have the same final weights and the same losses in all steps."""
    last, other_last = list_checkpoints(run)[0], list_checkpoints(other)[0]
    return last.name == other_last.name and same(last, other_last) and losses(run) == losses(other)


def kill(recipe: Path, run: Path, moment: str) -> None:
    """Trains in another process, which is killed at a given moment."""
    command = [sys.executable, str(DRIVER), str(recipe), str(run), moment]
    killed = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_and_resumed_equals_a_whole_run(
    moment: str, whole_run: Path, sensitive_recipe: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    kill(sensitive_recipe, run, moment)
    train(load_recipe(sensitive_recipe), run, resume=True)
    assert trained_alike(run, whole_run)
    assert same(run, whole_run)
    for split in ("validation", "test"):
        assert (run / "evaluation" / f"{split}.json").is_file()


@pytest.mark.slow
def test_forty_kills_at_random_steps_resume_exactly(
    sensitive_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each kill happens in a forked process; checkpoints are also written in the middle of epochs."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # A fork has none of the threads of its parent.
    words = ["--training.eval_steps", "3", "--training.save_total_limit", "3"]
    recipe = load_recipe(sensitive_recipe, words)

    def train_until(step: int) -> None:
        die_at_call(SpeechTrainer, "training_step", step)
        train(recipe, run, splits=())

    whole = train(recipe, tmp_path / "whole", splits=()).run_dir
    steps = losses(whole)[-1][0]
    draw = random.Random(0)
    for number in range(40):
        run = tmp_path / f"run-{number}"
        process = multiprocessing.get_context("fork").Process(target=train_until, args=(draw.randrange(4, steps + 1),))
        process.start()
        process.join(300)
        assert process.exitcode == -signal.SIGKILL
        train(recipe, run, resume=True, splits=())
        assert trained_alike(run, whole), f"kill {number}"
        shutil.rmtree(run)
    torch.set_num_threads(threads)


# Each changes one aspect of resumed training.
def spoil_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    load = SpeechTrainer._load_rng_state

    def other(self: Any, checkpoint: str | None) -> None:
        load(self, checkpoint)
        torch.manual_seed(4711)

    monkeypatch.setattr(SpeechTrainer, "_load_rng_state", other)


def spoil_dropout(monkeypatch: pytest.MonkeyPatch) -> None:
    at_begin(monkeypatch, lambda model, optimizer: set_dropout(model, 0.5))


def spoil_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    def triple(model: Any, optimizer: Any) -> None:
        for group in optimizer.param_groups:
            group["lr"] *= 3
            group["initial_lr"] *= 3

    at_begin(monkeypatch, triple)


def spoil_order(monkeypatch: pytest.MonkeyPatch) -> None:
    original = LengthBatchSampler.__init__
    monkeypatch.setattr(
        LengthBatchSampler, "__init__", lambda self, lengths, size, seed=0: original(self, lengths, size, seed + 1)
    )


def spoil_augmentation(monkeypatch: pytest.MonkeyPatch) -> None:
    vary = Augmentation.__call__

    def other(self: Any, samples: np.ndarray, rate: int, rng: np.random.Generator, *args: Any) -> np.ndarray:
        rng.random()
        return vary(self, samples, rate, rng, *args)

    monkeypatch.setattr(Augmentation, "__call__", other)


def spoil_optimizer(monkeypatch: pytest.MonkeyPatch) -> None:
    at_begin(monkeypatch, lambda model, optimizer: optimizer.state.clear())


def set_dropout(model: torch.nn.Module, rate: float) -> None:
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = rate
        elif isinstance(getattr(module, "dropout", None), float):
            module.dropout = rate


def at_begin(monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Any, Any], Any]) -> None:
    """Changes training at its beginning."""

    class Spoiler(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            optimizer = kwargs["optimizer"]
            spoil(kwargs["model"], getattr(optimizer, "optimizer", optimizer))

    init = SpeechTrainer.__init__

    def with_spoiler(self: Any, **kwargs: Any) -> None:
        init(self, **kwargs)
        self.add_callback(Spoiler())

    monkeypatch.setattr(SpeechTrainer, "__init__", with_spoiler)


SABOTAGES = [spoil_seed, spoil_dropout, spoil_rate, spoil_order, spoil_augmentation, spoil_optimizer]


def interrupted(run: Path, folder: Path) -> Path:
    """Returns a copy of a run that ends with its second to last checkpoint."""
    shutil.copytree(run, folder)
    newest = list_checkpoints(folder)[0]
    assert len(list_checkpoints(folder)) > 1
    shutil.rmtree(newest)
    (folder / "model.safetensors").unlink()
    return folder


def test_an_interrupted_run_resumes_exactly(whole_run: Path, sensitive_recipe: Path, tmp_path: Path) -> None:
    run = interrupted(whole_run, tmp_path / "run")
    train(load_recipe(sensitive_recipe), run, resume=True, splits=())
    assert trained_alike(run, whole_run)


@pytest.mark.parametrize("sabotage", SABOTAGES)
def test_the_comparison_detects_every_change_of_a_resumed_run(
    sabotage: Callable[[pytest.MonkeyPatch], None],
    whole_run: Path,
    sensitive_recipe: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = interrupted(whole_run, tmp_path / "run")
    sabotage(monkeypatch)
    train(load_recipe(sensitive_recipe), run, resume=True, splits=())
    assert not trained_alike(run, whole_run)


@pytest.fixture(scope="module")
def run_of_two(sensitive_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of two undisturbed processes."""
    folder = tmp_path_factory.mktemp("two") / "run"
    done = launch_two(DRIVER, str(sensitive_recipe), str(folder), "never")
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("rank", ["0", "1"])
@pytest.mark.parametrize("moment", ["in a step", "in an evaluation"])
def test_killing_one_of_two_processes_ends_both_and_both_can_resume(
    rank: str, moment: str, run_of_two: Path, sensitive_recipe: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    killed = launch_two(DRIVER, str(sensitive_recipe), str(run), moment, rank)
    assert killed.returncode != 0
    assert not (run / "model.safetensors").exists()
    resumed = launch_two(DRIVER, str(sensitive_recipe), str(run), "never", "--resume")
    assert resumed.returncode == 0, resumed.stderr[-2000:]
    assert "Resuming from" in resumed.stdout
    first, second = (load_file(list_checkpoints(folder)[0] / "model.safetensors") for folder in (run, run_of_two))
    for name, weight in first.items():
        torch.testing.assert_close(weight, second[name], atol=1e-6, rtol=1e-5)
    assert np.array(losses(run)) == pytest.approx(np.array(losses(run_of_two)), abs=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("mount") is None,
    reason="needs root to mount a disk",
)
@pytest.mark.parametrize("kibibytes", [90, 150, 200, 260, 330])
def test_one_sentence_error_for_a_full_disk_then_resumes(
    kibibytes: int, tones_run: Path, tones_recipe: Path, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kibibytes}k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine does not let a disk be mounted")
    try:
        with pytest.raises(TrainingError, match=r"is full: free space, then continue with --resume\."):
            train(load_recipe(tones_recipe), disk / "run")
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        # The disk may have been full before the first checkpoint was whole.
        whole = any(find_fault(path) is None for path in list_checkpoints(disk / "run"))
        run = train(load_recipe(tones_recipe), disk / "run", resume=whole, overwrite=not whole).run_dir
        assert same(run, tones_run)
    finally:
        subprocess.run(["umount", str(disk)], check=False)


def test_a_checkpoint_without_averaged_weights_is_incomplete(tones_recipe: Path, tmp_path: Path) -> None:
    words = ["--training.weight_averaging", "0.9", "--training.load_best_model_at_end", "false"]
    whole = train(load_recipe(tones_recipe, words), tmp_path / "whole").run_dir
    shutil.copytree(whole, tmp_path / "cut")
    (list_checkpoints(tmp_path / "cut")[0] / WEIGHTS_FILE).unlink()
    train(load_recipe(tones_recipe, words), tmp_path / "cut", resume=True)
    assert same(tmp_path / "cut", whole)
