from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset

from hf_speech.data.audio import read_audio
from hf_speech.data.augmentation import Augmentation
from hf_speech.data.corpora import make_corpus
from hf_speech.data.dataset import SpeechCollator, SpeechDataset
from hf_speech.models import SpeechFeatureExtractor


@pytest.fixture
def rows(digit_folder: Path) -> Dataset:
    return make_corpus("folder", data_dir=str(digit_folder)).load()["train"]


def make_dataset(rows: Dataset, augmentation: Augmentation | None = None, seed: int = 0) -> SpeechDataset:
    return SpeechDataset(rows, 8000, lambda row: int(row["label"]), augmentation, seed)


def test_items_are_the_rows(rows: Dataset) -> None:
    dataset = make_dataset(rows)
    assert len(dataset) == len(rows)
    assert dataset.durations == list(rows["duration"])
    item = dataset[3]
    np.testing.assert_array_equal(item["waveform"], read_audio(rows[3]["audio"], 8000))
    assert item["target"] == rows[3]["label"]


def test_keeping_decoded_sound_changes_nothing(rows: Dataset) -> None:
    dataset, kept = make_dataset(rows), make_dataset(rows)
    kept.keep_decoded("Reading")
    kept.audio = []  # Nothing may be decoded again.
    np.testing.assert_array_equal(kept[5]["waveform"], dataset[5]["waveform"])


def test_augmentation_depends_on_seed_epoch_and_row_alone(rows: Dataset) -> None:
    noisy = Augmentation(probability=1, noise_snr=(0, 10))
    dataset = make_dataset(rows, noisy)
    first = dataset[2]["waveform"]
    dataset[4]
    np.testing.assert_array_equal(dataset[2]["waveform"], first)
    dataset.set_epoch(1)
    assert np.abs(dataset[2]["waveform"] - first).max() > 1e-3
    dataset.set_epoch(0)
    np.testing.assert_array_equal(dataset[2]["waveform"], first)
    assert np.abs(make_dataset(rows, noisy, seed=1)[2]["waveform"] - first).max() > 1e-3


def test_workers_give_the_same_batches(rows: Dataset) -> None:
    extractor = SpeechFeatureExtractor(sampling_rate=8000, num_mel_bins=20, hop_length=80, win_length=200)
    collator = SpeechCollator(extractor, torch.tensor)
    dataset = make_dataset(rows, Augmentation(probability=1, speed=(0.9, 1.1), noise_snr=(0, 10)))
    here, there = (
        list(torch.utils.data.DataLoader(dataset, batch_size=5, collate_fn=collator, num_workers=workers))
        for workers in (0, 2)
    )
    for one, two in zip(here, there, strict=True):
        assert one.keys() == {"input_features", "attention_mask", "labels"}
        for key in one:
            torch.testing.assert_close(one[key], two[key], atol=0, rtol=0)


def test_collator_pads_to_the_longest(rows: Dataset) -> None:
    extractor = SpeechFeatureExtractor(sampling_rate=8000, num_mel_bins=20, hop_length=80, win_length=200)
    dataset = make_dataset(rows)
    items = [dataset[index] for index in range(4)]
    batch = SpeechCollator(extractor, torch.tensor)(items)
    frames = [len(item["waveform"]) // 80 for item in items]
    assert batch["input_features"].shape == (4, max(frames), 20)
    assert batch["attention_mask"].sum(dim=1).tolist() == frames
    assert batch["labels"].tolist() == [item["target"] for item in items]
