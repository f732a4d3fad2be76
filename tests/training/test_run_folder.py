"""The run folder: one training run at a time, of one recipe."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hf_speech.common.files import FileError
from hf_speech.errors import RecipeError, TrainingError
from hf_speech.training import load_recipe, train
from hf_speech.training.run_folder import LOCK, locked

HOLDER = """
import sys, time
from pathlib import Path
from hf_speech.training.run_folder import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(600)
"""


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


@pytest.fixture
def held(tones_run: Path, tmp_path: Path):
    """A run folder that is locked by another process, and that process."""
    shutil.copytree(tones_run, tmp_path / "run")
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        yield tmp_path / "run", holder
    finally:
        holder.kill()
        holder.wait()


def test_rejects_a_second_training(held: tuple[Path, subprocess.Popen[str]], tones_recipe: Path) -> None:
    run, holder = held
    holder.send_signal(signal.SIGSTOP)  # The process is idle but running.
    before = snapshot(run)
    for words in ({"resume": True}, {"overwrite": True}):
        with pytest.raises(TrainingError, match=rf"Another training is running in .* \(process {holder.pid} on "):
            train(load_recipe(tones_recipe), run, **words)
    assert snapshot(run) == before


def test_a_killed_training_leaves_no_lock(held: tuple[Path, subprocess.Popen[str]]) -> None:
    run, holder = held
    holder.kill()
    holder.wait()
    assert (run / LOCK).exists()  # The file exists but is not locked.
    start = time.monotonic()
    with locked(run):
        assert time.monotonic() - start < 1
    assert not (run / LOCK).exists()


def test_a_process_locks_a_folder_once_and_removes_its_lock(tmp_path: Path) -> None:
    with locked(tmp_path / "a" / "run"):
        with pytest.raises(TrainingError, match="Another training"), locked(tmp_path / "a" / "run"):
            pass
        with locked(tmp_path / "a" / "other"):
            pass
    assert list((tmp_path / "a").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(FileError), locked(tmp_path / "file" / "run"):
        pass


@pytest.mark.parametrize(
    "words",
    [
        ["--training.learning_rate", "0.123"],
        ["--training.seed", "7", "--training.weight_decay", "0.3"],
        ["--model.hidden_size", "12"],
        ["--features.num_mel_bins", "20"],
        ["--augmentation.noise_snr", "[5, 10]"],
        ["--corpus.test_fraction", "0.25"],
        ["--training.trainer_options", '{"adam_beta1": 0.5}'],
    ],
)
def test_resume_rejects_another_recipe_and_names_its_keys(
    words: list[str], tones_run: Path, tones_recipe: Path
) -> None:
    before = snapshot(tones_run)
    with pytest.raises(RecipeError, match="was trained with another recipe") as caught:
        train(load_recipe(tones_recipe, words), tones_run, resume=True)
    assert all(key.removeprefix("--") in str(caught.value) for key in words[::2])
    assert snapshot(tones_run) == before


def test_resume_accepts_changes_of_duration_and_paths(tones_run: Path, tones_recipe: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tones_run, run)
    moved = shutil.copytree(tones_recipe.parent / "tones", tmp_path / "moved")
    words = ["--training.num_train_epochs", "5", "--data_dir", str(moved), "--training.logging_steps", "3"]
    train(load_recipe(tones_recipe, [*words, "--name", "other"]), run, resume=True, splits=())
    assert max(int(path.name.rpartition("-")[2]) for path in (run / "checkpoints").iterdir()) == 25
    assert "num_train_epochs: 5" in (run / "recipe.yaml").read_text()


def test_other_users_can_read_the_files_of_a_run(tones_run: Path) -> None:
    plain = tones_run.parent / "plain"
    plain.touch()
    for path in tones_run.glob("*.*"):
        if path.is_file():
            assert path.stat().st_mode == plain.stat().st_mode, path.name
