from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from training_runs import cut_off, step_of

from hf_speech.errors import HFSpeechError
from hf_speech.training import load_recipe, train


def test_the_run_folder_is_complete(tones_run: Path) -> None:
    names = {path.relative_to(tones_run).as_posix() for path in tones_run.rglob("*") if path.is_file()}
    assert names >= {
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "modeling_speech_lstm.py",
        "feature_extraction_speech.py",
        "recipe.yaml",
        "training.json",
        "inspection.json",
        "curves.png",
        "evaluation/test.json",
        "evaluation/validation.json",
        "evaluation/test.csv",
    }
    # Pickles are only in checkpoints.
    assert not [
        name for name in names if name.endswith((".bin", ".pt", ".pth")) and not name.startswith("checkpoints/")
    ]


def test_training_reaches_good_metrics(tones_run: Path) -> None:
    report = json.loads((tones_run / "evaluation" / "test.json").read_text())
    assert report["metrics"]["accuracy"] == 1.0
    assert report["num_utterances"] == 20
    log = json.loads((tones_run / "training.json").read_text())["log"]
    losses = [entry["eval_loss"] for entry in log if "eval_loss" in entry]
    assert losses[-1] < losses[0]


def test_saves_the_resolved_recipe(tones_run: Path, tones_recipe: Path) -> None:
    values = yaml.safe_load((tones_run / "recipe.yaml").read_text())
    assert values["training"]["weight_decay"] == 0.01
    assert load_recipe(tones_run / "recipe.yaml") == load_recipe(tones_recipe)


def test_the_same_seed_gives_the_same_weights(tones_run: Path, tones_recipe: Path, tmp_path: Path) -> None:
    again = train(load_recipe(tones_recipe), tmp_path / "again").run_dir
    one, two = (load_file(folder / "model.safetensors") for folder in (tones_run, again))
    assert all(torch.equal(one[key], two[key]) for key in one)
    other = train(load_recipe(tones_recipe, ["--training.seed", "1"]), tmp_path / "other").run_dir
    assert any(not torch.equal(one[key], value) for key, value in load_file(other / "model.safetensors").items())


def test_resume_continues_to_the_same_weights(tones_run: Path, tones_recipe: Path, tmp_path: Path) -> None:
    *_, before, _ = sorted(map(step_of, (tones_run / "checkpoints").iterdir()))
    interrupted = cut_off(tones_run, tmp_path / "interrupted", before)
    train(load_recipe(tones_recipe), interrupted, resume=True)
    one, two = (load_file(folder / "model.safetensors") for folder in (tones_run, interrupted))
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_resume_in_the_middle_of_an_epoch_continues_to_the_same_weights(tones_recipe: Path, tmp_path: Path) -> None:
    words = ["--training.eval_steps", "3", "--training.save_total_limit", "20"]
    recipe = load_recipe(tones_recipe, [*words, "--training.load_best_model_at_end", "false"])
    whole = train(recipe, tmp_path / "whole", splits=()).run_dir
    # 20 utterances in batches of 4: of the second epoch, a batch is left, and its augmentation is the second one's.
    interrupted = cut_off(whole, tmp_path / "interrupted", 9)
    train(recipe, interrupted, resume=True, splits=())
    one, two = (load_file(folder / "model.safetensors") for folder in (whole, interrupted))
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_resume_restores_early_stopping_patience(tones_recipe: Path, tmp_path: Path) -> None:
    words = ["--training.early_stopping_patience", "2", "--training.num_train_epochs", "12"]
    recipe = load_recipe(tones_recipe, [*words, "--training.save_total_limit", "20"])
    whole = train(recipe, tmp_path / "whole", splits=()).run_dir
    steps = sorted(map(step_of, (whole / "checkpoints").iterdir()))
    assert len(steps) < 12
    interrupted = cut_off(whole, tmp_path / "interrupted", steps[-2])
    train(recipe, interrupted, resume=True, splits=())
    log, again = (json.loads((run / "training.json").read_text())["log"] for run in (whole, interrupted))
    assert again[-1]["step"] == log[-1]["step"] == steps[-1]


def test_does_not_overwrite_existing_runs(tones_run: Path, tones_recipe: Path, tmp_path: Path) -> None:
    recipe = load_recipe(tones_recipe)
    with pytest.raises(HFSpeechError, match="--resume to continue it, --overwrite to replace it"):
        train(recipe, tones_run)
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(HFSpeechError, match="not a run folder"):
        train(recipe, tmp_path, overwrite=True)
    assert (tmp_path / "thesis.txt").exists()
    with pytest.raises(HFSpeechError, match="no intact checkpoint"):
        train(recipe, tmp_path / "nothing", resume=True)


