"""A signal that announces the end of the job: one checkpoint, status 75, and the same weights after `--resume`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.data_loader import prepare_data_loader
from safetensors.torch import load_file
from tests.training.launching import CONFIGURATION, REPOSITORY, launch_command, launch_two
from transformers import TrainerCallback

from hf_speech.errors import PreemptedError
from hf_speech.training import load_recipe, train
from hf_speech.training.checkpoints import find_fault, list_checkpoints
from hf_speech.training.preemption import shield_loader

DRIVER = Path(__file__).with_name("faults_driver.py")
pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="this system has no SIGUSR1")


class SignalAt(TrainerCallback):
    """Sends this process a signal in a step or in the evaluation after it, and counts its calls."""

    def __init__(self, step: int, number: int, moment: str = "on_step_begin") -> None:
        self.step, self.number, self.calls = step, number, 0
        setattr(self, moment, self.send)

    def send(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            self.calls += 1
            os.kill(os.getpid(), self.number)


def last_weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(list_checkpoints(run)[0] / "model.safetensors")


def assert_same_training(run: Path, other: Path) -> None:
    one, two = last_weights(run), last_weights(other)
    assert list_checkpoints(run)[0].name == list_checkpoints(other)[0].name
    assert all(torch.equal(one[name], two[name]) for name in one)
    logs = [json.loads((folder / "training.json").read_text())["log"] for folder in (run, other)]
    timed = ("runtime", "per_second", "preparation_time")
    found, expected = (
        [{key: value for key, value in entry.items() if not key.endswith(timed)} for entry in log if "step" in entry]
        for log in logs
    )
    assert [entry for entry in found if "train_loss" not in entry] == [
        entry for entry in expected if "train_loss" not in entry
    ]


@pytest.fixture(scope="module")
def recipe_file(tones_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe with dropout, augmentation and averaged weights, which logs every step."""
    path = tmp_path_factory.mktemp("preemption") / "recipe.yaml"
    words = ["--model.dropout", "0.2", "--training.logging_steps", "1", "--training.weight_averaging", "0.9"]
    path.write_text(load_recipe(tones_recipe, words).to_yaml())
    return path


@pytest.fixture(scope="module")
def whole(recipe_file: Path) -> Path:
    return train(load_recipe(recipe_file), recipe_file.parent / "whole", splits=()).run_dir


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
@pytest.mark.parametrize(
    ("step", "moment"), [(4, "on_step_begin"), (6, "on_step_begin"), (10, "on_prediction_step"), (19, "on_step_begin")]
)
def test_a_signal_ends_training_with_a_checkpoint_that_resumes_exactly(
    number: int, step: int, moment: str, recipe_file: Path, whole: Path, tmp_path: Path
) -> None:
    before = signal.getsignal(number)
    with pytest.raises(PreemptedError, match=r"Training stopped at step \d+ of 20 because of SIG.*--resume") as caught:
        train(load_recipe(recipe_file), tmp_path / "run", callbacks=[SignalAt(step, number, moment)])
    assert caught.value.exit_status == 75
    assert signal.getsignal(number) == before
    newest = list_checkpoints(tmp_path / "run")[0]
    assert newest.name == f"checkpoint-{step + 1 if moment == 'on_step_begin' else step}"
    assert find_fault(newest) is None
    train(load_recipe(recipe_file), tmp_path / "run", resume=True, splits=())
    assert_same_training(tmp_path / "run", whole)


@pytest.mark.parametrize(("step", "averaging"), [(5, "0"), (20, "0.9")])
def test_a_signal_ends_an_evaluation_that_resume_repeats(
    step: int, averaging: str, recipe_file: Path, tmp_path: Path
) -> None:
    """The best model and the patience of early stopping equal those of an uninterrupted run."""
    words = ["--training.per_device_eval_batch_size", "1", "--training.weight_averaging", averaging]
    words += ["--training.early_stopping_patience", "2"]
    recipe = load_recipe(recipe_file, words)
    whole = train(recipe, tmp_path / "whole", splits=()).run_dir
    signaled = SignalAt(step, signal.SIGTERM, "on_prediction_step")
    with pytest.raises(PreemptedError, match=f"Training stopped at step {step} of 20 because of SIGTERM"):
        train(recipe, tmp_path / "run", callbacks=[signaled])
    assert signaled.calls == 1
    with pytest.raises(PreemptedError, match=f"Training stopped at step {step} of 20"):  # In the repetition, again.
        train(recipe, tmp_path / "run", resume=True, callbacks=[SignalAt(step, signal.SIGTERM, "on_prediction_step")])
    train(recipe, tmp_path / "run", resume=True, splits=())
    assert_same_training(tmp_path / "run", whole)
    best, expected = (load_file(folder / "model.safetensors") for folder in (tmp_path / "run", whole))
    assert all(torch.equal(best[name], expected[name]) for name in expected)


