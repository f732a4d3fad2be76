"""Streamed splits: each utterance is read once by all processes, and unusable ones are skipped."""

from __future__ import annotations

import itertools
import pickle
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Value
from tests.data.corpora.test_hub import RATE, sound

from hf_speech.data.augmentation import Augmentation
from hf_speech.data.corpora.hub_stream import HubStream
from hf_speech.data.dataset import SpeechCollator
from hf_speech.data.stream import Admission, SpeechStream
from hf_speech.errors import CorpusError
from hf_speech.models import SpeechFeatureExtractor

pytestmark = pytest.mark.usefixtures("impatient_streams")

COUNT = 40
FEATURES = Features({"recording": {"bytes": Value("binary"), "path": Value("string")}, "said": Value("string")})


def source_of(num_shards: int, count: int = COUNT, **damaged: bytes) -> HubStream:
    """Returns a stream of `count` files; `damaged` has other bytes for some of the sounds."""
    rows = [
        {
            "recording": {"bytes": damaged.get(f"sound{index}", sound(index * 40)), "path": f"{index}.wav"},
            "said": f"text {index}",
        }
        for index in range(count)
    ]
    stream = Dataset.from_list(rows, features=FEATURES).to_iterable_dataset(num_shards=num_shards)
    return HubStream(stream, "recording", "said")


def usual_limits(corpus: str | None) -> tuple[float, float]:
    return 0.1, 30.0


def examine_nothing(row: Any, seconds: float) -> None:
    return None


def encode_number(row: Any) -> int:
    return int(row["text"].split()[1])


def stream_of(source: Any, admission: Admission | None = None, **options: Any) -> SpeechStream:
    admission = admission or Admission(usual_limits, "refuse", examine_nothing)
    return SpeechStream(source, RATE, encode_number, admission, **{"batch_size": 4, "num_passes": 1, **options})


def targets(stream: SpeechStream, workers: int = 0) -> list[int]:
    loader = torch.utils.data.DataLoader(stream, batch_size=None, num_workers=workers)
    return [item["target"] for item in loader]


@pytest.mark.parametrize(
    ("num_shards", "processes", "workers"),
    [(1, 2, 0), (3, 2, 0), (4, 2, 0), (4, 3, 0), (1, 1, 2), (4, 2, 2), (3, 2, 2)],
)
def test_processes_and_workers_share_the_stream_exactly_once(num_shards: int, processes: int, workers: int) -> None:
    """One shard for two processes, four for three, more workers than shards: each utterance is read exactly once."""
    parts = [
        targets(stream_of(source_of(num_shards), process=(process, processes)), workers) for process in range(processes)
    ]
    assert Counter(itertools.chain(*parts)) == Counter(range(COUNT))
    if num_shards % processes == 0:
        assert all(parts)


def test_each_pass_has_a_different_order_of_the_same_utterances() -> None:
    numbers = targets(stream_of(source_of(2), num_passes=2, window=1))
    first, second = numbers[:COUNT], numbers[COUNT:]
    assert sorted(first) == sorted(second) == list(range(COUNT))
    assert first != second
    assert first != list(range(COUNT))
    assert targets(stream_of(source_of(2), num_passes=2, window=1)) == numbers
    assert next(itertools.islice(stream_of(source_of(2), num_passes=None), 3 * COUNT, None)) is not None


def test_batches_hold_utterances_of_similar_length_in_random_order() -> None:
    items = list(stream_of(source_of(2), window=100))
    lengths = np.array([len(item["waveform"]) for item in items]).reshape(-1, 4)
    spread = np.ptp(lengths, axis=1)
    assert spread.max() <= 3 * 40, "four neighbors by length"
    steps = np.diff(lengths[:, 0])
    assert steps.min() < 0 < steps.max(), "not from short to long"
    unsorted = np.array([len(item["waveform"]) for item in stream_of(source_of(2), window=1)]).reshape(-1, 4)
    assert np.ptp(unsorted, axis=1).mean() > 3 * spread.mean()


