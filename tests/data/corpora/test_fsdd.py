"""FSDD: the official split, held-out speakers, archives, and verified downloads."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from hf_speech.data import inspect_corpus, make_corpus
from hf_speech.data.corpora import fsdd
from hf_speech.data.corpora.fsdd import DIGITS
from hf_speech.errors import CorpusError

pytestmark = pytest.mark.usefixtures("cache")

SPEAKERS = ("george", "jackson", "theo")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two digits by three speakers, twelve clips each, in the layout of the repository."""
    rng = np.random.default_rng(0)
    root = tmp_path / "free-spoken-digit-dataset-master"
    (root / "recordings").mkdir(parents=True)
    (root / "README.md").write_text("digits")
    for digit in (0, 7):
        for speaker in SPEAKERS:
            for index in range(12):
                path = root / "recordings" / f"{digit}_{speaker}_{index}.wav"
                soundfile.write(path, rng.normal(0, 0.1, 1600), 8000)
    return root


def clips(rows) -> set[tuple[str, int]]:
    """Speaker and index of every clip."""
    parts = [Path(audio["path"]).stem.split("_") for audio in rows["audio"]]
    assert [part[1] for part in parts] == list(rows["speaker"])
    return {(speaker, int(index)) for _, speaker, index in parts}


def expected(indices: range, speakers: tuple[str, ...] = SPEAKERS) -> set[tuple[str, int]]:
    return {(speaker, index) for speaker in speakers for index in indices}


def test_digits_as_transcripts(repository):
    rows = make_corpus("fsdd", data_dir=str(repository), transcripts=True).load()["test"]
    assert "label" not in rows.column_names
    assert [row["text"] for row in rows] == [DIGITS[int(Path(row["audio"]["path"]).name[0])] for row in rows]


def test_official_split_is_by_index(repository):
    corpus = make_corpus("fsdd", data_dir=str(repository)).load()
    assert clips(corpus["test"]) == expected(range(5))
    assert clips(corpus["validation"]) == expected(range(5, 10))
    assert clips(corpus["train"]) == expected(range(10, 12))
    assert corpus["train"].features["label"].names == ["zero", "seven"]
    for row in corpus["test"]:
        assert row["duration"] == pytest.approx(0.2)
        digit = int(Path(row["audio"]["path"]).name[0])
        assert corpus["test"].features["label"].int2str(row["label"]) == DIGITS[digit]


def test_a_held_out_speaker_is_only_in_the_test_split(repository):
    corpus = make_corpus("fsdd", data_dir=str(repository), holdout_speaker="theo").load()
    others = ("george", "jackson")
    assert clips(corpus["test"]) == expected(range(12), ("theo",))
    assert clips(corpus["validation"]) == expected(range(5), others)
    assert clips(corpus["train"]) == expected(range(5, 12), others)


def test_a_validation_speaker_is_left_out_of_training(repository):
    options = {"holdout_speaker": "theo", "validation_speaker": "jackson"}
    corpus = make_corpus("fsdd", data_dir=str(repository), **options).load()
    assert clips(corpus["test"]) == expected(range(12), ("theo",))
    assert clips(corpus["validation"]) == expected(range(12), ("jackson",))
    assert clips(corpus["train"]) == expected(range(12), ("george",))


def test_a_validation_speaker_does_not_change_the_official_test_split(repository):
    corpus = make_corpus("fsdd", data_dir=str(repository), validation_speaker="theo").load()
    assert clips(corpus["test"]) == expected(range(5))
    assert clips(corpus["validation"]) == expected(range(5, 12), ("theo",))
    assert clips(corpus["train"]) == expected(range(5, 12), ("george", "jackson"))


@pytest.mark.parametrize("option", ["holdout_speaker", "validation_speaker"])
def test_suggests_the_nearest_speaker(repository, option):
    with pytest.raises(CorpusError, match=f"{option} 'jakson' is not a speaker.*'jackson'"):
        make_corpus("fsdd", data_dir=str(repository), **{option: "jakson"}).load()
    with pytest.raises(CorpusError, match="use one of george, jackson, theo"):
        make_corpus("fsdd", data_dir=str(repository), **{option: "X"}).load()


def test_rejects_the_same_speaker_for_test_and_validation(repository):
    options = {"holdout_speaker": "theo", "validation_speaker": "theo"}
    with pytest.raises(CorpusError, match="are both 'theo'"):
        make_corpus("fsdd", data_dir=str(repository), **options).load()