def test_replaces_an_old_run_only_after_all_checks(tones_run: Path, tones_recipe: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    shutil.copytree(tones_run, run_dir)
    with pytest.raises(HFSpeechError):
        train(load_recipe(tones_recipe, ["--data_dir", "nowhere"]), run_dir, overwrite=True)
    assert (run_dir / "model.safetensors").is_file()
    train(load_recipe(tones_recipe, ["--training.max_steps", "1"]), run_dir, overwrite=True)
    assert "max_steps: 1\n" in (run_dir / "recipe.yaml").read_text()


def test_global_statistics_are_those_of_the_training_split(tones_recipe: Path, tmp_path: Path) -> None:
    words = ["--features.normalization", "global", "--training.max_steps", "1"]
    run_dir = train(load_recipe(tones_recipe, words), tmp_path / "run").run_dir
    saved = json.loads((run_dir / "preprocessor_config.json").read_text())
    assert len(saved["feature_mean"]) == len(saved["feature_std"]) == 16
    assert max(saved["feature_std"]) > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--features.win_length", "-1"], "win_length"),
        (["--model.hidden_size", "0"], "hidden_size must lie between"),
        (["--model.class_weights", "[1, 2, 3]"], "class_weights lists 3 weights for 2 classes"),
        (["--data_dir", "nowhere"], "nowhere"),
        (["--min_duration", "10"], "too short"),
    ],
)
def test_rejects_invalid_recipes_before_training(
    tones_recipe: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    with pytest.raises(HFSpeechError) as caught:
        train(load_recipe(tones_recipe, words), tmp_path / "run")
    assert message in str(caught.value)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_loss_does_not_depend_on_accumulation(tones_recipe: Path, tmp_path: Path) -> None:
    """Four batches of 4 in one optimizer step equal one batch of 16 (Trainer may fail to divide the loss)."""
    losses = {}
    for batch, steps in ((16, 1), (4, 4)):
        words = ["--training.per_device_train_batch_size", str(batch), "--training.max_steps", "3"]
        words += ["--training.gradient_accumulation_steps", str(steps), "--training.logging_steps", "1"]
        words += ["--training.group_by_length", "false", "--augmentation.noise_snr", "null"]
        run_dir = train(load_recipe(tones_recipe, words), tmp_path / f"batch{batch}").run_dir
        log = json.loads((run_dir / "training.json").read_text())["log"]
        losses[batch] = [entry["loss"] for entry in log if "loss" in entry]
    assert losses[4][0] == pytest.approx(losses[16][0], rel=0.02)


def test_batches_by_duration(tones_recipe: Path, tmp_path: Path) -> None:
    recipe = load_recipe(tones_recipe, ["--training.max_batch_seconds", "3", "--training.num_train_epochs", "3"])
    run_dir = train(recipe, tmp_path / "run").run_dir
    log = json.loads((run_dir / "training.json").read_text())["log"]
    steps = max(entry["step"] for entry in log)
    assert steps % 3 == 0
    # 20 utterances of 0.3 to 0.6 s: between 5 and 10 fit into 3 s.
    assert 6 <= steps <= 12


def test_trains_on_all_rows_without_validation(
    tones_recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--validation_fraction", "0", "--training.load_best_model_at_end", "false"]
    words += ["--training.num_train_epochs", "3", "--training.weight_averaging", "0.9"]
    run_dir = train(load_recipe(tones_recipe, words), tmp_path / "run").run_dir
    splits = json.loads((run_dir / "inspection.json").read_text())["splits"]
    assert splits["train"]["num_good"] + splits["test"]["num_good"] == 60
    assert sorted(file.name for file in (run_dir / "evaluation").glob("*.json")) == ["test.json"]
    log = json.loads((run_dir / "training.json").read_text())["log"]
    assert any("loss" in entry for entry in log)
    assert not [key for entry in log for key in entry if key.startswith("eval_")]
    assert (run_dir / "curves.png").is_file()
    lines = capsys.readouterr()
    for epoch in (1, 2, 3):
        assert f"epoch   {epoch}.0   loss" in lines.out + lines.err


@pytest.mark.parametrize("key", ["load_best_model_at_end", "early_stopping_patience"])
def test_rejects_options_that_need_validation(tones_recipe: Path, tmp_path: Path, key: str) -> None:
    decides = {"load_best_model_at_end": "false", "early_stopping_patience": "null"}
    decides[key] = "true" if key == "load_best_model_at_end" else "2"
    words = [word for name, value in decides.items() for word in (f"--training.{name}", value)]
    with pytest.raises(HFSpeechError, match=rf"training\.{key} needs a validation split.* add a validation split"):
        train(load_recipe(tones_recipe, ["--validation_fraction", "0", *words]), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_early_stopping(tones_recipe: Path, tmp_path: Path) -> None:
    words = ["--training.early_stopping_patience", "2", "--training.num_train_epochs", "40"]
    run_dir = train(load_recipe(tones_recipe, words), tmp_path / "run").run_dir
    log = json.loads((run_dir / "training.json").read_text())["log"]
    accuracies = [entry["eval_accuracy"] for entry in log if "eval_accuracy" in entry]
    # It converges quickly, and stops after two epochs without improvement.
    assert len(accuracies) < 20
    assert accuracies[-3:] == [1.0, 1.0, 1.0]


def test_tensorboard_logs(tones_run: Path, tones_recipe: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    assert list((tones_run / "logs").glob("events.out.tfevents*"))
    words = ["--training.report_to", "none", "--training.max_steps", "1"]
    run_dir = train(load_recipe(tones_recipe, words), tmp_path / "run").run_dir
    assert not (run_dir / "logs").exists()
