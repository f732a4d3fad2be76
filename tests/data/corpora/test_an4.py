"""AN4: lists, validation speakers, copies in other formats, and verified downloads."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from hf_speech.data import inspect_corpus, make_corpus
from hf_speech.data.corpora import an4
from hf_speech.errors import CorpusError

pytestmark = pytest.mark.usefixtures("cache")

TRAIN = [f"an4_clstk/f{speaker}/an{index}-f{speaker}-b" for speaker in "abcdef" for index in (1, 2)]
TEST = [f"an4test_clstk/m{speaker}/cen{index}-m{speaker}-b" for speaker in "xy" for index in (7, 8)]
TEXTS = {"an1": "YES", "an2": "RUBOUT G M E F THREE NINE", "cen7": "O I F", "cen8": "GO"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two utterances each of six training and two test speakers, in the layout of CMU."""
    folder = tmp_path / "an4"
    (folder / "etc").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for split, files in (("train", TRAIN), ("test", TEST)):
        names = [file.rpartition("/")[2] for file in files]
        lines = [f"{TEXTS[name.partition('-')[0]]} ({name})" for name in names]
        (folder / "etc" / f"an4_{split}.fileids").write_text("\n".join(files) + "\n")
        (folder / "etc" / f"an4_{split}.transcription").write_text("\n".join(lines) + "\n")
        for file in files:
            path = folder / "wav" / f"{file}.sph"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, rng.normal(0, 0.1, 3200), 16_000, format="NIST", subtype="PCM_16")
    return folder


def load(folder: Path, **options):
    return make_corpus("an4", data_dir=str(folder), **options).load()


def edit(path: Path, old: str, new: str) -> None:
    content = path.read_text(encoding="utf-8")
    assert old in content
    path.write_text(content.replace(old, new), encoding="utf-8")


def test_combines_lists_transcripts_and_speakers(root):
    corpus = load(root, validation_fraction=0)
    assert {split: len(rows) for split, rows in corpus.items()} == {"train": 12, "validation": 0, "test": 4}
    for rows, files in ((corpus["train"], TRAIN), (corpus["test"], TEST)):
        for row, file in zip(rows, files, strict=True):
            assert row["audio"]["path"] == str(root / "wav" / f"{file}.sph")
            assert row["text"] == TEXTS[Path(file).name.partition("-")[0]]
            assert row["speaker"] == file.split("/")[1]
            assert row["duration"] == pytest.approx(0.2)


def test_validation_speakers_are_chosen_by_seed(root):
    corpus = load(root, validation_fraction=0.3)
    assert {split: len(rows) for split, rows in corpus.items()} == {"train": 8, "validation": 4, "test": 4}
    speakers = {split: set(rows["speaker"]) for split, rows in corpus.items()}
    assert not speakers["train"] & speakers["validation"]
    assert speakers["test"] == {"mx", "my"}
    choices = {frozenset(load(root, validation_fraction=0.3, seed=seed)["validation"]["speaker"]) for seed in range(8)}
    assert len(choices) > 1
    assert load(root, validation_fraction=0.3)["validation"][:] == corpus["validation"][:]


def test_parent_folder_and_archive_give_the_same_corpus(root, tmp_path):
    archive = tmp_path / "an4_sphere.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(root, "an4")
    expected = load(root)
    for source in (root.parent, archive):
        corpus = load(source)
        for split, rows in corpus.items():
            assert rows["text"][:] == expected[split]["text"][:]
            assert rows["duration"][:] == expected[split]["duration"][:]


def test_reads_copies_converted_to_wav(root):
    for path in (root / "wav").rglob("*.sph"):
        samples, rate = soundfile.read(path)
        soundfile.write(path.with_suffix(".wav"), samples, rate)
        path.unlink()
    rows = load(root)["test"]
    assert [Path(audio["path"]).suffix for audio in rows["audio"]] == [".wav"] * 4
    assert rows["duration"][:] == pytest.approx([0.2] * 4)


def test_rejects_the_copy_without_headers(root):
    for path in (root / "wav").rglob("*.sph"):
        path.rename(path.with_suffix(".raw"))
    with pytest.raises(CorpusError, match=r"an1-fa-b\.raw contains raw samples without a header.*an4_sphere\.tar\.gz"):
        load(root)


def test_removes_sentence_marks(root):
    edit(root / "etc" / "an4_test.transcription", "O I F (cen7-mx-b)", "<s> O I F </s> (cen7-mx-b)")
    assert load(root)["test"][0]["text"] == "O I F"