def test_a_signal_before_the_first_step_makes_resume_start_over(
    recipe_file: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hf_speech.training import run as training_run

    make_trainer = training_run.make_trainer
    monkeypatch.setattr(training_run, "make_trainer", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(PreemptedError, match="outside of the training loop"):
        train(load_recipe(recipe_file), tmp_path / "run")
    monkeypatch.setattr(training_run, "make_trainer", make_trainer)
    train(load_recipe(recipe_file), tmp_path / "run", resume=True, splits=())
    assert_same_training(tmp_path / "run", whole)


class Processes(torch.utils.data.Dataset[int]):
    """A slow dataset whose items are the ids of the processes that read them."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> int:
        time.sleep(0.05)
        return os.getpid()


@pytest.mark.parametrize(
    "numbers", [[signal.SIGTERM] * 3, [signal.SIGUSR1, signal.SIGTERM, signal.SIGTERM], [signal.SIGINT, signal.SIGINT]]
)
def test_loader_processes_survive_signals_and_end_with_training(numbers: list[int]) -> None:
    loader = shield_loader(torch.utils.data.DataLoader(Processes(), batch_size=1, num_workers=2))
    batches = iter(loader)
    workers = {int(next(batches)) for _ in range(2)}
    for number in numbers:
        for process in workers:
            os.kill(process, number)
        time.sleep(0.02)
    assert {int(batch) for batch in batches} == workers
    assert len(workers) == 2
    del batches
    for process in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


def signal_itself(worker: int) -> None:
    """Sends the signals that a process group receives while loader processes start."""
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
        os.kill(os.getpid(), number)


@pytest.mark.parametrize(
    "method", ["fork", *(pytest.param(name, marks=pytest.mark.slow) for name in ("forkserver", "spawn"))]
)
def test_loader_processes_survive_signals_while_they_start(method: str) -> None:
    loader = torch.utils.data.DataLoader(
        Processes(), num_workers=2, multiprocessing_context=method, worker_init_fn=signal_itself
    )
    prepared = prepare_data_loader(loader, put_on_device=False)  # As the Trainer does.
    assert len({int(process) for process in shield_loader(prepared)}) == 2
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & {signal.SIGTERM, signal.SIGUSR1, signal.SIGINT}


def run_until_step(
    command: Sequence[str], run: Path, sign: str = "checkpoints/checkpoint-*/sha256.json"
) -> subprocess.Popen[str]:
    """Starts a training and waits for its first checkpoint, or another file in the run folder."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=REPOSITORY, start_new_session=True
    )
    until = time.monotonic() + 500
    while not list(run.glob(sign)):
        assert process.poll() is None, process.communicate()[0][-2000:]
        if time.monotonic() > until:
            process.terminate()
            raise AssertionError(f"{sign} was not written")
        time.sleep(0.02)
    return process


LONG = ("--training.num_train_epochs", "400", "--training.logging_steps", "1")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
@pytest.mark.parametrize("group", [False, True])
def test_the_command_line_ends_with_status_75(number: int, group: bool, tones_recipe: Path, tmp_path: Path) -> None:
    """The signal is sent to the process, or also to its loader processes."""
    run = tmp_path / "run"
    words = ["train", str(tones_recipe), "--output_dir", str(run), *LONG, "--training.dataloader_num_workers", "2"]
    process = run_until_step([sys.executable, "-m", "hf_speech.cli", *words], run)
    start = time.monotonic()
    for _ in range(3 if group else 1):
        (os.killpg if group else os.kill)(process.pid, number)
        time.sleep(0.05)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 75, output[-2000:]
    assert time.monotonic() - start < 30
    assert "Traceback" not in output
    assert find_fault(list_checkpoints(run)[0]) is None


@pytest.mark.slow
@pytest.mark.parametrize("to", ["launcher", "rank 0", "rank 1"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_two_processes_stop_at_the_same_step_and_resume_exactly(
    number: int, to: str, tones_recipe: Path, tmp_path: Path
) -> None:
    words = ["--model.dropout", "0.2", "--training.num_train_epochs", "40", "--training.save_total_limit", "99"]
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(load_recipe(tones_recipe, words).to_yaml())
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert launch_two(DRIVER, str(recipe), str(whole), "never").returncode == 0
    options = (*CONFIGURATION, "--main_process_port", "0")
    process = run_until_step(launch_command(options, DRIVER, str(recipe), str(run), "never"), run)
    start = time.monotonic()
    os.kill(process.pid if to == "launcher" else children(process.pid)[int(to[-1])], number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    assert time.monotonic() - start < 30
    assert output.count("PreemptedError: Training stopped at step") == 2, output[-3000:]
    newest = list_checkpoints(run)[0]
    assert find_fault(newest) is None
    assert sorted(path.name for path in newest.glob("rng_state*")) == ["rng_state_0.pth", "rng_state_1.pth"]
    resumed = launch_two(DRIVER, str(recipe), str(run), "never", "--resume")
    assert resumed.returncode == 0, resumed.stderr[-2000:]
    for name, weight in last_weights(run).items():
        torch.testing.assert_close(weight, last_weights(whole)[name], atol=1e-6, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("to", "number"), [("rank 0", signal.SIGUSR1), ("rank 1", signal.SIGTERM)])
def test_two_processes_abort_a_long_evaluation(to: str, number: int, tones_recipe: Path, tmp_path: Path) -> None:
    """Each evaluation takes a minute; the checkpoint is written within half a minute."""
    recipe, run = tmp_path / "recipe.yaml", tmp_path / "run"
    recipe.write_text(load_recipe(tones_recipe, ["--training.per_device_eval_batch_size", "1"]).to_yaml())
    options = (*CONFIGURATION, "--main_process_port", "0")
    command = launch_command(options, DRIVER, str(recipe), str(run), "slow evaluations")
    process = run_until_step(command, run, "evaluating")
    start = time.monotonic()
    os.kill(children(process.pid)[int(to[-1])], number)
    output, _ = process.communicate(timeout=60)
    assert time.monotonic() - start < 30
    assert output.count("PreemptedError: Training stopped at step 5 of 20") == 2, output[-3000:]
    assert [find_fault(checkpoint) for checkpoint in list_checkpoints(run)] == [None]
    resumed = launch_two(DRIVER, str(recipe), str(run), "never", "--resume")
    assert resumed.returncode == 0, resumed.stderr[-2000:]
    log = json.loads((run / "training.json").read_text())["log"]
    assert [entry["step"] for entry in log if "eval_loss" in entry] == [5, 10, 15, 20]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("to", "number"), [("launcher", signal.SIGTERM), ("launcher", signal.SIGUSR1), ("rank 1", signal.SIGTERM)]
)
def test_the_launcher_ends_with_status_75(to: str, number: int, tones_recipe: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(load_recipe(tones_recipe, LONG).to_yaml())
    command = [sys.executable, "-m", "hf_speech.training.launch", *CONFIGURATION, "--main_process_port", "0"]
    script = str(REPOSITORY / "scripts" / "train.py")
    process = run_until_step([*command, script, str(recipe), "--output_dir", str(run)], run)
    os.kill(process.pid if to == "launcher" else children(process.pid)[1], number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 75, output[-3000:]
    assert find_fault(list_checkpoints(run)[0]) is None


def children(parent: int) -> list[int]:
    """Returns the processes of a launcher, by rank."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"\nPPid:\t{parent}\n" in (folder / "status").read_text():
                variables = (folder / "environ").read_bytes().split(b"\0")
                found[next(int(line[5:]) for line in variables if line.startswith(b"RANK="))] = int(folder.name)
        except (OSError, StopIteration):
            continue
    return [found[rank] for rank in sorted(found)]
