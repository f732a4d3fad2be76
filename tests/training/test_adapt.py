from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import soundfile
import yaml

from hf_speech.cli import main
from hf_speech.errors import CorpusError, RecipeError
from hf_speech.training.adapt import adaptation_recipe

QUICK = ["--training.max_steps", "4", "--training.dataloader_num_workers", "0", "--training.eval_steps", "2"]


@pytest.fixture
def clips(digit_folder: Path, tmp_path: Path) -> Path:
    """Five clips each of two tones."""
    folder = tmp_path / "clips"
    for label in ("low", "high"):
        (folder / label).mkdir(parents=True)
        for file in sorted((digit_folder / label).iterdir())[:5]:
            shutil.copy(file, folder / label)
    return folder


def values(recipe: Any) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(recipe.to_yaml())
    return content


def test_adaptation_end_to_end(
    tones_run: Path, tones_recipe: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    old = str(tones_recipe.parent / "tones")
    with pytest.raises(SystemExit, match="0"):
        main(["adapt", str(tones_run), str(clips), "--old_data_dir", old, "--output_dir", str(run), *QUICK])
    printed = capsys.readouterr().out
    for what, count in (("new clips, validation", 2), ("folder, validation", 20), ("folder, test", 20)):
        assert re.search(rf"accuracy on {what} +{count} +[\d.]+% +[\d.]+% +[\d.]+% to [\d.]+%", printed), printed
    assert "was not measured" not in printed
    assert re.search(r"validation loss +[\d.]+$", printed, re.MULTILINE), "the loss is the metric: it stands once"
    record = json.loads((run / "base_model.json").read_text())
    assert (record["name"], record["new"]) == ("run", "nothing")
    corpora = yaml.safe_load((run / "recipe.yaml").read_text())["corpus"]["corpora"]
    assert [(one["data_dir"], one["weight"]) for one in corpora] == [(str(clips), 1.0), (old, 1.0)]
    assert corpora[1]["speaker_pattern"] == "(speaker[0-9])_"
    assert (run / "evaluation" / "folder-test.json").is_file()


def test_holds_out_clips_if_there_are_three_per_class(tones_run: Path, clips: Path) -> None:
    recipe = adaptation_recipe(str(tones_run), clips)
    splits = recipe.corpus.load()
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 8, "validation": 2, "test": 0}
    assert recipe.training.load_best_model_at_end
    assert recipe.training.early_stopping_patience is not None
    assert recipe.training.layerwise_learning_rate_decay < 1
    for file in sorted((clips / "low").iterdir())[2:]:
        file.unlink()
    recipe = adaptation_recipe(str(tones_run), clips)
    assert not recipe.corpus.load()["validation"]
    assert not recipe.training.load_best_model_at_end
    assert recipe.training.early_stopping_patience is None


def test_old_and_new_validation_data_select_the_checkpoint(tones_run: Path, tones_recipe: Path, clips: Path) -> None:
    for file in [file for label in ("low", "high") for file in sorted((clips / label).iterdir())[2:]]:
        file.unlink()
    recipe = adaptation_recipe(str(tones_run), clips, tones_recipe.parent / "tones")
    assert len(recipe.corpus.load()["validation"]) == 20
    assert not recipe.training.load_best_model_at_end


def test_keeps_all_classes_of_the_model(tones_run: Path, clips: Path) -> None:
    recipe = adaptation_recipe(str(tones_run), clips, overrides=["--training.learning_rate", "0.1", "--name", "ann"])
    assert (recipe.name, recipe.training.learning_rate) == ("ann", 0.1)
    assert values(recipe)["model"]["init_outputs"] == "keep"
    assert values(recipe)["augmentation"]["noise_snr"] == [20.0, 40.0]
    assert recipe.features["num_mel_bins"] == 16


def test_uses_the_splits_of_the_folder(tones_run: Path, clips: Path, tmp_path: Path) -> None:
    for split in ("train", "test"):
        shutil.copytree(clips, tmp_path / "split" / split)
    splits = adaptation_recipe(str(tones_run), tmp_path / "split").corpus.load()
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 8, "validation": 2, "test": 10}


def test_a_recognizer_adapts_to_a_table(beeps_run: Path, tmp_path: Path, make_beeps: Any) -> None:
    lines = ["path,text"]
    for index in range(10):
        soundfile.write(tmp_path / f"{index}.wav", make_beeps("ab", seed=500 + index), 8000)
        lines.append(f"{index}.wav,ab")
    table = tmp_path / "clips.csv"
    table.write_text("\n".join(lines) + "\n")
    recipe = adaptation_recipe(str(beeps_run), table)
    assert {split: len(rows) for split, rows in recipe.corpus.load().items()} == {
        "train": 8,
        "validation": 2,
        "test": 0,
    }
    assert (recipe.task.name, recipe.model["causal"]) == ("automatic-speech-recognition", True)


def test_rejects_a_model_of_another_task(tones_run: Path, beeps_run: Path, clips: Path, tmp_path: Path) -> None:
    with pytest.raises(
        RecipeError, match=r"This corpus is for audio-classification .* but the task is automatic-speech"
    ):
        adaptation_recipe(str(beeps_run), clips)
    soundfile.write(tmp_path / "a.wav", [0.1] * 8000, 8000)
    (tmp_path / "table.csv").write_text("path,text\na.wav,hello\n")
    with pytest.raises(CorpusError, match="has no column 'label'"):
        adaptation_recipe(str(tones_run), tmp_path / "table.csv")


def test_rejects_an_old_corpus_without_a_recipe(tones_run: Path, clips: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tones_run, tmp_path / "model"))
    (folder / "recipe.yaml").unlink()
    with pytest.raises(RecipeError, match=r"has no recipe\.yaml that names its corpus: omit --old_data_dir"):
        adaptation_recipe(str(folder), clips, "anywhere")
    assert adaptation_recipe(str(folder), clips).warm_start.init_from == str(folder)


def test_reports_missing_clips_by_the_given_name(tones_run: Path, tmp_path: Path) -> None:
    (tmp_path / "clip.wav").write_bytes(b"RIFF")
    (tmp_path / "empty" / "low").mkdir(parents=True)
    for clips, problem in (
        ("nowhere", "nowhere does not exist: give a folder"),
        ("clips.csv", r"clips\.csv does not exist: give a folder"),
        ("clip.wav", r"clip\.wav is neither a folder nor a table"),
        ("empty", "empty has no audio files in subfolders: give a folder"),
    ):
        with pytest.raises(CorpusError, match=problem) as refused:
            adaptation_recipe(str(tones_run), tmp_path / clips)
        assert "--data_dir" not in str(refused.value)
