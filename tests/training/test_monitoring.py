"""Monitoring files of training, and the final evaluation."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from transformers import TrainerCallback

from hf_speech.errors import RecipeError
from hf_speech.training import load_recipe, train
from hf_speech.training.checkpoints import write_digests
from hf_speech.training.monitoring import SECONDS_FILE


@pytest.mark.parametrize("validates", [True, False])
def test_writes_gradient_histograms_to_tensorboard(tones_recipe: Path, tmp_path: Path, validates: bool) -> None:
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    words = ["--training.gradient_histograms", "true", "--training.num_train_epochs", "2"]
    if not validates:
        words += ["--corpus.validation_fraction", "0", "--training.load_best_model_at_end", "false"]
    run_dir = train(load_recipe(tones_recipe, words), tmp_path / "run", splits=()).run_dir
    events = event_accumulator.EventAccumulator(str(run_dir / "logs"), {"histograms": 0}).Reload()
    tags = events.Tags()["histograms"]
    assert "gradients/classifier.weight" in tags
    assert "gradients/layers.0.forward_rnn.weight_hh_l0" in tags
    shown = events.Histograms("gradients/classifier.weight")
    steps = [histogram.step for histogram in shown]
    last = max(int(path.name.rpartition("-")[2]) for path in (run_dir / "checkpoints").iterdir())
    assert steps == [0, last // 2], "the first step of each epoch"
    assert all(histogram.histogram_value.num == 32 for histogram in shown), "2 classes, 8 units of each direction"
    assert any(histogram.histogram_value.max > 0 for histogram in shown)


def test_histograms_need_tensorboard(tones_recipe: Path) -> None:
    words = ["--training.gradient_histograms", "true", "--training.report_to", "none"]
    with pytest.raises(RecipeError, match="gradient_histograms needs TensorBoard"):
        load_recipe(tones_recipe, words)


def test_training_time_includes_interrupted_runs(tones_run: Path, tones_recipe: Path, tmp_path: Path) -> None:
    interrupted = tmp_path / "interrupted"
    shutil.copytree(tones_run, interrupted)
    checkpoints = sorted((interrupted / "checkpoints").iterdir(), key=lambda path: int(path.name.rpartition("-")[2]))
    took = [json.loads((checkpoint / SECONDS_FILE).read_text()) for checkpoint in checkpoints]
    assert 0 < took[0] < took[-1] <= json.loads((tones_run / "training.json").read_text())["seconds"]
    shutil.rmtree(checkpoints[-1])
    (checkpoints[-2] / SECONDS_FILE).write_text("1000.0")
    write_digests(checkpoints[-2])
    result = train(load_recipe(tones_recipe), interrupted, resume=True, splits=())
    assert 1000 < result.seconds < 1100
    assert json.loads((interrupted / "training.json").read_text())["seconds"] == result.seconds


@pytest.mark.parametrize("logging_steps", [1, 10])
def test_shows_the_loss_once_it_is_known(
    tones_recipe: Path, tmp_path: Path, logging_steps: int, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--training.max_steps", "2", "--training.eval_steps", "1", "--training.logging_steps", str(logging_steps)]
    train(load_recipe(tones_recipe, words), tmp_path / "run", splits=())
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step")]
    assert len(lines) == 2
    assert all("validation loss" in line and "nan" not in line for line in lines)
    assert ["   loss " in line for line in lines] == [logging_steps == 1] * 2


def test_does_not_evaluate_the_test_split_unless_requested(tones_recipe: Path, tmp_path: Path) -> None:
    class Counter(TrainerCallback):
        evaluations = 0

        def on_evaluate(self, *args: object, **kwargs: object) -> None:
            self.evaluations += 1

    counter = Counter()
    recipe = load_recipe(tones_recipe, ["--training.num_train_epochs", "2"])
    result = train(recipe, tmp_path / "run", splits=["validation"], callbacks=[counter])
    assert list(result.metrics) == ["validation"]
    assert not (tmp_path / "run" / "evaluation" / "test.json").exists()
    assert counter.evaluations == 2


def test_trains_without_a_test_split(tones_recipe: Path, tmp_path: Path) -> None:
    recipe = load_recipe(tones_recipe, ["--training.max_steps", "1", "--corpus.test_fraction", "0"])
    assert list(train(recipe, tmp_path / "run").metrics) == ["validation"]
