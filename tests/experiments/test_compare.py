"""Comparisons of recipe variants: training, resuming, and the table."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import pytest

from hf_speech.cli.app import main
from hf_speech.errors import RecipeError
from hf_speech.experiments import compare, parse_axis
from hf_speech.experiments.compare import Comparison
from hf_speech.tasks import Metric, get_task

QUICK = ["--training.num_train_epochs", "2", "--training.report_to", "none"]
AXES = [parse_axis("features.normalization=none,peak")]


@pytest.fixture(scope="module")
def compared(tones_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a comparison of two variants; tests only read it."""
    folder = tmp_path_factory.mktemp("compare") / "out"
    compare(str(tones_recipe), AXES, QUICK, folder, "hf-speech compare tones --over features.normalization=none,peak")
    return folder


def test_the_table_has_the_metrics_of_the_files(compared: Path) -> None:
    rows = list(csv.DictReader((compared / "comparison.csv").open()))
    assert [row["features.normalization"] for row in rows] == ["none", "peak"]
    for row in rows:
        folder = compared / f"normalization={row['features.normalization']}"
        for split in ("validation", "test"):
            report = json.loads((folder / "evaluation" / f"{split}.json").read_text())
            assert float(row[f"{split}_accuracy"]) == report["metrics"]["accuracy"]
        assert int(row["parameters"]) == report["num_parameters"]
        assert [float(row["test_low"]), float(row["test_high"])] == report["confidence"]["accuracy"]
        assert float(row["seconds"]) == json.loads((folder / "training.json").read_text())["seconds"]
        assert report["command"].startswith("hf-speech train ")
        assert report["command"].endswith(
            f"--features.normalization {row['features.normalization']} --output_dir {folder}"
        )


def test_text_and_markdown_have_the_same_content(compared: Path) -> None:
    comparison = Comparison.from_dict(json.loads((compared / "comparison.json").read_text()))
    best = comparison.records[comparison.best]
    assert best.value("validation") == max(record.value("validation") for record in comparison.records)
    text = comparison.text().splitlines()
    assert text[0].split() == [
        *("normalization", "validation", "accuracy", "(%)", "test", "accuracy", "(%)", "95%", "interval"),
        *("parameters", "minutes"),
    ]
    assert sum("* " in line for line in text[:-1]) == 1
    assert f"* {100 * best.value('validation'):.2f}" in comparison.text()
    markdown = (compared / "comparison.md").read_text()
    assert markdown == comparison.markdown()
    assert markdown.startswith("`hf-speech compare tones --over features.normalization=none,peak`\n\n| normalization |")
    assert markdown.count("\n| ") == 4


def test_metrics_have_their_units(compared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    comparison = Comparison.from_dict(json.loads((compared / "comparison.json").read_text()))
    value, (low, high) = comparison.records[0].value("test"), comparison.records[0].interval("test")
    words = Metric("Accuracy", "accuracy", unit="words/s")
    monkeypatch.setitem(get_task("audio-classification").metrics, "accuracy", words)
    assert "test accuracy (words/s)" in comparison.head()
    assert "%" not in "".join(comparison.head()).replace("95%", "")
    assert comparison.rows()[0][2:4] == [f"{value:.3g}", f"{low:.2g} to {high:.2g}"]


def test_no_best_variant_without_validation(compared: Path) -> None:
    content = json.loads((compared / "comparison.json").read_text())
    del content["records"][0]["evaluations"]["validation"]
    comparison = Comparison.from_dict(content)
    assert comparison.best is None
    assert "*" not in comparison.text()
    assert "*" not in comparison.markdown()
    assert comparison.rows()[0][1] == "-"


def test_continues_after_an_interruption(
    compared: Path, tones_recipe: Path, tmp_path: Path, trained: list[str]
) -> None:
    folder = tmp_path / "out"
    shutil.copytree(compared, folder)
    compare(str(tones_recipe), AXES, QUICK, folder)
    assert trained == [], "what is done is left alone"
    # Interrupted in the middle of the second: a checkpoint is there, the model is not.
    second = folder / "normalization=peak"
    for name in ("training.json", "model.safetensors", "evaluation"):
        shutil.rmtree(second / name) if (second / name).is_dir() else (second / name).unlink()
    last = max((second / "checkpoints").iterdir(), key=lambda path: int(path.name.rpartition("-")[2]))
    shutil.rmtree(last)
    again = compare(str(tones_recipe), AXES, QUICK, folder)
    assert trained == ["normalization=peak"]
    before = Comparison.from_dict(json.loads((compared / "comparison.json").read_text()))
    assert [record.value("test") for record in again.records] == [record.value("test") for record in before.records]


def test_old_runs_have_the_defaults_of_new_options(
    compared: Path, tones_recipe: Path, tmp_path: Path, trained: list[str]
) -> None:
    folder = tmp_path / "out"
    shutil.copytree(compared, folder)
    for written in folder.glob("*/recipe.yaml"):
        written.write_text(re.sub(r"\n  cache_features: .*", "", written.read_text()))
        assert "cache_features" not in written.read_text()
    compare(str(tones_recipe), AXES, QUICK, folder)
    assert trained == []


def test_does_not_reuse_a_run_of_another_recipe(compared: Path, tones_recipe: Path) -> None:
    with pytest.raises(RecipeError, match=r"has a run of another recipe \(model.dropout is 0.0 there and 0.5 here\)"):
        compare(str(tones_recipe), AXES, [*QUICK, "--model.dropout", "0.5"], compared)


def test_rejects_a_wrong_variant_before_training(tones_recipe: Path, tmp_path: Path, trained: list[str]) -> None:
    for axis, message in (
        ("features.normalization=none,loud", "features.normalization"),
        ("features.normalisation=none", "did you mean 'features.normalization'"),
        ("features.win_length=200,-1", "win_length"),
    ):
        with pytest.raises(RecipeError, match=message):
            compare(str(tones_recipe), [parse_axis(axis)], QUICK, tmp_path / "out")
    assert trained == []
    assert not (tmp_path / "out").exists()


def test_runs_from_the_command_line(
    compared: Path, tones_recipe: Path, trained: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["compare", str(tones_recipe), "--over", "features.normalization=none,peak", *QUICK]
    with pytest.raises(SystemExit) as exit_:
        main([*words, "--output-dir", str(compared)])
    assert not exit_.value.code
    assert trained == []
    printed = capsys.readouterr().out
    assert "[2/2] normalization=peak" in printed
    assert printed.rstrip().endswith("* best on validation")
    with pytest.raises(SystemExit) as exit_:
        main([*words, "--over", "features.normalization=none"])
    assert exit_.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
