"""Processes on separate hosts: same corpus, same model, and unlimited waiting."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.training.launching import launch_two

from hf_speech.training import load_recipe

DRIVER = Path(__file__).with_name("corpora_driver.py")


@pytest.fixture
def hosts(tones_recipe: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A recipe with batch norm, and a folder with a copy of its corpus for each process."""
    recipe = tmp_path / "recipe.yaml"
    words = ["--training.num_train_epochs", "1", "--model.stem_channels", "[4]"]
    recipe.write_text(load_recipe(tones_recipe, words).to_yaml())
    for rank in "01":
        shutil.copytree(tones_recipe.parent / "tones", tmp_path / "hosts" / rank)
    return recipe, tmp_path / "hosts"


def fewer(corpus: Path) -> None:
    for path in (corpus / "high").glob("*_9.wav"):
        path.unlink()


def renamed(corpus: Path) -> None:
    (corpus / "high").rename(corpus / "aaa")


def exchanged(corpus: Path) -> None:
    one, two = sorted((corpus / "high").iterdir())[:2]
    content = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(content)


def other_speaker(corpus: Path) -> None:
    (corpus / "low" / "speaker0_0.wav").rename(corpus / "low" / "speaker1_x.wav")


@pytest.mark.slow
@pytest.mark.parametrize("change", [fewer, renamed, exchanged, other_speaker])
@pytest.mark.parametrize("rank", ["0", "1"])
def test_one_sentence_error_if_processes_have_different_corpora(
    change: Callable[[Path], None], rank: str, hosts: tuple[Path, Path], tmp_path: Path
) -> None:
    recipe, folder = hosts
    change(folder / rank)
    done = launch_two(DRIVER, str(recipe), str(folder), str(tmp_path / "run"), "train")
    assert done.returncode != 0
    errors = dict(re.findall(r"RANK (\d) ERROR (.*)", done.stdout))
    assert errors.keys() == {"0", "1"}, done.stderr[-2000:]
    assert len(set(errors.values())) == 1
    assert "Process 1 has another split" in errors["0"]
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_both_processes_validate_the_same_model(hosts: tuple[Path, Path], tmp_path: Path) -> None:
    recipe, folder = hosts
    done = launch_two(DRIVER, str(recipe), str(folder), str(tmp_path / "run"), "train")
    assert done.returncode == 0, done.stderr[-2000:]
    statistics = dict(re.findall(r"RANK (\d) STATISTICS (\S+)", done.stdout))
    assert statistics.keys() == {"0", "1"}
    assert statistics["0"] == statistics["1"] != "0.000000000"


@pytest.mark.slow
def test_processes_wait_for_each_other(hosts: tuple[Path, Path], tmp_path: Path) -> None:
    recipe, folder = hosts
    done = launch_two(DRIVER, str(recipe), str(folder), str(tmp_path / "run"), "slow")
    assert done.returncode == 0, done.stderr[-2000:]
