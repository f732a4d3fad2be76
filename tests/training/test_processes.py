"""Two processes train like one with the same global batch, on one machine or two."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.training.launching import CONFIGURATION, REPOSITORY, launch_command, launch_two
from transformers.trainer_utils import get_last_checkpoint

from hf_speech.training import load_recipe, train

EPOCHS = ["--training.num_train_epochs", "3", "--training.load_best_model_at_end", "false"]
ADDRESSES = ("10.77.46.1", "10.77.46.2")


def log(run: Path) -> list[dict[str, float]]:
    last = get_last_checkpoint(str(run / "checkpoints"))
    return json.loads((Path(last) / "trainer_state.json").read_text())["log_history"]


def training(recipe: Path, output: Path) -> tuple[Path, *tuple[str, ...]]:
    """Returns the script and arguments with which each of two processes trains on half of the recipe's batch."""
    half = str(load_recipe(recipe).training.per_device_train_batch_size // 2)
    words = (str(recipe), "--output_dir", str(output), *EPOCHS, "--training.per_device_train_batch_size", half)
    return (REPOSITORY / "scripts" / "train.py", *words)


def assert_trained_alike(recipe: Path, one: Path, two: Path) -> None:
    """Compares the losses, the metrics of each epoch, and those of the test split."""
    losses, others = ([entry["loss"] for entry in log(run) if "loss" in entry] for run in (one, two))
    assert others == pytest.approx(losses, abs=1e-4)
    metric = load_recipe(recipe).task.best_metric
    metrics, others = (
        [entry[f"eval_{metric}"] for entry in log(run) if f"eval_{metric}" in entry] for run in (one, two)
    )
    assert len(metrics) == 3
    assert others == pytest.approx(metrics, abs=1e-9)
    reports = [json.loads((run / "evaluation" / "test.json").read_text()) for run in (one, two)]
    assert reports[1]["metrics"] == pytest.approx(reports[0]["metrics"], abs=1e-9)


@pytest.fixture(params=["tones", "beeps"])
def recipe(request: pytest.FixtureRequest) -> Path:
    """A recipe of each task."""
    return request.getfixturevalue(f"{request.param}_recipe")


@pytest.mark.slow
def test_two_processes_that_fill_batches_with_seconds_evaluate_equally_often(
    tones_recipe: Path, tmp_path: Path
) -> None:
    # 20 utterances for validation in batches of 4 are three for one process, and two for the other.
    words = ("--training.max_batch_seconds", "3", "--training.per_device_eval_batch_size", "4")
    done = launch_two(*training(tones_recipe, tmp_path / "two"), *words)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_two_processes_give_the_losses_and_metrics_of_one(recipe: Path, tmp_path: Path) -> None:
    one = train(load_recipe(recipe, EPOCHS), tmp_path / "one").run_dir
    done = launch_two(*training(recipe, tmp_path / "two"))
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("utterances inspected") == 1  # Only the first process prints.
    assert_trained_alike(recipe, one, tmp_path / "two")


@pytest.fixture
def hosts() -> Iterator[list[list[str]]]:
    """Two hosts, simulated by connected network namespaces; returns the prefix of commands for each."""
    names, cables = [f"hosts{os.getpid()}-{index}" for index in (0, 1)], [f"c{os.getpid()}-{index}" for index in (0, 1)]

    def ip(*words: str) -> None:
        done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"network namespaces cannot be made here: {done.stderr.strip()}")

    if shutil.which("ip") is None:
        pytest.skip("network namespaces are made with ip (iproute2), which is not installed")
    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", cables[0], "type", "veth", "peer", "name", cables[1])
        for name, cable, address in zip(names, cables, ADDRESSES, strict=True):
            ip("link", "set", cable, "netns", name)
            ip("-n", name, "addr", "add", f"{address}/24", "dev", cable)
            ip("-n", name, "link", "set", cable, "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield [
            ["ip", "netns", "exec", name, "env", f"GLOO_SOCKET_IFNAME={cable}"]
            for name, cable in zip(names, cables, strict=True)
        ]
    finally:
        for name in names:  # With it goes its end of the cable, and with that the other end.
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


@pytest.mark.slow
def test_two_hosts_give_the_losses_and_metrics_of_one(hosts: list[list[str]], recipe: Path, tmp_path: Path) -> None:
    one = train(load_recipe(recipe, EPOCHS), tmp_path / "one").run_dir
    options = (*CONFIGURATION, "--num_machines", "2", "--num_processes", "2")
    options += ("--main_process_ip", ADDRESSES[0], "--main_process_port", "29461", "--machine_rank")
    processes = [
        subprocess.Popen(
            [*host, *launch_command((*options, str(rank)), *training(recipe, tmp_path / "two"))],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=REPOSITORY,
        )
        for rank, host in enumerate(hosts)
    ]
    try:
        printed = [process.communicate(timeout=600)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(text[-2000:] for text in printed)
    assert [text.count("utterances inspected") for text in printed] == [1, 0]  # Only the first process prints.
    assert_trained_alike(recipe, one, tmp_path / "two")
