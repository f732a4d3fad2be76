from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from datasets import Dataset, Features, Value

from hf_speech.data.audio import read_audio
from hf_speech.data.augmentation import Augmentation
from hf_speech.data.corpora import make_corpus
from hf_speech.data.dataset import SpeechCollator, SpeechDataset
from hf_speech.models import SpeechFeatureExtractor
from hf_speech.training.samplers import DurationBatchSampler


@pytest.fixture
def rows(digit_folder: Path) -> Dataset:
    return make_corpus("folder", data_dir=str(digit_folder)).load()["train"]


def make_dataset(rows: Dataset, augmentation: Augmentation | None = None, seed: int = 0) -> SpeechDataset:
    return SpeechDataset(rows, 8000, lambda row: int(row["label"]), augmentation, seed)


def test_items_correspond_to_rows(rows: Dataset) -> None:
    dataset = make_dataset(rows)
    assert len(dataset) == len(rows)
    assert dataset.durations == list(rows["duration"])
    item = dataset[3]
    np.testing.assert_array_equal(item["waveform"], read_audio(rows[3]["audio"], 8000))
    assert item["target"] == rows[3]["label"]


def test_caching_decoded_sound_does_not_change_results(rows: Dataset) -> None:
    dataset, kept = make_dataset(rows), make_dataset(rows)
    kept.keep_decoded("Reading")
    kept.audio = [{"path": "gone.wav", "bytes": None}] * len(kept)  # Nothing may be decoded again.
    np.testing.assert_array_equal(kept[5]["waveform"], dataset[5]["waveform"])


def test_augmentation_depends_only_on_seed_epoch_and_row(rows: Dataset) -> None:
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


def test_batches_do_not_depend_on_the_number_of_workers(rows: Dataset) -> None:
    extractor = SpeechFeatureExtractor(sampling_rate=8000, num_mel_bins=20, hop_length=80, win_length=200)
    collator = SpeechCollator(extractor, torch.tensor)
    dataset = make_dataset(rows, Augmentation(probability=1, speed=(0.9, 1.1), noise_snr=(0, 10)))
    here, there = (
        list(torch.utils.data.DataLoader(dataset, batch_size=5, collate_fn=collator, num_workers=workers))
        for workers in (0, 2)
    )
    for one, two in zip(here, there, strict=True):
        keys = {"input_features", "attention_mask", "labels", "files", "left_out", "loader_seconds", "sources"}
        assert one.keys() == keys
        torch.testing.assert_close(two["sources"], one["sources"])
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


def test_joins_utterances_of_the_same_speaker(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    speakers = ["a" if index % 2 else "b" for index in range(24)]
    for index in range(24):
        soundfile.write(tmp_path / f"{index}.wav", rng.uniform(-0.5, 0.5, 800 * (1 + index % 8)), 8000)
    lines = [f"{index}.wav,word{index % 5},{speaker}" for index, speaker in enumerate(speakers)]
    (tmp_path / "rows.csv").write_text("\n".join(["path,label,speaker", *lines]) + "\n")
    options = {"speaker_column": "speaker", "validation_fraction": 0.0, "test_fraction": 0.0}
    corpus = make_corpus("csv", train_file=str(tmp_path / "rows.csv"), **options)
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


def spoken(speakers: list[str | None], seconds: list[float]) -> Dataset:
    """Rows without sound."""
    features = {"audio": {"path": Value("string"), "bytes": Value("binary")}, "speaker": Value("string")}
    columns = {
        "audio": [{"path": f"{index}.wav", "bytes": None} for index in range(len(speakers))],
        "speaker": speakers,
        "duration": seconds,
    }
    return Dataset.from_dict(columns, features=Features(features | {"duration": Value("float64")}))


@pytest.mark.parametrize(
    ("speakers", "can_join"),
    [
        ([f"s{index}" for index in range(40)], False),  # each speaker once
        ([None] * 40, False),
        ([""] * 40, False),
        ([f"s{index // 2}" for index in range(40)], True),
        (["a"] * 39 + [None], True),
    ],
    ids=["once", "unknown", "blank", "pairs", "one"],
)
def test_joins_only_utterances_of_known_speakers(speakers: list[str | None], can_join: bool) -> None:
    rows = spoken(speakers, [1.0] * 39 + [2.5])
    dataset = SpeechDataset(rows, 8000, lambda row: 0, Augmentation(joining=1.0), join_targets=lambda a, b: 0)
    for epoch in range(4):
        dataset.set_epoch(epoch)
        followers = {index: dataset.follower(index) for index in range(40) if dataset.follower(index) is not None}
        assert bool(followers) is can_join
        assert all(index != other and speakers[index] == speakers[other] for index, other in followers.items())
        assert all(speakers[index] for index in followers)


@pytest.mark.parametrize("joining", [0.25, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_joined_clips_are_not_longer_than_in_the_first_epoch(joining: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = spoken([f"s{index % 5}" for index in range(200)], rng.uniform(0.5, 6.0, 200).tolist())
    options = Augmentation(joining=joining)
    dataset = SpeechDataset(rows, 8000, lambda row: 0, options, seed, join_targets=lambda a, b: 0)
    first = list(dataset.durations)
    sampler = DurationBatchSampler(first, 30.0, seed)
    orders = set()
    for epoch in range(1, 6):
        dataset.set_epoch(epoch)
        sampler.set_epoch(epoch)
        assert all(now <= then for now, then in zip(dataset.durations, first, strict=True))
        assert max(len(batch) * max(dataset.durations[index] for index in batch) for batch in sampler) <= 30.0
        orders.add(tuple(dataset.follower(index) for index in range(200)))
    assert len(orders) == 5
    dataset.set_epoch(0)
    assert dataset.durations == first


@pytest.mark.parametrize("workers", [1, 2])
def test_persistent_workers_follow_the_epoch(rows: Dataset, workers: int) -> None:
    dataset = make_dataset(rows, Augmentation(probability=1, noise_snr=(0, 10)))
    loader = torch.utils.data.DataLoader(
        dataset, batch_size=None, num_workers=workers, persistent_workers=True, collate_fn=lambda item: item
    )
    here = make_dataset(rows, Augmentation(probability=1, noise_snr=(0, 10)))
    for epoch in (0, 1, 2, 0):
        dataset.set_epoch(epoch)
        here.set_epoch(epoch)
        for there, item in zip(loader, (here[index] for index in range(len(here))), strict=True):
            np.testing.assert_array_equal(there["waveform"], item["waveform"])


@pytest.mark.parametrize("augmentation", [{"silence": (-1.0, -1.0)}, {"speed": (2.0, 2.0)}, {"tempo": (2.0, 2.0)}])
def test_augmentation_leaves_enough_samples_for_features(rows: Dataset, augmentation: dict) -> None:
    needed = round(0.7 * min(len(read_audio(audio, 8000)) for audio in rows["audio"]))
    dataset = SpeechDataset(rows, 8000, lambda row: 0, Augmentation(probability=1, **augmentation), min_samples=needed)
    lengths = [len(dataset[index]["waveform"]) for index in range(len(dataset))]
    assert min(lengths) >= needed
    whole = [round(seconds * 8000) for seconds in dataset.durations]
    assert any(length < before for length, before in zip(lengths, whole, strict=True))
    assert any(length == before for length, before in zip(lengths, whole, strict=True))
