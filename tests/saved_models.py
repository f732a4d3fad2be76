"""Fixtures for inference and evaluation: a saved tiny classifier of tones, and a split to evaluate."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Value

from hf_speech.models import SpeechFeatureExtractor, SpeechLSTMConfig, SpeechLSTMForAudioClassification

FEATURES = {
    "audio": {"path": Value("string"), "bytes": Value("binary")},
    "speaker": Value("string"),
    "duration": Value("float32"),
}


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with the classes 'high', 'low' and 'noise' and random weights; tests only read it."""
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("model")
    extractor = SpeechFeatureExtractor(sampling_rate=8000, num_mel_bins=20, hop_length=80, win_length=200)
    config = SpeechLSTMConfig(
        input_size=extractor.feature_size,
        hidden_size=8,
        num_hidden_layers=1,
        id2label={0: "high", 1: "low", 2: "noise"},
        label2id={"high": 0, "low": 1, "noise": 2},
    )
    model = SpeechLSTMForAudioClassification(config)
    # Random logits hardly differ between utterances; larger ones give different predictions.
    model.classifier.weight.data *= 20
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)
    return folder


@pytest.fixture
def model_copy(saved_model: Path, tmp_path: Path) -> Path:
    """A copy of that model folder, which tests may damage."""
    return Path(shutil.copytree(saved_model, tmp_path / "model"))


@pytest.fixture
def tones(digit_folder: Path) -> Dataset:
    """Sixty tones of three speakers, with the classes 'low' and 'high' in another order than in the model."""
    files = sorted(digit_folder.glob("*/*.wav"))
    return Dataset.from_dict(
        {
            "audio": [{"path": str(file), "bytes": None} for file in files],
            "speaker": [file.stem.split("_")[0] for file in files],
            "duration": [0.5] * len(files),
            "label": [["low", "high"].index(file.parent.name) for file in files],
        },
        features=Features({**FEATURES, "label": ClassLabel(names=["low", "high"])}),
    )