def test_augmentation_depends_only_on_seed_pass_and_recording() -> None:
    noisy = Augmentation(probability=1, noise_snr=(0, 10))

    def waveforms(**options: Any) -> list[tuple[int, np.ndarray]]:
        stream = stream_of(source_of(2), augmentation=noisy, window=1, **options)
        return [(item["target"], item["waveform"]) for item in stream]

    twice = waveforms(num_passes=2)
    alone, again = dict(twice[:COUNT]), dict(twice[COUNT:])
    together = dict(item for rank in (0, 1) for item in waveforms(process=(rank, 2)))
    assert alone.keys() == together.keys()
    for target, waveform in alone.items():
        np.testing.assert_array_equal(waveform, together[target])
    assert np.abs(alone[3] - again[3]).max() > 1e-3
    assert np.abs(alone[3] - dict(waveforms(seed=1))[3]).max() > 1e-3


def test_rejects_or_skips_bad_utterances_with_a_report() -> None:
    damaged = {"sound7": b"no sound at all", "sound9": sound(9)[:60]}
    with pytest.raises(
        CorpusError, match=r"[79]\.wav .*: correct it, or leave such utterances out with bad_rows: skip"
    ):
        list(stream_of(source_of(1, **damaged)))
    skipping = Admission(
        lambda _: (0.1, 30.0), "skip", lambda row, seconds: "Five is out." if "5" in row["text"] else None
    )
    items = list(stream_of(source_of(1, **damaged), skipping, num_passes=2))
    fives = sum("5" in str(index) for index in range(COUNT))
    assert len(items) == 2 * (COUNT - 2 - fives)
    told = Counter(reason.split()[0] for item in items for reason in item["left_out"])
    # What comes behind the last good utterance is told with the next one, of which there is none here.
    assert Counter(["Five"] * fives + ["7.wav", "9.wav"]) <= told


@pytest.mark.parametrize(("limits", "reason"), [((0.4, 30.0), "under 0.4 s"), ((0.1, 0.2), "over 0.2 s")])
def test_checks_the_length_of_each_utterance(limits: tuple[float, float], reason: str) -> None:
    with pytest.raises(CorpusError, match=reason):
        list(stream_of(source_of(1), Admission(lambda _: limits, "refuse", examine_nothing)))


def test_one_sentence_error_for_a_stream_without_usable_rows() -> None:
    useless = Admission(lambda _: (5.0, 30.0), "skip", examine_nothing)
    with pytest.raises(CorpusError, match=r"is usable, for example: \d+\.wav lasts"):
        list(stream_of(source_of(1), useless, num_passes=None))


def test_collated_batches_contain_files_and_skipped_rows() -> None:
    extractor = SpeechFeatureExtractor(sampling_rate=RATE, num_mel_bins=20, hop_length=80, win_length=200)
    stream = stream_of(source_of(2, sound0=b"nothing"), Admission(usual_limits, "skip", examine_nothing))
    loader = torch.utils.data.DataLoader(stream, batch_size=4, collate_fn=SpeechCollator(extractor, torch.tensor))
    batches = list(loader)
    assert sorted(file for batch in batches for file in batch["files"]) == sorted(f"{i}.wav" for i in range(1, COUNT))
    assert [reason[:5] for batch in batches for reason in batch["left_out"]] == ["0.wav"]


def classes(values: list[Any], feature: Any, names: list[str]) -> HubStream:
    """Returns a stream of class ids, or names, of another dataset."""
    rows = [{"recording": {"bytes": sound(0), "path": "x.wav"}, "said": value} for value in values]
    stream = Dataset.from_list(rows, features=Features({**FEATURES, "said": feature})).to_iterable_dataset()
    return HubStream(stream, "recording", "said", feature, names)


def labels(source: HubStream) -> Iterator[Any]:
    return (row["label"] for row in source.rows(0, (0, 1)))


def test_maps_classes_by_name() -> None:
    names = ["a", "b"]
    own = ClassLabel(names=["b", "c", "a"])
    assert Counter(labels(classes([0, 1, 2, -1], own, names))) == Counter([1, None, 0, None])
    assert Counter(labels(classes(["b", "a", "z", " "], Value("string"), names))) == Counter([1, 0, None, None])


def test_a_stream_can_be_pickled_for_spawned_workers() -> None:
    assert targets(pickle.loads(pickle.dumps(stream_of(source_of(2))))) == targets(stream_of(source_of(2)))
