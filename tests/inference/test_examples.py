"""The choice of example sounds that fit a model."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hf_speech.inference import load_model
from hf_speech.inference.examples import choose_examples

REPOSITORY = Path(__file__).resolve().parents[2]
SPACES, PRETRAINED = REPOSITORY / "spaces", REPOSITORY / "pretrained"


@pytest.mark.parametrize(("model", "folder"), [("english", "sentences"), ("an4", "examples")])
def test_examples_of_a_recognizer(model: str, folder: str) -> None:
    loaded = load_model(PRETRAINED / model, "cpu")
    found = choose_examples(SPACES / "transcribe", loaded.tokens, loaded)
    assert found == sorted((SPACES / "transcribe" / folder).glob("*.flac"))
    assert len(found) == 3


def test_sentences_need_a_dictionary_with_all_words(tmp_path: Path) -> None:
    shutil.copytree(PRETRAINED / "an4", tmp_path / "model")
    for name in ("sentences/FIVE january", "sentences/one", "examples/abc", "examples/a-b"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.flac").touch()

    def stems() -> set[str]:
        loaded = load_model(tmp_path / "model", "cpu")
        return {path.stem for path in choose_examples(tmp_path, loaded.tokens, loaded)}

    assert stems() == {"FIVE january", "one"}
    (tmp_path / "sentences" / "five doors.flac").touch()
    assert stems() == {"abc"}
    (tmp_path / "sentences" / "five doors.flac").unlink()
    (tmp_path / "model" / "lexicon.txt").unlink()
    assert stems() == {"abc"}


def test_examples_of_a_classifier() -> None:
    found = choose_examples(SPACES / "classify", ["Seven", "two", "hello"])
    assert [path.stem for path in found] == ["seven", "two"]
