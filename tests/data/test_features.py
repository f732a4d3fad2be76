"""Cached features: equal to new ones, computed once, and again after changes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from datasets import Dataset

from hf_speech.data import dataset as dataset_module
from hf_speech.data.augmentation import Augmentation
from hf_speech.data.corpora import make_corpus
from hf_speech.data.dataset import SpeechCollator, SpeechDataset
from hf_speech.errors import RecipeError
from hf_speech.models import SpeechFeatureExtractor

GEOMETRY = {"sampling_rate": 8000, "num_mel_bins": 20, "hop_length": 80, "win_length": 200}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_SPEECH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features"


@pytest.fixture
def rows(tmp_path: Path) -> Dataset:
    """Six sounds of different lengths."""
    rng = np.random.default_rng(0)
    (tmp_path / "sounds" / "noise").mkdir(parents=True)
    for index in range(6):
        samples = rng.uniform(-0.5, 0.5, 2000 + 300 * index)
        soundfile.write(tmp_path / "sounds" / "noise" / f"{index}.wav", samples, 8000)
    options = {"validation_fraction": 0.0, "test_fraction": 0.0}
    return make_corpus("folder", data_dir=str(tmp_path / "sounds"), **options).load()["train"]


def make_dataset(rows: Dataset, augmentation: Augmentation | None = None) -> SpeechDataset:
    return SpeechDataset(rows, 8000, lambda row: int(row["label"]), augmentation)


@pytest.mark.parametrize(
    "options",
    [
        {"normalization": "utterance"},
        {"feature_type": "mfcc", "num_mfcc": 12, "num_deltas": 2},
        {"max_duration": 0.3},
        {"time_average": True, "normalization": "peak"},
        {"feature_type": "waveform", "return_attention_mask": False, "normalization": "none"},
    ],
    ids=lambda options: "-".join(map(str, options)),
)
def test_cached_features_equal_new_ones(rows: Dataset, options: dict) -> None:
    if options.get("feature_type") == "waveform":
        extractor = SpeechFeatureExtractor(sampling_rate=8000, hop_length=80, win_length=80, **options)
    else:
        extractor = SpeechFeatureExtractor(**GEOMETRY, **options)
    anew, cached = make_dataset(rows), make_dataset(rows)
    cached.cache_features(extractor, "Computing")
    collator = SpeechCollator(extractor, torch.tensor)
    expected, batch = (collator([dataset[index] for index in (4, 0, 5)]) for dataset in (anew, cached))
    assert batch.keys() == expected.keys()
    assert batch["files"] == expected["files"]
    for name in expected.keys() - {"files", "left_out", "loader_seconds"}:
        torch.testing.assert_close(batch[name], expected[name], atol=1e-5, rtol=1e-5)


def test_computes_once_and_again_after_changes(rows: Dataset, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def counting(audio: dict, sampling_rate: int) -> np.ndarray:
        read.append(audio["path"])
        return read_audio(audio, sampling_rate)

    read_audio = dataset_module.read_audio
    monkeypatch.setattr(dataset_module, "read_audio", counting)
    extractor = SpeechFeatureExtractor(**GEOMETRY)
    make_dataset(rows).cache_features(extractor, "Computing")
    assert len(read) == len(rows)
    make_dataset(rows).cache_features(extractor, "Computing")
    assert len(read) == len(rows), "the second training reads what the first one wrote"
    make_dataset(rows).cache_features(SpeechFeatureExtractor(**{**GEOMETRY, "hop_length": 40}), "Computing")
    assert len(read) == 2 * len(rows), "other features"
    os.utime(read[0], (1, 1))
    make_dataset(rows).cache_features(extractor, "Computing")
    assert len(read) == 3 * len(rows), "a recording that changed"
    assert len([path for path in cache.iterdir() if path.is_dir()]) == 3


def test_rejects_augmentation_that_changes_every_epoch(rows: Dataset) -> None:
    dataset = make_dataset(rows, Augmentation(gain=(-6, 6)))
    with pytest.raises(RecipeError, match="augmentation would change"):
        dataset.cache_features(SpeechFeatureExtractor(**GEOMETRY), "Computing")


def test_cycles_through_cached_variants(rows: Dataset, cache: Path) -> None:
    augmentation = Augmentation(probability=1, speed=(0.8, 1.25), gain=(-6, 6), variants=2)
    extractor = SpeechFeatureExtractor(**GEOMETRY)
    anew, cached = make_dataset(rows, augmentation), make_dataset(rows, augmentation)
    cached.cache_features(extractor, "Computing")
    collator = SpeechCollator(extractor, torch.tensor)
    epochs = []
    for epoch in range(3):
        anew.set_epoch(epoch)
        cached.set_epoch(epoch)
        expected, batch = (collator([dataset[index] for index in (4, 0, 5)]) for dataset in (anew, cached))
        torch.testing.assert_close(batch["input_features"], expected["input_features"], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(batch["attention_mask"], expected["attention_mask"])
        epochs.append(batch["input_features"])
    torch.testing.assert_close(epochs[2], epochs[0], atol=0, rtol=0)
    assert epochs[1].shape != epochs[0].shape or not torch.equal(epochs[1], epochs[0])
    assert len([path for path in cache.iterdir() if path.is_dir()]) == 2


def test_variants_are_computed_in_one_pass_and_reused(rows: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    read_audio = dataset_module.read_audio
    monkeypatch.setattr(
        dataset_module, "read_audio", lambda audio, rate: read.append(audio["path"]) or read_audio(audio, rate)
    )
    extractor = SpeechFeatureExtractor(**GEOMETRY)
    make_dataset(rows, Augmentation(gain=(-6, 6), variants=3)).cache_features(extractor, "Computing")
    assert len(read) == len(rows)
    make_dataset(rows, Augmentation(gain=(-6, 6), variants=2)).cache_features(extractor, "Computing")
    assert len(read) == len(rows), "two of the three variants"
    make_dataset(rows, Augmentation(gain=(-3, 3), variants=1)).cache_features(extractor, "Computing")
    assert len(read) == 2 * len(rows), "others than before"


def test_different_noise_gives_different_features(rows: Dataset, cache: Path, tmp_path: Path) -> None:
    noise = tmp_path / "noise" / "hum.wav"
    noise.parent.mkdir()
    soundfile.write(noise, np.random.default_rng(1).uniform(-0.5, 0.5, 4000), 8000)
    augmentation = Augmentation(noise_snr=(0, 10), noise_folder=str(noise.parent), variants=1)
    extractor = SpeechFeatureExtractor(**GEOMETRY)

    def made() -> int:
        make_dataset(rows, augmentation).cache_features(extractor, "Computing")
        return len([path for path in cache.iterdir() if path.is_dir()])

    assert [made(), made()] == [1, 1]
    os.utime(noise, (1, 1))
    assert made() == 2
