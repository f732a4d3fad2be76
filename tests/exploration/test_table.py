"""The table of a corpus: rows, statistics and warnings."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from hf_speech.data import make_corpus, survey_corpus
from hf_speech.data.corpora.base import AUDIO_FEATURE
from hf_speech.exploration.table import Table, read_table
from hf_speech.tasks import TextOptions, task_of_columns


def rows(paths: list[Path], targets: list, speakers: list[str | None], target: object = Value("string")) -> Dataset:
    column = "label" if isinstance(target, ClassLabel) else "text"
    features = {"audio": AUDIO_FEATURE, column: target, "speaker": Value("string"), "duration": Value("float64")}
    audio = [{"path": str(path), "bytes": None} for path in paths]
    values = {"audio": audio, column: targets, "speaker": speakers, "duration": [0.5] * len(paths)}
    return Dataset.from_dict(values, features=Features(features))


@pytest.fixture
def sounds(tmp_path: Path) -> list[Path]:
    """Noise of 0.25, 0.5, 0.75 and 1.0 s at 8 kHz, and of 0.5 s at 16 kHz."""
    rng = np.random.default_rng(0)
    lengths = [(2000, 8000), (4000, 8000), (6000, 8000), (8000, 8000), (8000, 16000)]
    for index, (length, rate) in enumerate(lengths):
        soundfile.write(tmp_path / f"{index}.wav", rng.normal(0, 0.1, length), rate)
    return [tmp_path / f"{index}.wav" for index in range(5)]


def table_of(corpus: DatasetDict, column: str, **options) -> Table:
    report = survey_corpus(corpus, make_corpus("folder", data_dir="."), 8000)
    task = task_of_columns([column])
    assert task is not None
    return read_table(corpus, report, task, **options)


def test_counts_transcripts_after_normalization(sounds: list[Path]):
    train = rows(sounds[:2], ["One two", "two TWO"], ["ann", "bob"])
    test = rows(sounds[2:4], ["two three", "one Four five"], ["ann", None])
    table = table_of(DatasetDict(train=train, test=test), "text", options=TextOptions("lower"))
    first, second = table.summaries()
    assert (first.name, first.utterances, first.kinds, first.speakers, first.new_units) == ("train", 2, 2, 2, None)
    assert (first.shortest, first.longest, first.seconds) == pytest.approx((0.25, 0.5, 0.75))
    assert (second.kinds, second.speakers, second.median) == (5, 1, pytest.approx(0.875))
    assert second.new_units == pytest.approx(3 / 5)
    assert table.entries[0].target == "One two"
    assert table.units(table.entries[1]) == ["two", "two"]


def test_reports_splits_that_share_speakers(sounds: list[Path]):
    train = rows(sounds[:2], ["a", "b"], ["ann", "bob"])
    shared = table_of(DatasetDict(train=train, test=rows(sounds[2:4], ["a", "b"], ["ann", "cid"])), "text")
    (sentence,) = shared.shared_speakers()
    assert sentence.startswith("1 of the 2 speakers of test is also in train")
    apart = table_of(DatasetDict(train=train, test=rows(sounds[2:4], ["a", "b"], [None, "cid"])), "text")
    assert apart.shared_speakers() == []


def test_reports_sounds_with_a_lower_sampling_rate(sounds: list[Path]):
    table = table_of(DatasetDict(train=rows(sounds, list("abcde"), ["ann"] * 5)), "text")
    assert table.sampling_rates() == {8000: 4, 16000: 1}
    (sentence,) = table.other_rates(16000)
    assert "4 recordings have a sampling rate of 8,000 Hz" in sentence
    assert "above 4,000 Hz" in sentence
    assert table.other_rates(8000) == []


def test_csv_contains_every_row(sounds: list[Path], tmp_path: Path):
    sounds[1].write_bytes(b"no sound")
    sounds[2].unlink()
    label = ClassLabel(names=["low", "high, or so"])
    table = table_of(DatasetDict(train=rows(sounds, [1, 0, 1, -1, 0], ["ann"] * 4 + [None], label)), "label")
    table.save(tmp_path / "table.csv")
    with (tmp_path / "table.csv").open(newline="", encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    assert [row["path"] for row in read] == [str(path) for path in sounds]
    assert [row["label"] for row in read] == ["high, or so", "low", "high, or so", "", "low"]
    assert [row["usable"] for row in read] == ["yes", "no", "no", "no", "yes"]
    assert [row["duration"] for row in read] == ["0.2500", "", "", "1.0000", "0.5000"]
    assert [row["sampling_rate"] for row in read] == ["8000", "", "", "8000", "16000"]
    assert [row["speaker"] for row in read] == ["ann"] * 4 + [""]
    (summary,) = table.summaries()
    assert (summary.utterances, summary.unusable, summary.kinds) == (2, 3, 2)


def test_a_split_without_usable_rows_has_no_durations(sounds: list[Path]):
    sounds[0].write_bytes(b"")
    corpus = DatasetDict(train=rows(sounds[1:2], ["a"], ["ann"]), test=rows(sounds[:1], ["a"], ["bob"]))
    test = table_of(corpus, "text").summaries()[1]
    assert (test.utterances, test.unusable, test.seconds) == (0, 1, 0)
    assert math.isnan(test.median)
