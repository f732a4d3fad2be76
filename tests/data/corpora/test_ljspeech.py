"""LJSpeech: two transcripts per clip, splits of one speaker, and wrong lines."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from hf_speech.data import inspect_corpus, make_corpus
from hf_speech.data.corpora import ljspeech
from hf_speech.errors import CorpusError

pytestmark = pytest.mark.usefixtures("cache")

CLIPS = 20


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Twenty clips with quotation marks and umlauts in their transcripts."""
    folder = tmp_path / "LJSpeech-1.1"
    (folder / "wavs").mkdir(parents=True)
    rng = np.random.default_rng(0)
    lines = []
    for index in range(CLIPS):
        name = f"LJ001-{index:04d}"
        lines.append(f'{name}|"Bible, {index} müller|bible, number {index}\n')
        soundfile.write(folder / "wavs" / f"{name}.wav", rng.normal(0, 0.1, 4410), 22_050)
    (folder / "metadata.csv").write_text("".join(lines), encoding="utf-8")
    (folder / "README").write_text("LJSpeech")
    return folder


def load(folder: Path, **options):
    return make_corpus("ljspeech", data_dir=str(folder), **options).load()


def append(root: Path, line: str) -> None:
    with (root / "metadata.csv").open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "bible, number {}"),
        ({"transcript": "normalized"}, "bible, number {}"),
        ({"transcript": "raw"}, '"Bible, {} müller'),
    ],
)
def test_each_clip_has_its_transcript(root, options, text):
    corpus = load(root, **options)
    seen = []
    for rows in corpus.values():
        for row in rows:
            index = int(Path(row["audio"]["path"]).stem[-4:])
            seen.append(index)
            assert row["text"] == text.format(index)
            assert row["speaker"] == "LJ"
            assert row["duration"] == pytest.approx(0.2)
    assert sorted(seen) == list(range(CLIPS))


def test_splits_clips_at_random_by_seed(root):
    corpus = load(root, validation_fraction=0.2, test_fraction=0.25)
    assert {split: len(rows) for split, rows in corpus.items()} == {"train": 12, "validation": 3, "test": 5}
    again = load(root, validation_fraction=0.2, test_fraction=0.25)
    other = load(root, validation_fraction=0.2, test_fraction=0.25, seed=1)
    assert again["test"]["text"][:] == corpus["test"]["text"][:] != other["test"]["text"][:]


def test_accepts_the_parent_folder(root):
    assert load(root.parent)["test"][:] == load(root)["test"][:]


def test_inspection_reports_a_missing_clip_or_text(root):
    (root / "wavs" / "LJ001-0003.wav").unlink()
    append(root, "LJ001-0003b|raw|")
    corpus = make_corpus("ljspeech", data_dir=str(root))
    with pytest.raises(CorpusError, match=r"2 of the 21 .* \(2 missing\)"):
        inspect_corpus(corpus.load(), corpus, 22_050)
    (root / "wavs" / "LJ001-0004.wav").rename(root / "wavs" / "LJ001-0003b.wav")
    with pytest.raises(CorpusError, match="1 without text"):
        inspect_corpus(corpus.load(), corpus, 22_050)


def test_reports_clips_without_a_line(root):
    soundfile.write(root / "wavs" / "LJ999-0001.wav", np.zeros(100), 22_050)
    corpus = make_corpus("ljspeech", data_dir=str(root))
    assert sum(len(rows) for rows in corpus.load().values()) == CLIPS
    assert corpus.notes == [
        f"1 file without a line in metadata.csv was left out in {root / 'wavs'}, such as LJ999-0001.wav."
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("LJ001-0100|only one", r"metadata\.csv, line 21, has 2 fields instead of 3.*'csv'"),
        ("LJ001-0100|a|b|c", r"metadata\.csv, line 21, has 4 fields"),
        ("LJ001-0007|a|a", r"metadata\.csv, line 21, repeats 'LJ001-0007'"),
    ],
)
def test_reports_a_wrong_line(root, line, message):
    append(root, line)
    with pytest.raises(CorpusError, match=message):
        load(root)


def test_one_sentence_error_for_wrong_options(root, tmp_path):
    with pytest.raises(CorpusError, match=r"no transcript 'normalised': did you mean 'normalized'\?"):
        load(root, transcript="normalised")
    with pytest.raises(CorpusError, match=r"has no metadata\.csv.*--data_dir"):
        load(root / "wavs")


def test_downloads_the_verified_archive_without_data_dir(root, tmp_path, monkeypatch):
    archive = tmp_path / "hosted.tar.bz2"
    with tarfile.open(archive, "w:bz2") as tar:
        tar.add(root, "LJSpeech-1.1")
    monkeypatch.setattr(ljspeech, "URL", archive.as_uri())
    with pytest.raises(CorpusError, match=r"LJSpeech is not on this machine, and .* is not the file expected"):
        make_corpus("ljspeech").load()
    monkeypatch.setattr(ljspeech, "ARCHIVE_SHA256", hashlib.sha256(archive.read_bytes()).hexdigest())
    assert len(make_corpus("ljspeech").load()["test"]) == 2


@pytest.mark.corpora
def test_reads_a_real_excerpt(corpora_dir):
    folder = corpora_dir / "LJSpeech-1.1"
    corpus = make_corpus("ljspeech", data_dir=str(folder))
    rows = corpus.load()
    assert {split: len(found) for split, found in rows.items()} == {"train": 6, "validation": 1, "test": 1}
    assert corpus.notes == []
    good, report = inspect_corpus(rows, corpus, 16_000)
    assert report.num_bad == 0
    texts = {text for found in good.values() for text in found["text"]}
    assert sum("fourteen fifty-five" in text for text in texts) == 1
    raw = load(folder, transcript="raw")
    assert sum("1455" in text for found in raw.values() for text in found["text"]) == 1
