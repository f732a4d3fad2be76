"""Profiling of training, and cached features."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch

from hf_speech.data.augmentation import Augmentation
from hf_speech.errors import RecipeError
from hf_speech.training import datasets, load_recipe, train
from hf_speech.training.profile import Profile

SHORT = ["--training.num_train_epochs", "2", "--training.profile", "true"]


def test_detects_a_slow_loader(
    tones_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def dawdle(self: Augmentation, samples, *args):
        time.sleep(0.02)
        return samples

    monkeypatch.setattr(Augmentation, "__call__", dawdle)
    words = [*SHORT, "--augmentation.gain", "[-1, 1]", "--training.dataloader_num_workers", "0"]
    run_dir = train(load_recipe(tones_recipe, words), tmp_path / "run", splits=()).run_dir
    profile = json.loads((run_dir / "training.json").read_text())["profile"]
    printed = capsys.readouterr().out
    seconds, steps = profile["seconds"], profile["steps"]
    assert steps == max(int(path.name.rpartition("-")[2]) for path in (run_dir / "checkpoints").iterdir())
    utterances = 2 * json.loads((run_dir / "inspection.json").read_text())["splits"]["train"]["num_good"]
    assert 0.02 * utterances < seconds["augment"] < seconds["wait"], "nobody else makes the batches"
    assert min(seconds.values()) > 0
    assert f"Milliseconds per step ({steps} steps, no loader process" in printed
    assert "raise training.dataloader_num_workers" in printed


def test_no_advice_for_a_fast_loader() -> None:
    profile = Profile(num_workers=2)
    profile.add_batch(torch.tensor([0.1, 0.2, 0.3]))
    profile.add_wait(0.001)
    profile.seconds["step"], profile.steps = 0.5, 2
    assert str(profile) == (
        "Milliseconds per step (2 steps, 2 loader processes):\n"
        "  loader     read 50.0   augment 100.0   features 150.0\n"
        "  training   wait 0.5 (0.2%)   step 250.0"
    )


@pytest.mark.parametrize(
    "augmentation", [["--augmentation.noise_snr", "null"], ["--augmentation.variants", "2"]], ids=["as-it-is", "varied"]
)
def test_cached_features_train_the_same_model(
    tones_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, augmentation: list[str]
) -> None:
    monkeypatch.setenv("HF_SPEECH_CACHE", str(tmp_path / "cache"))
    losses = []
    for cached in ("false", "true"):
        words = [
            "--training.num_train_epochs",
            "3",
            "--training.cache_features",
            cached,
            *augmentation,
        ]
        run_dir = train(load_recipe(tones_recipe, words), tmp_path / cached, splits=()).run_dir
        log = json.loads((run_dir / "training.json").read_text())["log"]
        losses.append([entry["loss"] for entry in log if "loss" in entry])
    assert (tmp_path / "cache" / "features").is_dir()
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_rejects_caching_of_changing_features_before_making_copies(
    tones_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets, "multiply", lambda *args: pytest.fail("copies were made"))
    words = ["--training.cache_features", "true"]
    words += ["--augmentation.gain", "[-6, 6]", "--augmentation.tempo_copies", "[1]"]
    with pytest.raises(RecipeError, match="cache_features keeps features that augmentation would change"):
        train(load_recipe(tones_recipe, words), tmp_path / "run")
