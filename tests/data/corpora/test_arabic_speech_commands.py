"""Arabic Speech Commands: the official tables, and missing, unknown and duplicate files."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from hf_speech.data import inspect_corpus, make_corpus
from hf_speech.data.corpora import arabic_speech_commands
from hf_speech.errors import CorpusError

pytestmark = pytest.mark.usefixtures("cache")

WORDS = ("yes", "zoom in", "zoom out")
SPEAKERS = {"train": (1, 30), "val": (2,), "test": (14,)}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three words by four speakers, two takes each, in the layout of the repository."""
    rng = np.random.default_rng(0)
    root = tmp_path / "arabic-speech-commands-dataset-master"
    for split, speakers in SPEAKERS.items():
        lines = ["file,class"]
        for word in WORDS:
            (root / "dataset" / word).mkdir(parents=True, exist_ok=True)
            for speaker in speakers:
                for take in (1, 2):
                    name = f"dataset/{word}/{speaker:08d}_NO_{take:02d}.wav"
                    soundfile.write(root / name, rng.normal(0, 0.1, 1600), 16_000)
                    lines.append(f"{name},{word}")
        (root / f"{split}.csv").write_text("\n".join(lines) + "\n")
    (root / "README.md").write_text("commands")
    return root


def load(root: Path, **options):
    return make_corpus("arabic_speech_commands", data_dir=str(root), **options).load()


def append(table: Path, line: str) -> None:
    with table.open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def test_the_tables_define_the_split(root):
    corpus = load(root)
    for split, speakers in zip(corpus, SPEAKERS.values(), strict=True):
        assert set(corpus[split]["speaker"]) == {f"{speaker:08d}" for speaker in speakers}
        assert Counter(corpus[split]["label"]) == dict.fromkeys(range(3), 2 * len(speakers))
        for row in corpus[split]:
            word = corpus[split].features["label"].int2str(row["label"])
            assert Path(row["audio"]["path"]).parent.name == word
    assert corpus["train"].features["label"].names == list(WORDS)


def test_reads_other_formats_of_the_same_recordings(root):
    for path in root.glob("dataset/*/*.wav"):
        samples, rate = soundfile.read(path)
        soundfile.write(path.with_suffix(".flac"), samples, rate)
        path.unlink()
    corpus = make_corpus("arabic_speech_commands", data_dir=str(root))
    assert all(audio["path"].endswith(".flac") for audio in corpus.load()["train"]["audio"])
    assert corpus.notes == []


def test_a_missing_file_is_reported(root):
    (root / "dataset" / "yes" / "00000014_NO_01.wav").unlink()
    corpus = make_corpus("arabic_speech_commands", data_dir=str(root))
    with pytest.raises(CorpusError, match=r"1 missing.*00000014_NO_01\.wav does not exist"):
        inspect_corpus(corpus.load(), corpus, 16_000)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("dataset/yes/one.wav,yes", r"test.csv, line 8, dataset/yes/one\.wav is not dataset/WORD/SPEAKER_NO_TAKE"),
        ("dataset/yes/00000001_NO_09.wav,no", r"dataset/yes/00000001_NO_09\.wav is labeled 'no'"),
        ("dataset/yes/00000014_NO_01.wav,yes", r"was listed before, in .*test\.csv, line 2"),
        ("dataset/yes/00000001_NO_01.wav,yes", r"was listed before, in .*train\.csv, line 2"),
    ],
)
def test_rejects_or_skips_unknown_names_and_duplicates(root, line, message):
    append(root / "test.csv", line)
    with pytest.raises(CorpusError, match=f"1 utterance .*{message}.*bad_rows: skip"):
        load(root)
    corpus = make_corpus("arabic_speech_commands", data_dir=str(root), bad_rows="skip")
    assert len(corpus.load()["test"]) == 6
    assert len(corpus.notes) == 1


def test_notes_files_that_no_table_lists(root):
    shutil.copy(root / "dataset" / "yes" / "00000014_NO_01.wav", root / "dataset" / "yes" / "00000014_NO_11.wav")
    corpus = make_corpus("arabic_speech_commands", data_dir=str(root))
    assert sum(len(rows) for rows in corpus.load().values()) == 24
    assert corpus.notes == [
        f"1 recording that no table lists was left out in {root}, such as dataset/yes/00000014_NO_11.wav."
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "has no val.csv: give the folder"),
        ("path,label\n", "line 1, is not file,class"),
        ("", "is not file,class"),
        ("file,class\nx,y,z\n", "line 2, has 3 fields instead of 2"),
    ],
)
def test_one_sentence_error_for_invalid_tables(root, content, message):
    (root / "val.csv").unlink()
    if content is not None:
        (root / "val.csv").write_text(content)
    with pytest.raises(CorpusError, match=message):
        load(root)


def test_downloads_once_and_verifies(root, tmp_path, monkeypatch):
    archive = Path(shutil.make_archive(str(tmp_path / "master"), "zip", tmp_path, root.name))
    monkeypatch.setattr(arabic_speech_commands, "URL", archive.as_uri())
    with pytest.raises(CorpusError, match="contains 24 of the 12,000 recordings"):
        load_downloaded()
    monkeypatch.setattr(arabic_speech_commands, "NUM_RECORDINGS", 24)
    assert len(load_downloaded()["train"]) == 12
    archive.unlink()
    assert len(load_downloaded()["train"]) == 12


def load_downloaded():
    return make_corpus("arabic_speech_commands").load()


@pytest.mark.corpora
def test_the_real_corpus_is_complete(corpora_dir):
    corpus = make_corpus("arabic_speech_commands", data_dir=str(corpora_dir / "arabic_speech_commands"))
    splits = corpus.splits()
    assert {split: len(clips) for split, clips in splits.items()} == {"train": 7200, "validation": 2400, "test": 2400}
    speakers = {split: {clip.speaker for clip in clips} for split, clips in splits.items()}
    assert [len(people) for people in speakers.values()] == [18, 6, 6]
    assert len(set.union(*speakers.values())) == 30
    assert Counter(Counter(clip.label for clip in splits["test"]).values()) == {60: 40}
    assert all(clip.audio.is_file() for clips in splits.values() for clip in clips)
    assert corpus.notes == []
