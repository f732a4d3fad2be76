from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from hf_speech.errors import TrainingError
from hf_speech.models import SpeechLSTMForAudioClassification
from hf_speech.training import load_recipe, train
from hf_speech.training.guard import _all_finite


def spoil(monkeypatch: pytest.MonkeyPatch, steps: set[int]) -> list[int]:
    """Makes the loss of some training steps NaN, and records these steps."""
    forward = SpeechLSTMForAudioClassification.forward
    done: list[int] = []

    def spoiled(self: Any, *args: Any, **kwargs: Any) -> Any:
        outputs = forward(self, *args, **kwargs)
        if self.training:
            done.append(len(done) + 1)
            if len(done) in steps:
                outputs.loss = outputs.loss * torch.nan
        return outputs

    monkeypatch.setattr(SpeechLSTMForAudioClassification, "forward", spoiled)
    return done


def test_a_nan_loss_stops_training_and_names_its_utterances(
    tones_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = spoil(monkeypatch, {3})
    with pytest.raises(TrainingError, match=r"gradients of step 3 are not finite .*nonfinite\.json"):
        train(load_recipe(tones_recipe), tmp_path / "run")
    assert done == [1, 2, 3]
    (found,) = json.loads((tmp_path / "run" / "nonfinite.json").read_text())
    assert found["step"] == 3
    recipe = load_recipe(tones_recipe)
    assert len(found["files"]) == recipe.training.per_device_train_batch_size
    known = {audio["path"] for audio in recipe.corpus.load()["train"]["audio"]}
    assert set(found["files"]) <= known


def test_can_skip_steps_with_a_nan_loss(tones_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, {2, 5})
    words = ["--training.nonfinite_loss", "skip", "--training.num_train_epochs", "2"]
    run = train(load_recipe(tones_recipe, words), tmp_path / "run").run_dir
    assert [entry["step"] for entry in json.loads((run / "nonfinite.json").read_text())] == [2, 5]
    assert all(weight.isfinite().all() for weight in load_file(run / "model.safetensors").values())


def test_stops_if_all_steps_are_skipped(tones_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = spoil(monkeypatch, set(range(2, 1000)))
    words = ["--training.nonfinite_loss", "skip", "--training.num_train_epochs", "20"]
    with pytest.raises(TrainingError, match=r"as in the 9 before: lower training\.learning_rate"):
        train(load_recipe(tones_recipe, words), tmp_path / "run")
    assert len(done) == 11


def test_a_skipped_step_does_not_change_batch_norm(
    tones_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    perturb = SpeechLSTMForAudioClassification._perturb
    calls = 0

    def spoiled(self: Any, features: torch.Tensor, *args: Any) -> torch.Tensor:
        nonlocal calls
        calls += self.training
        return perturb(self, features, *args) * (torch.nan if self.training and calls == 3 else 1)

    monkeypatch.setattr(SpeechLSTMForAudioClassification, "_perturb", spoiled)
    words = ["--training.nonfinite_loss", "skip", "--model.stem_channels", "[4]", "--training.num_train_epochs", "2"]
    words += ["--training.load_best_model_at_end", "false"]
    run = train(load_recipe(tones_recipe, words), tmp_path / "run", splits=()).run_dir
    assert [entry["step"] for entry in json.loads((run / "nonfinite.json").read_text())] == [3]
    weights = load_file(run / "model.safetensors")
    assert any("running_mean" in name for name in weights)
    assert all(weight.isfinite().all() for weight in weights.values())
    assert weights[next(name for name in weights if "num_batches_tracked" in name)] == 9


@pytest.mark.parametrize(
    ("values", "finite"),
    [([1.0, -2.0], True), ([1e30, 1e30], True), ([1.0, torch.inf], False), ([torch.nan, 0.0], False), ([], True)],
)
def test_detects_only_values_that_are_not_finite(values: list[float], finite: bool) -> None:
    model = torch.nn.Linear(1, 1)
    if values:
        model.weight.grad, model.bias.grad = torch.tensor([values[:1]]), torch.tensor(values[1:])
    assert _all_finite(model) is finite
