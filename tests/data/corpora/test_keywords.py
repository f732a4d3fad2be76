"""The corpus of keywords: classes, negatives of each split, pieces and copies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from hf_speech.data.corpora import make_corpus
from hf_speech.errors import CorpusError

RATE = 8000


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_SPEECH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("yes", "abba", "no"):
        (tmp_path / "clips" / name).mkdir(parents=True)
        for index in range(10):
            soundfile.write(tmp_path / "clips" / name / f"{index}.wav", rng.normal(0, 0.1, RATE), RATE)
    for split, seconds in (("one", 2), ("two", 7)):
        (tmp_path / split / "deep").mkdir(parents=True)
        soundfile.write(tmp_path / split / "deep" / "x.flac", rng.normal(0, 0.1, seconds * RATE), RATE)
    return tmp_path


def test_the_first_class_is_other(folder: Path) -> None:
    corpus = make_corpus(
        "keywords",
        data_dir=str(folder / "clips"),
        train_negatives=[str(folder / "one")],
        test_negatives=[str(folder / "one"), str(folder / "two")],
        negative_seconds=3.0,
    )
    splits = corpus.load()
    assert splits["train"].features["label"].names == ["other", "abba", "no", "yes"]
    counts = {split: [list(rows["label"]).count(label) for label in range(4)] for split, rows in splits.items()}
    assert counts["train"][0] == 1
    assert counts["validation"][0] == 0
    assert counts["test"][0] == 1 + 3  # Seven seconds are three equal pieces.
    durations = [row["duration"] for row in splits["test"] if row["label"] == 0]
    assert durations == pytest.approx([2, 7 / 3, 7 / 3, 7 / 3])
    assert sum(sum(numbers[1:]) for numbers in counts.values()) == 30


def test_other_words_are_negatives_and_only_training_clips_are_copied(folder: Path) -> None:
    corpus = make_corpus("keywords", data_dir=str(folder / "clips"), keywords=["abba"], clip_copies=3)
    splits = corpus.load()
    assert splits["train"].features["label"].names == ["other", "abba"]
    assert list(splits["train"]["label"]).count(1) == 3 * 8
    assert list(splits["train"]["label"]).count(0) == 2 * 8
    assert list(splits["test"]["label"]).count(1) == 1


def test_parts_of_keywords_are_negatives(folder: Path) -> None:
    clip = np.zeros(2 * RATE)
    clip[RATE // 2 : RATE // 2 * 3] = np.linspace(0.5, 0.9, RATE)  # A second of sound after half a second of silence.
    for path in (folder / "clips" / "abba").iterdir():
        soundfile.write(path, clip, RATE)
    options = {"data_dir": str(folder / "clips"), "keywords": ["abba"], "clip_copies": 2}
    plain = make_corpus("keywords", **options).load()
    splits = make_corpus("keywords", **options, parts_as_negatives=True).load()
    for split in ("validation", "test"):
        assert len(splits[split]) == len(plain[split])
    known = {row["path"] for row in plain["train"]["audio"]}
    parts = [row for row in splits["train"] if row["audio"]["path"] not in known]
    assert len(parts) == 2 * 8
    assert {row["label"] for row in parts} == {0}
    beginnings = 0
    for row in parts:
        samples, _ = soundfile.read(row["audio"]["path"])
        loud = samples[samples > 0.1]
        assert 0.3 * RATE <= len(loud) <= 0.65 * RATE
        begins, ends = loud[0] < 0.51, loud[-1] > 0.89
        assert begins != ends
        beginnings += begins
    assert beginnings == 8


def test_a_part_of_a_keyword_is_not_the_whole_word_and_silence(folder: Path) -> None:
    paths = sorted((folder / "clips" / "abba").iterdir())
    for index, path in enumerate(paths):
        clip = np.full(4 * RATE, 0.5) if index % 2 else np.full(RATE, 0.5)  # Three seconds that are not the word.
        soundfile.write(path, clip, RATE)
    options = {"data_dir": str(folder / "clips"), "keywords": ["abba"], "parts_as_negatives": True}
    rows = make_corpus("keywords", **options).load()["train"]
    known = {str(path) for path in folder.rglob("clips/*/*")}
    parts = [row for row in rows if row["audio"]["path"] not in known]
    assert len(parts) == 2 * list(rows["label"]).count(1)
    assert all(soundfile.info(row["audio"]["path"]).duration < 0.65 for row in parts)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keywords": ["maybe"]}, "no folder of clips of 'maybe'"),
        ({}, "name folders of other speech as train_negatives"),
        ({"train_negatives": ["EMPTY"]}, "no recordings in .*: correct train_negatives"),
    ],
)
def test_reports_missing_parts(folder: Path, options: dict[str, list[str]], message: str) -> None:
    (folder / "empty").mkdir()
    options = {
        key: [value.replace("EMPTY", str(folder / "empty")) for value in values] for key, values in options.items()
    }
    with pytest.raises(CorpusError, match=message):
        make_corpus("keywords", data_dir=str(folder / "clips"), **options).load()
