"""The recipe for a new keyword; tests/tasks/test_keyword_spotting.py trains one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from hf_speech.errors import RecipeError
from hf_speech.training.enroll import enrollment_recipe

PRETRAINED = Path(__file__).parents[2] / "pretrained"


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, list[Path], list[str]]:
    """The arguments after the model, without synthesized clips."""
    monkeypatch.setenv("HF_SPEECH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("hf_speech.training.enroll.importlib.util.find_spec", lambda name: None)
    noise = np.random.default_rng(0).normal(0, 0.1, 16_000)
    for name in ("clips/1.wav", "clips/2.wav", "clips/3.wav", "noise/1.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / name, noise, 16_000)
    return "hey", [tmp_path / "clips"], ["--train_negatives", json.dumps([str(tmp_path / "noise")])]


def test_starts_from_a_recognizer_that_can_stream(words: tuple[str, list[Path], list[str]]) -> None:
    recipe = enrollment_recipe(str(PRETRAINED / "an4-streaming"), *words)
    assert recipe.task.name == "keyword-spotting"
    assert (recipe.model["hidden_size"], recipe.model["intermediate_ctc_weight"]) == (384, 0)


@pytest.mark.parametrize("name", ["an4", "fsdd-digits"])
def test_rejects_a_bidirectional_model(words: tuple[str, list[Path], list[str]], name: str) -> None:
    with pytest.raises(RecipeError, match="cannot process a stream"):
        enrollment_recipe(str(PRETRAINED / name), *words)


def test_needs_negatives(words: tuple[str, list[Path], list[str]]) -> None:
    with pytest.raises(RecipeError, match="--train_negatives"):
        enrollment_recipe(str(PRETRAINED / "wake-words"), *words[:2])