def test_inspection_reports_missing_recordings_and_transcripts(root):
    (root / "wav" / f"{TEST[1]}.sph").unlink()
    edit(root / "etc" / "an4_test.transcription", "O I F (cen7-my-b)\n", "")
    corpus = make_corpus("an4", data_dir=str(root))
    with pytest.raises(CorpusError, match=r"2 of the 16 .*1 missing, 1 without text.*cen8-mx-b\.sph"):
        inspect_corpus(corpus.load(), corpus, 16_000)
    corpus = make_corpus("an4", data_dir=str(root), bad_rows="skip")
    good, _ = inspect_corpus(corpus.load(), corpus, 16_000)
    assert good["test"]["text"][:] == ["O I F", "GO"]


def test_rejects_or_skips_a_transcript_without_a_file(root):
    with (root / "etc" / "an4_train.transcription").open("a") as file:
        file.write("YES (an9-fz-b)\n")
    with pytest.raises(CorpusError, match=r"1 utterance .*'an9-fz-b' has a transcript .* no line .*bad_rows: skip"):
        load(root)
    corpus = make_corpus("an4", data_dir=str(root), bad_rows="skip")
    assert sum(len(rows) for rows in corpus.load().values()) == 16
    assert "'an9-fz-b'" in corpus.notes[0]


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("an4_train.fileids", TRAIN[3], r"an4_train\.fileids, line 13, repeats 'an2-fb-b'"),
        ("an4_train.fileids", "an9", r"an4_train\.fileids, line 13, is not SET/SPEAKER/NAME"),
        ("an4_test.transcription", "GO (cen7-mx-b)", r"an4_test\.transcription, line 5, repeats 'cen7-mx-b'"),
        ("an4_test.transcription", "GO HOME", r"an4_test\.transcription, line 5, is not a transcript"),
    ],
)
def test_reports_a_wrong_line(root, file, line, message):
    with (root / "etc" / file).open("a") as lines:
        lines.write(f"{line}\n")
    with pytest.raises(CorpusError, match=message):
        load(root)


def test_one_sentence_error_for_a_wrong_folder(tmp_path):
    with pytest.raises(CorpusError, match=r"has no etc/an4_train\.fileids.*--data_dir"):
        load(tmp_path)


def test_downloads_and_verifies_without_data_dir(root, tmp_path, monkeypatch, cache):
    archive = tmp_path / "hosted.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(root, "an4")
    monkeypatch.setattr(an4, "URLS", (archive.as_uri(),))
    with pytest.raises(CorpusError, match=r"does not contain the 1,078 expected recordings.*--data_dir"):
        make_corpus("an4").load()
    assert not (cache / "an4").exists()
    monkeypatch.setattr(an4, "CONTENT_SHA256", an4.content_digest((root / "wav").rglob("*.sph")))
    assert len(make_corpus("an4").load()["test"]) == 4
    archive.unlink()
    assert len(make_corpus("an4").load()["test"]) == 4


@pytest.mark.corpora
def test_the_real_corpus_is_complete(corpora_dir):
    corpus = make_corpus("an4", data_dir=str(corpora_dir / "an4"))
    rows = corpus.load()
    assert len(rows["train"]) + len(rows["validation"]) == 948
    assert 75 <= len(rows["validation"]) <= 115
    assert len(rows["test"]) == 130
    assert sum(len(text.split()) for text in rows["test"]["text"]) == 773
    speakers = {split: set(found["speaker"]) for split, found in rows.items()}
    assert len(speakers["train"]) + len(speakers["validation"]) == len(speakers["train"] | speakers["validation"]) == 74
    assert len(speakers["test"] - speakers["train"] - speakers["validation"]) == 10
    files = (corpora_dir / "an4" / "wav").rglob("*.sph")
    assert an4.content_digest(files) == an4.CONTENT_SHA256
    good, report = inspect_corpus(rows, corpus, 16_000)
    assert report.num_bad == 0
    assert report.warnings == []
    assert sum(good["test"]["duration"]) / 3600 == pytest.approx(0.10, abs=0.005)


def test_returns_the_dictionary_of_the_corpus(root):
    assert make_corpus("an4", data_dir=str(root)).lexicon() is None
    (root / "etc" / "an4.dic").write_text("YES Y EH S\n")
    assert make_corpus("an4", data_dir=str(root)).lexicon() == root / "etc" / "an4.dic"
