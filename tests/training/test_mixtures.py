"""Recipes whose section `corpus` is a list, and training on several corpora."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from datasets import Dataset
from safetensors.torch import load_file
from tests.training.launching import REPOSITORY, launch_two

from hf_speech.errors import CorpusError, RecipeError
from hf_speech.training import load_recipe, train
from hf_speech.training.run_folder import check_same_recipe

TONES = {"name": "folder", "speaker_pattern": "(speaker[0-9])_", "validation_fraction": 0.3, "test_fraction": 0.3}


@pytest.fixture
def mixed(tones_recipe: Path, tmp_path: Path) -> dict[str, Any]:
    """The recipe of tones with two corpora, of which the second has other class names and three times the weight."""
    values = yaml.safe_load(tones_recipe.read_text(encoding="utf-8"))
    tones = Path(values["corpus"]["data_dir"])
    for old, new in (("low", "bass"), ("high", "treble")):
        shutil.copytree(tones / old, tmp_path / "corpora" / "second" / new)
    shutil.copytree(tones, tmp_path / "corpora" / "folder")
    second = {"data_dir": "second", "weight": 3, "labels": {"bass": "low", "treble": "high"}}
    corpora = [TONES | {"weight": 1}, TONES | second]
    return values | {"name": "mixed", "corpus": corpora}


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    return ["--data_dir", str(tmp_path / "corpora"), "--training.num_train_epochs", "2"]


def test_resolves_a_list_of_corpora(mixed: dict[str, Any], words: list[str]) -> None:
    recipe = load_recipe(mixed, [*words, "--corpus.1.weight", "0.5", "--seed", "7"])
    first, second = recipe.values["corpus"]["corpora"]
    assert first["data_dir"].endswith("corpora/folder"), "the corpus's own name"
    assert second["data_dir"].endswith("corpora/second")
    assert (first["weight"], second["weight"], second["test_fraction"]) == (1.0, 0.5, 0.3)
    assert (first["seed"], second["seed"]) == (7, 7)
    again = load_recipe(yaml.safe_load(recipe.to_yaml()))
    assert again == recipe
    moved = load_recipe(yaml.safe_load(recipe.to_yaml()), ["--corpus.0.data_dir", "elsewhere"])
    assert [entry["data_dir"] for entry in moved.values["corpus"]["corpora"]] == ["elsewhere", second["data_dir"]]


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (
            {"weigth": 1},
            [],
            r"The corpus 0 of the mixture \(folder\) has an unknown key 'weigth': did you mean 'weight'",
        ),
        ({"name": "foldr"}, [], "The corpus 0 of the mixture is 'foldr': did you mean 'folder'"),
        ({"name": "mixture"}, [], "mixtures cannot be nested"),
        ({"weight": -1}, [], "weight"),
        ({"labels": "low"}, [], "labels"),
        ({"bad_rows": "skip"}, [], "bad_rows applies to all corpora of a mixture"),
        ({}, ["--corpus.2.weight", "1"], "the last of the corpora is 1"),
        ({}, ["--corpus.0.wieght", "1"], "unknown key 'wieght': did you mean 'weight'"),
        ({}, ["--tset_fraction", "0.1"], "unknown key 'tset_fraction'"),
    ],
)
def test_reports_mistakes_in_a_list(
    mixed: dict[str, Any], words: list[str], change: dict[str, Any], options: list[str], message: str
) -> None:
    mixed["corpus"][0] |= change
    with pytest.raises(RecipeError, match=message):
        load_recipe(mixed, [*words, *options])


def test_a_mixture_trains_resumes_exactly_and_reports_by_corpus(
    mixed: dict[str, Any], words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = load_recipe(mixed, [*words, "--training.load_best_model_at_end", "false"])
    run = train(recipe, tmp_path / "run").run_dir
    printed = capsys.readouterr().out
    assert "share of an epoch" in printed
    assert "75.0%" in printed
    inspection = json.loads((run / "inspection.json").read_text())
    assert inspection["corpora"]["folder-2"]["train"]["num_good"] == 20
    assert inspection["shares"] == {"folder": 0.25, "folder-2": 0.75}
    report = json.loads((run / "evaluation" / "test.json").read_text())
    assert {name: row["num_utterances"] for name, row in report["per_corpus"].items()} == {"folder": 20, "folder-2": 20}
    assert (run / "evaluation" / "test.csv").read_text().splitlines()[0].startswith("id,path,corpus,speaker")

    cut = tmp_path / "cut"
    shutil.copytree(run, cut)
    last = max((cut / "checkpoints").iterdir(), key=lambda path: int(path.name.rpartition("-")[2]))
    shutil.rmtree(last)
    (cut / "model.safetensors").unlink()
    check_same_recipe(load_recipe(run / "recipe.yaml", ["--corpus.0.data_dir", "elsewhere"]), run / "recipe.yaml")
    train(recipe, cut, resume=True, splits=())
    one, two = (load_file(folder / "model.safetensors") for folder in (run, cut))
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_resuming_keeps_the_weights_of_the_corpora(mixed: dict[str, Any], words: list[str], tmp_path: Path) -> None:
    recipe = load_recipe(mixed, words)
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml())
    with pytest.raises(RecipeError, match=r"corpus\.1\.weight is 1\.0, but was 3\.0"):
        check_same_recipe(load_recipe(mixed, [*words, "--corpus.1.weight", "1"]), tmp_path / "recipe.yaml")


def test_batches_of_seconds_need_equal_epochs(mixed: dict[str, Any], words: list[str], tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="omit the weights"):
        train(load_recipe(mixed, [*words, "--training.max_batch_seconds", "3"]), tmp_path / "run")
    for entry in mixed["corpus"]:
        entry["weight"] = None
    train(load_recipe(mixed, [*words, "--training.max_batch_seconds", "3"]), tmp_path / "run", splits=())


@pytest.mark.slow
def test_two_processes_train_on_a_mixture_as_one(mixed: dict[str, Any], words: list[str], tmp_path: Path) -> None:
    file = tmp_path / "mixed.yaml"
    file.write_text(yaml.safe_dump(mixed))
    options = [*words, "--training.load_best_model_at_end", "false"]
    one = train(load_recipe(file, options), tmp_path / "one").run_dir
    script = REPOSITORY / "scripts" / "train.py"
    half = ["--training.per_device_train_batch_size", "2", "--output_dir", str(tmp_path / "two")]
    done = launch_two(script, str(file), *options, *half)
    assert done.returncode == 0, done.stderr
    losses = [
        [entry["loss"] for entry in json.loads((run / "training.json").read_text())["log"] if "loss" in entry]
        for run in (one, tmp_path / "two")
    ]
    assert losses[1] == pytest.approx(losses[0], abs=1e-4)


@pytest.mark.usefixtures("impatient_streams")
def test_a_stream_and_a_local_corpus_train_together(beeps_recipe: Path, tmp_path: Path) -> None:
    values = yaml.safe_load(beeps_recipe.read_text(encoding="utf-8"))
    rows = load_recipe(beeps_recipe).corpus.load()["train"].select(range(24))
    content = [
        {"audio": {"path": "x.wav", "bytes": Path(row["audio"]["path"]).read_bytes()}, "text": row["text"].upper()}
        for row in rows
    ]
    (tmp_path / "repository").mkdir()
    Dataset.from_list(content).to_parquet(str(tmp_path / "repository" / "train-00000-of-00001.parquet"))
    streamed = {"name": "hub", "data_dir": str(tmp_path / "repository"), "text_column": "text", "streaming": True}
    streamed |= {"stream_train": True, "max_rows": 12, "validation_fraction": 0, "test_fraction": 0, "weight": 1}
    values["corpus"] = [streamed | {"text": {"normalizer": "lower"}}, values["corpus"]]
    words = ["--training.max_steps", "4", "--training.load_best_model_at_end", "false"]
    with pytest.raises(CorpusError, match="each corpus needs a weight: set the weight of csv"):
        train(load_recipe(values, words), tmp_path / "run", splits=())
    run = train(load_recipe(values, [*words, "--corpus.1.weight", "3"]), tmp_path / "run", splits=())
    assert set(json.loads((run.run_dir / "vocab.json").read_text())) >= {"a", "b", "c"}
    assert "A" not in json.loads((run.run_dir / "vocab.json").read_text())
