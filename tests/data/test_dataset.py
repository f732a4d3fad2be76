from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
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
    kept.audio = [{"path": "gone.wav", "bytes": None}] * len(kept)  # Nothing may be decoded again.
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
        assert one.keys() == {"input_features", "attention_mask", "labels", "files", "left_out", "loader_seconds"}
        assert one["files"] == two["files"]
        for key in ("input_features", "attention_mask", "labels"):
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
    assert batch["files"] == [row["path"] for row in rows[:4]["audio"]]
    read, augment, features = batch["loader_seconds"].tolist()
    assert min(read, features) > 0
    assert 0 <= augment < read
    assert dataset.files(2) == [rows[2]["audio"]["path"]]


def test_joined_utterances_follow_one_of_the_same_speaker(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    speakers = ["a" if index % 2 else "b" for index in range(24)]
    for index in range(24):
        soundfile.write(tmp_path / f"{index}.wav", rng.uniform(-0.5, 0.5, 800 * (1 + index % 8)), 8000)
    lines = [f"{index}.wav,word{index % 5},{speaker}" for index, speaker in enumerate(speakers)]
    (tmp_path / "rows.csv").write_text("\n".join(["path,label,speaker", *lines]) + "\n")
    corpus = make_corpus("csv", train_file=str(tmp_path / "rows.csv"), validation_fraction=0.0, test_fraction=0.0)
    rows = corpus.load()["train"]
    speakers = list(rows["speaker"])
    joining = Augmentation(probability=0, joining=1.0)
    dataset = SpeechDataset(
        rows,
        8000,
        lambda row: [row["label"]],
        joining,
        encode_phones=lambda row: torch.tensor([row["label"], 7]),
        join_targets=lambda first, second: [*first, *second],
    )
    alone = make_dataset(rows)
    longest = max(alone.durations)
    joined = [index for index in range(len(rows)) if dataset.durations[index] > alone.durations[index]]
    assert joined
    for index in joined:
        item = dataset[index]
        assert len(item["waveform"]) / 8000 == pytest.approx(dataset.durations[index], abs=1e-3)
        assert dataset.durations[index] <= longest + 1e-9
        first, second = item["target"]
        assert item["phones"].tolist() == [first, 7, second, 7]
        np.testing.assert_array_equal(item["waveform"][: len(alone[index]["waveform"])], alone[index]["waveform"])
        rest = item["waveform"][len(alone[index]["waveform"]) :]
        matches = [other for other in range(len(rows)) if np.array_equal(alone[other]["waveform"], rest)]
        assert any(speakers[other] == speakers[index] and rows[other]["label"] == second for other in matches)
    before = list(dataset.durations)
    dataset.set_epoch(1)
    assert dataset.durations != before
    dataset.set_epoch(0)
    assert dataset.durations == before
