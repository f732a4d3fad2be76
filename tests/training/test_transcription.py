from __future__ import annotations

import json
from pathlib import Path

import pytest

from hf_speech.errors import HFSpeechError
from hf_speech.training import load_recipe, train


def test_a_recogniser_learns_and_is_saved_with_its_tokenizer(beeps_run: Path) -> None:
    report = json.loads((beeps_run / "evaluation" / "test.json").read_text())
    assert report["task"] == "automatic-speech-recognition"
    assert report["metrics"]["wer"] < 0.2
    assert {path.name for path in beeps_run.iterdir()} >= {"vocab.json", "tokenizer_config.json", "conv_frontends.py"}


def test_samples_are_shown_at_each_evaluation(
    beeps_recipe: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    train(load_recipe(beeps_recipe, ["--training.num_train_epochs", "1"]), tmp_path / "run")
    printed = capfd.readouterr()
    assert "wer" in printed.out
    assert any(letter in printed.out for letter in ("REF", "reference", "said"))


def test_transcripts_longer_than_their_sound_are_refused(beeps_recipe: Path, tmp_path: Path) -> None:
    words = ["--model.subsampling", "8", "--features.hop_length", "400", "--features.win_length", "800"]
    with pytest.raises(HFSpeechError, match="too short for their transcripts"):
        train(load_recipe(beeps_recipe, words), tmp_path / "run")
