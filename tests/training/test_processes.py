"""Two processes train as one does, with the same global batch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from transformers.trainer_utils import get_last_checkpoint

from hf_speech.training import load_recipe, train

REPOSITORY = Path(__file__).resolve().parents[2]


def log(run: Path) -> list[dict[str, float]]:
    last = get_last_checkpoint(str(run / "checkpoints"))
    return json.loads((Path(last) / "trainer_state.json").read_text())["log_history"]


@pytest.mark.slow
@pytest.mark.parametrize("task", ["tones", "beeps"])
def test_two_processes_give_the_losses_and_metrics_of_one(
    task: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    recipe: Path = request.getfixturevalue(f"{task}_recipe")
    words = ["--training.num_train_epochs", "3", "--training.load_best_model_at_end", "false"]
    loaded = load_recipe(recipe, words)
    batch = loaded.training.per_device_train_batch_size
    one = train(loaded, tmp_path / "one").run_dir
    launcher = [
        *(sys.executable, "-m", "accelerate.commands.launch"),
        *("--config_file", str(REPOSITORY / "recipes" / "accelerate" / "cpu.yaml"), "--main_process_port", "0"),
    ]
    job = [str(REPOSITORY / "scripts" / "train.py"), str(recipe), "--output_dir", str(tmp_path / "two"), *words]
    command = [*launcher, *job, "--training.per_device_train_batch_size", str(batch // 2)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("utterances inspected") == 1  # Only the first process speaks.
    losses, others = ([entry["loss"] for entry in log(run) if "loss" in entry] for run in (one, tmp_path / "two"))
    assert others == pytest.approx(losses, abs=1e-4)
    metric = loaded.task.best_metric
    metrics, others = (
        [entry[f"eval_{metric}"] for entry in log(run) if f"eval_{metric}" in entry] for run in (one, tmp_path / "two")
    )
    assert others == pytest.approx(metrics, abs=1e-9)
    reports = [json.loads((run / "evaluation" / "test.json").read_text()) for run in (one, tmp_path / "two")]
    assert reports[1]["metrics"] == pytest.approx(reports[0]["metrics"], abs=1e-9)
