"""The pretrained models load and match their evaluation files."""

from __future__ import annotations

import json
import runpy
import subprocess
from pathlib import Path

import pytest

from hf_speech.evaluation import evaluate_model
from hf_speech.inference import BeamOptions, load_model
from hf_speech.models import SpeechFeatureExtractor
from hf_speech.publishing.checks.remote_code import remote_files
from hf_speech.training import load_recipe

PRETRAINED = Path(__file__).resolve().parent.parent / "pretrained"
MODELS = sorted(path for path in PRETRAINED.iterdir() if path.is_dir())
CORPORA = {"fsdd": "free-spoken-digit-dataset", "an4": "an4", "folder": "mini_speech_commands"}


@pytest.mark.parametrize("folder", MODELS, ids=lambda path: path.name)
def test_evaluations_match_the_weights(folder: Path) -> None:
    loaded = load_model(folder)
    report = json.loads((folder / "evaluation" / "test.json").read_text())
    assert report["model_revision"] == loaded.revision
    assert report["num_parameters"] == loaded.model.num_parameters()
    assert isinstance(loaded.feature_extractor, SpeechFeatureExtractor)
    assert load_recipe(folder / "recipe.yaml", to_train=False).task is loaded.task


@pytest.mark.parametrize("folder", MODELS, ids=lambda path: path.name)
def test_folders_contain_nothing_private_and_no_pickle(folder: Path) -> None:
    for path in folder.rglob("*"):
        assert path.suffix in {
            "",
            ".json",
            ".safetensors",
            ".py",
            ".yaml",
            ".png",
            ".csv",
            ".md",
            ".arpa",
            ".ngram",
            ".txt",
        }, path
        if path.suffix in {".json", ".yaml", ".csv", ".md", ".txt"}:
            content = path.read_text(encoding="utf-8")
            assert "/home/" not in content
            assert "/root" not in content


@pytest.mark.parametrize("folder", MODELS, ids=lambda path: path.name)
def test_remote_code_matches_the_package_and_is_minimal(folder: Path) -> None:
    copies = list(folder.glob("*.py"))
    assert any(path.name.startswith("modeling_") for path in copies)
    for path in copies:
        ours = PRETRAINED.parent / "src" / "hf_speech" / "models" / path.name
        assert path.read_text() == ours.read_text()
    assert remote_files(folder) == sorted(path.name for path in copies)


def test_git_tracks_the_remote_code_once() -> None:
    command = ["git", "-C", str(PRETRAINED), "ls-files", "*.py"]
    listed = subprocess.run(command, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("this is not a git checkout")
    assert listed.stdout == ""


def test_copies_and_updates_the_remote_code(tmp_path: Path) -> None:
    pretrained, code = tmp_path / "pretrained", tmp_path / "code"
    (pretrained / "toy").mkdir(parents=True)
    code.mkdir()
    (pretrained / "toy" / "config.json").write_text('{"auto_map": {"AutoModel": "modeling_toy.Toy"}}')
    (pretrained / "toy" / "stale.py").write_text("")
    (code / "modeling_toy.py").write_text("from .layers import Layer\n")
    (code / "layers.py").write_text("import torch\nfrom .deep import Deep\n")
    (code / "deep.py").write_text("Deep = 1\n")
    (code / "other.py").write_text("")
    copy_code = runpy.run_path(str(PRETRAINED.parent / "scripts" / "pretrained_code.py"))["copy_code"]
    copy_code(pretrained, code)
    assert {path.name for path in (pretrained / "toy").glob("*.py")} == {"modeling_toy.py", "layers.py", "deep.py"}
    (code / "deep.py").write_text("Deep = 2\n")
    copy_code(pretrained, code)
    assert (pretrained / "toy" / "deep.py").read_text() == "Deep = 2\n"


@pytest.mark.corpora
@pytest.mark.parametrize("folder", MODELS, ids=lambda path: path.name)
@pytest.mark.parametrize("name", ["test", "test-lm"])
def test_metrics_are_reproducible(folder: Path, name: str, corpora_dir: Path) -> None:
    if not (folder / "evaluation" / f"{name}.json").is_file():
        pytest.skip("it has no language model")
    report = json.loads((folder / "evaluation" / f"{name}.json").read_text())
    if report["corpus"] not in CORPORA:
        pytest.skip(f"{report['corpus']} takes minutes to measure, and is another corpus than the recipe's")
    beam = None
    if report.get("decoder") is not None:
        beam = BeamOptions.beside(folder / report["decoder"]["language_model"])
        assert beam.describe() == report["decoder"]
    data_dir = corpora_dir / CORPORA[report["corpus"]]
    if not data_dir.exists():
        pytest.skip(f"there is no {data_dir.name} among the corpora")
    words = ["--data_dir", str(data_dir)]
    rows = load_recipe(folder / "recipe.yaml", words).corpus.load()["test"]
    again = evaluate_model(
        load_model(folder), rows, corpus=report["corpus"], split="test", command="pytest", progress=False, beam=beam
    )
    assert again.metrics == pytest.approx(report["metrics"], abs=1e-9)
    assert again.corpus_fingerprint == report["corpus_fingerprint"]
