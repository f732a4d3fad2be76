"""What was killed, and when: the next `--resume` ends with the weights of a training that nothing happened to."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.training.launching import launch_two

from hf_speech.errors import TrainingError
from hf_speech.training import load_recipe, train
from hf_speech.training.averaging import WEIGHTS_FILE
from hf_speech.training.checkpoints import find_fault

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


def same(one: Path, two: Path) -> bool:
    first, second = (load_file(folder / "model.safetensors") for folder in (one, two))
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_and_resumed_is_as_if_nothing_had_happened(
    moment: str, tones_run: Path, tones_recipe: Path, tmp_path: Path
) -> None:
    command = [sys.executable, str(DRIVER), str(tones_recipe), str(tmp_path / "run"), moment]
    killed = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    train(load_recipe(tones_recipe), tmp_path / "run", resume=True)
    assert same(tmp_path / "run", tones_run)
    for split in ("validation", "test"):
        assert (tmp_path / "run" / "evaluation" / f"{split}.json").is_file()


@pytest.fixture(scope="module")
def run_of_two(tones_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of two processes that nothing happens to."""
    folder = tmp_path_factory.mktemp("two") / "run"
    done = launch_two(DRIVER, str(tones_recipe), str(folder), "never")
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("rank", ["0", "1"])
@pytest.mark.parametrize("moment", ["in a step", "in an evaluation"])
def test_when_one_of_two_processes_is_killed_the_other_ends_too_and_both_can_go_on(
    rank: str, moment: str, run_of_two: Path, tones_recipe: Path, tmp_path: Path
) -> None:
    killed = launch_two(DRIVER, str(tones_recipe), str(tmp_path / "run"), moment, rank)
    assert killed.returncode != 0
    assert not (tmp_path / "run" / "model.safetensors").exists()
    resumed = launch_two(DRIVER, str(tones_recipe), str(tmp_path / "run"), "never", "--resume")
    assert resumed.returncode == 0, resumed.stderr[-2000:]
    assert "Resuming from" in resumed.stdout
    first, second = (load_file(folder / "model.safetensors") for folder in (tmp_path / "run", run_of_two))
    for name, weight in first.items():
        torch.testing.assert_close(weight, second[name], atol=1e-6, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("mount") is None,
    reason="needs root to mount a disk",
)
@pytest.mark.parametrize("kibibytes", [90, 150, 200, 260, 330])
def test_a_full_disk_is_one_sentence_and_training_goes_on_when_there_is_room(
    kibibytes: int, tones_run: Path, tones_recipe: Path, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kibibytes}k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine does not let a disk be mounted")
    try:
        with pytest.raises(TrainingError, match=r"is full: make room, then go on with --resume\."):
            train(load_recipe(tones_recipe), disk / "run")
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        # The disk may have been full before the first checkpoint was whole.
        whole = any(find_fault(path) is None for path in (disk / "run" / "checkpoints").glob("checkpoint-*"))
        run = train(load_recipe(tones_recipe), disk / "run", resume=whole, overwrite=not whole).run_dir
        assert same(run, tones_run)
    finally:
        subprocess.run(["umount", str(disk)], check=False)


def test_a_checkpoint_without_the_weights_that_wait_is_not_whole(tones_recipe: Path, tmp_path: Path) -> None:
    words = ["--training.weight_averaging", "0.9", "--training.load_best_model_at_end", "false"]
    whole = train(load_recipe(tones_recipe, words), tmp_path / "whole").run_dir
    shutil.copytree(whole, tmp_path / "cut")
    last = max((tmp_path / "cut" / "checkpoints").iterdir(), key=lambda path: int(path.name.rpartition("-")[2]))
    (last / WEIGHTS_FILE).unlink()
    train(load_recipe(tones_recipe, words), tmp_path / "cut", resume=True)
    assert same(tmp_path / "cut", whole)