def test_recordings_and_archives_give_the_same_corpus(repository, tmp_path):
    whole = make_corpus("fsdd", data_dir=str(repository)).load()
    sources = [repository / "recordings"]
    for kind in ("zip", "gztar"):
        sources.append(Path(shutil.make_archive(str(tmp_path / kind), kind, repository.parent, repository.name)))
    for source in sources:
        corpus = make_corpus("fsdd", data_dir=str(source)).load()
        for split in whole:
            names = [Path(audio["path"]).name for audio in corpus[split]["audio"]]
            assert names == [Path(audio["path"]).name for audio in whole[split]["audio"]]


def test_reports_files_with_other_names(repository):
    (repository / "recordings" / "notes.txt").write_text("to do")
    corpus = make_corpus("fsdd", data_dir=str(repository))
    corpus.load()
    assert corpus.notes == [
        f"1 file not named DIGIT_SPEAKER_INDEX.wav was left out in {repository / 'recordings'}, such as notes.txt."
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [("gone", "gone does not exist.*--data_dir"), ("", "has no recordings named.*--data_dir"), ("x.txt", "neither")],
)
def test_one_sentence_error_for_a_wrong_data_dir(tmp_path, name, message):
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(CorpusError, match=message):
        make_corpus("fsdd", data_dir=str(tmp_path / name)).load()


@pytest.fixture
def hosted(repository, tmp_path, monkeypatch) -> Path:
    """The archive in GitHub's layout, at a file:// address."""
    archive = tmp_path / "hosted.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(repository, repository.name)
    digest = fsdd.content_digest((repository / "recordings").glob("*.wav"))
    monkeypatch.setattr(fsdd, "URL", archive.as_uri())
    monkeypatch.setattr(fsdd, "CONTENT_SHA256", digest)
    return archive


def test_downloads_once_without_data_dir(hosted, cache):
    corpus = make_corpus("fsdd").load()
    assert {split: len(rows) for split, rows in corpus.items()} == {"train": 12, "validation": 30, "test": 30}
    hosted.unlink()
    assert len(make_corpus("fsdd").load()["train"]) == 12


def test_rejects_other_contents(hosted, cache, monkeypatch):
    monkeypatch.setattr(fsdd, "CONTENT_SHA256", "0" * 64)
    with pytest.raises(CorpusError, match=r"no longer contains the 3,000 expected recordings.*--data_dir"):
        make_corpus("fsdd").load()
    assert not (cache / "fsdd").exists()


def test_error_names_data_dir_if_there_is_no_network(monkeypatch):
    monkeypatch.setattr(fsdd, "URL", "http://127.0.0.1:9/fsdd.tar.gz")  # the discard port is closed
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with pytest.raises(CorpusError, match=r"not on this machine, and http.* cannot be downloaded.*--data_dir\.$"):
        make_corpus("fsdd").load()


@pytest.mark.corpora
def test_the_real_corpus_is_complete(fsdd_dir):
    corpus = make_corpus("fsdd", data_dir=str(fsdd_dir), validation_speaker=None)
    rows = corpus.load()
    assert {split: len(rows[split]) for split in rows} == {"train": 2400, "validation": 300, "test": 300}
    assert rows["train"].features["label"].names == list(DIGITS)
    assert len(set(rows["test"]["speaker"])) == 6
    assert fsdd.content_digest((fsdd_dir / "recordings").glob("*.wav")) == fsdd.CONTENT_SHA256
    good, report = inspect_corpus(rows, corpus, 8000)
    assert report.num_bad == 0
    assert sum(len(split) for split in good.values()) == 3000


def test_splits_some_speakers_at_random(repository):
    options = {"speakers": ["theo", "george"], "split": "random", "validation_fraction": 0.25, "test_fraction": 0.0}
    corpus = make_corpus("fsdd", data_dir=str(repository), **options).load()
    assert {split: len(rows) for split, rows in corpus.items()} == {"train": 36, "validation": 12, "test": 0}
    assert clips(corpus["train"]) | clips(corpus["validation"]) == expected(range(12), ("george", "theo"))
    assert sorted(corpus["validation"]["label"]) == [0] * 6 + [1] * 6
    other = make_corpus("fsdd", data_dir=str(repository), **options, seed=1).load()
    assert clips(other["validation"]) != clips(corpus["validation"])
    with pytest.raises(CorpusError, match=r"speakers 'tho' is not a speaker.*'theo'"):
        make_corpus("fsdd", data_dir=str(repository), speakers=["tho"]).load()
    with pytest.raises(CorpusError, match="random split cannot hold out a speaker"):
        make_corpus("fsdd", data_dir=str(repository), split="random", holdout_speaker="theo").load()
