"""A folder of classes: layouts, splits by class and by speaker, and notes about ignored files."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from pathlib import Path

import pytest

from hf_speech.data import inspect_corpus, make_corpus
from hf_speech.errors import CorpusError


def names(rows) -> list[str]:
    return [f"{Path(audio['path']).parent.name}/{Path(audio['path']).name}" for audio in rows["audio"]]


def load(folder: Path, **options):
    corpus = make_corpus("folder", data_dir=str(folder), **options)
    return corpus, corpus.load()


def test_splits_all_classes_in_the_same_way(digit_folder):
    _, rows = load(digit_folder, validation_fraction=0.25, test_fraction=0.2)
    assert rows["train"].features["label"].names == ["high", "low"]
    assert Counter(rows["test"]["label"]) == {0: 6, 1: 6}
    assert Counter(rows["validation"]["label"]) == {0: 6, 1: 6}
    everything = names(rows["train"]) + names(rows["validation"]) + names(rows["test"])
    assert len(set(everything)) == len(everything) == 60
    for row in rows["train"]:
        assert rows["train"].features["label"].int2str(row["label"]) == Path(row["audio"]["path"]).parent.name
        assert 0.29 < row["duration"] < 0.61


def test_a_fraction_of_the_training_split_has_all_classes_equally(digit_folder):
    whole, part = (load(digit_folder, train_fraction=share)[1] for share in (1.0, 0.25))
    assert {split: len(rows) for split, rows in part.items()} == {"train": 12, "validation": 6, "test": 6}
    assert Counter(part["train"]["label"]) == {0: 6, 1: 6}
    assert set(names(part["train"])) < set(names(whole["train"]))
    assert names(part["test"]) == names(whole["test"])
    assert names(part["train"]) != names(load(digit_folder, train_fraction=0.25, seed=1)[1]["train"])


def test_splits_depend_on_the_seed(digit_folder):
    first = load(digit_folder)[1]
    assert names(first["test"]) == names(load(digit_folder)[1]["test"])
    assert names(first["test"]) != names(load(digit_folder, seed=1)[1]["test"])


def test_known_speakers_are_never_in_two_splits(digit_folder):
    _, rows = load(digit_folder, speaker_pattern=r"(speaker\d)_", test_fraction=0.3, validation_fraction=0.3)
    speakers = [set(rows[split]["speaker"]) for split in ("train", "validation", "test")]
    assert sorted(len(found) for found in speakers) == [1, 1, 1]
    assert set.union(*speakers) == {"speaker0", "speaker1", "speaker2"}


def test_unknown_speakers_are_null(digit_folder):
    _, rows = load(digit_folder)
    assert set(rows["train"]["speaker"]) == {None}


@pytest.mark.parametrize(
    ("pattern", "message"), [("speaker", "one .group."), ("(", "not a regular"), ("(x9)", "finds no")]
)
def test_one_sentence_error_for_a_wrong_speaker_pattern(digit_folder, pattern, message):
    with pytest.raises(CorpusError, match=message):
        load(digit_folder, speaker_pattern=pattern)


@pytest.mark.parametrize("validation", ["validation", "val", "valid", "dev"])
def test_keeps_given_splits(digit_folder, tmp_path, validation):
    root = tmp_path / "splits"
    for split, index in (("train", 0), (validation, 1), ("test", 2)):
        for label in ("low", "high"):
            for file in (digit_folder / label).glob(f"speaker{index}_*"):
                (root / split / label / "session").mkdir(parents=True, exist_ok=True)
                shutil.copy(file, root / split / label / "session" / file.name)
    _, rows = load(root)
    for split, index in (("train", 0), ("validation", 1), ("test", 2)):
        assert len(rows[split]) == 20
        assert all(f"speaker{index}_" in audio["path"] for audio in rows[split]["audio"])
    assert rows["train"].features["label"].names == ["high", "low"]


def test_takes_missing_splits_from_training(digit_folder, tmp_path):
    root = tmp_path / "splits"
    shutil.copytree(digit_folder, root / "train")
    (root / "test").mkdir()
    for label in ("low", "high"):
        shutil.move(root / "train" / label, tmp_path / label)
        (root / "train" / label).mkdir()
        (root / "test" / label).mkdir()
        for file in (tmp_path / label).iterdir():
            shutil.move(file, root / ("test" if "speaker2" in file.name else "train") / label)
    _, rows = load(root, validation_fraction=0.1)
    assert {split: len(rows[split]) for split in rows} == {"train": 36, "validation": 4, "test": 20}
    assert all("speaker2" in audio["path"] for audio in rows["test"]["audio"])


def test_uses_the_lists_of_speech_commands(digit_folder):
    (digit_folder / "testing_list.txt").write_text("low/speaker0_3.wav\nhigh/speaker1_4.wav\n")
    (digit_folder / "validation_list.txt").write_text("low/speaker2_0.wav\n")
    corpus, rows = load(digit_folder)
    assert sorted(names(rows["test"])) == ["high/speaker1_4.wav", "low/speaker0_3.wav"]
    assert names(rows["validation"]) == ["low/speaker2_0.wav"]
    assert len(rows["train"]) == 57
    assert corpus.notes == []


def test_notes_ignored_files(digit_folder):
    (digit_folder / "low" / ".DS_Store").write_bytes(b"x")
    (digit_folder / ".git" / "low").mkdir(parents=True)
    shutil.copy(digit_folder / "low" / "speaker0_0.wav", digit_folder / ".git" / "low")
    (digit_folder / "low" / "notes.txt").write_text("x")
    (digit_folder / "README.md").write_text("x")
    shutil.copy(digit_folder / "low" / "speaker0_0.wav", digit_folder / "stray.wav")
    (digit_folder / "_background_noise_").mkdir()
    shutil.copy(digit_folder / "low" / "speaker0_0.wav", digit_folder / "_background_noise_" / "rain.wav")
    corpus, rows = load(digit_folder)
    assert sum(len(split) for split in rows.values()) == 60
    assert rows["train"].features["label"].names == ["high", "low"]
    assert sorted(re.split(" (?:was|were) left", note)[0] for note in corpus.notes) == [
        "1 audio file in folders that begin with '_'",
        "1 audio file outside of the class folders",
        "2 non-audio files",
    ]
    assert inspect_corpus(rows, corpus, 8000)[1].warnings[: len(corpus.notes)] == corpus.notes


def test_sorts_numbers_by_value(digit_folder, tmp_path):
    for label in ("10", "2", "1"):
        shutil.copytree(digit_folder / "low", tmp_path / "numbers" / label)
    _, rows = load(tmp_path / "numbers")
    assert rows["train"].features["label"].names == ["1", "2", "10"]


def test_reads_an_archive_of_a_folder(digit_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_SPEECH_CACHE", str(tmp_path / "cache"))
    archive = Path(shutil.make_archive(str(tmp_path / "tones"), "zip", digit_folder.parent, digit_folder.name))
    assert {split: names(rows) for split, rows in load(archive)[1].items()} == {
        split: names(rows) for split, rows in load(digit_folder)[1].items()
    }


@pytest.mark.parametrize("layout", ["empty", "flat", "text"])
def test_one_sentence_error_for_a_folder_without_classes(digit_folder, tmp_path, layout):
    root = tmp_path / "root"
    root.mkdir()
    if layout == "flat":
        shutil.copy(digit_folder / "low" / "speaker0_0.wav", root)
    if layout == "text":
        (root / "low").mkdir()
        (root / "low" / "a.txt").write_text("x")
    with pytest.raises(CorpusError, match=r"has no audio files in subfolders: give a folder with one"):
        load(root)


def test_error_asks_for_data_dir():
    with pytest.raises(CorpusError, match="give --data_dir, a folder with one subfolder for each class"):
        make_corpus("folder").load()


def test_inspection_reports_broken_files(digit_folder):
    (digit_folder / "low" / "speaker0_0.wav").write_bytes(b"")
    _, rows = load(digit_folder, test_fraction=0.0, validation_fraction=0.0)
    durations = dict(zip(names(rows["train"]), rows["train"]["duration"], strict=True))
    assert durations["low/speaker0_0.wav"] != durations["low/speaker0_0.wav"]
    assert sum(duration == duration for duration in durations.values()) == 59


@pytest.mark.corpora
def test_splits_real_recordings_by_speaker(corpora_dir):
    _, rows = load(corpora_dir / "ravdess", speaker_pattern=r"Actor_(\d+)/")
    speakers = [set(rows[split]["speaker"]) for split in ("train", "validation", "test")]
    assert len(set.union(*speakers)) == sum(map(len, speakers)) == 24


TESTING = ["high/speaker1_4.wav", "low/speaker0_3.wav", "low/speaker1_7.wav"]


@pytest.mark.parametrize(
    "spell",
    [
        lambda text: text.encode("utf-8-sig"),
        lambda text: text.encode("utf-16"),
        lambda text: text.replace("/", "\\").replace("\n", "\r\n").encode(),
        lambda text: "".join(f"./{line}\n" for line in text.split()).encode(),
        lambda text: text.replace(".wav", ".flac").encode(),
        lambda text: text.replace(".wav", "").encode(),
        lambda text: "".join(f"/home/ann/tones/{line}\n" for line in text.split()).encode(),
    ],
    ids=["mark", "utf-16", "windows", "dot", "suffix", "stem", "absolute"],
)
@pytest.mark.parametrize("name", ["testing_list.txt", "test_list.txt"])
def test_reads_lists_of_other_programs(digit_folder, name, spell):
    (digit_folder / name).write_bytes(spell("\n".join(TESTING) + "\n"))
    corpus, rows = load(digit_folder)
    assert sorted(names(rows["test"])) == TESTING
    assert corpus.notes == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("low\tspeaker0_3\n", r"testing_list\.txt, line 1, is .*, nor for any other line"),
        ("low/speaker0_3.wav\nlow/gone.wav\n", r"testing_list\.txt, line 2, is 'low/gone\.wav', but there is no such"),
        ("low/speaker0_3.wav\nlow/speaker2_0.wav\n", r"has 'low/speaker2_0\.wav', which is in another list too"),
        ("b\u00e4r/\udce9.wav\n", "is not readable text"),
    ],
)
def test_error_for_a_list_that_cannot_be_read(digit_folder, content, message):
    (digit_folder / "testing_list.txt").write_bytes(content.encode("utf-8", "surrogateescape"))
    (digit_folder / "validation_list.txt").write_text("low/speaker2_0.wav\n")
    with pytest.raises(CorpusError, match=message):
        load(digit_folder)


def test_skips_single_unknown_lines_of_a_list(digit_folder):
    (digit_folder / "testing_list.txt").write_text("low/speaker0_3.wav\nlow/gone.wav\n")
    corpus, rows = load(digit_folder, bad_rows="skip")
    assert names(rows["test"]) == ["low/speaker0_3.wav"]
    assert "gone.wav" in corpus.notes[0]


def test_follows_linked_classes_and_reports_dangling_links(digit_folder, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    for label in ("low", "high"):
        (root / label).symlink_to(digit_folder / label)
    (digit_folder / "low" / "lost.wav").symlink_to(tmp_path / "gone.wav")
    corpus, rows = load(root)
    assert sum(len(split) for split in rows.values()) == 61
    with pytest.raises(CorpusError, match=r"1 missing.*lost\.wav does not exist"):
        inspect_corpus(rows, corpus, 8000)


@pytest.mark.parametrize("name", [b"low/caf\xe9.wav", b"gr\xfcn/0.wav", b"low/\xff\xfe/0.wav"])
def test_one_sentence_error_for_a_name_of_another_encoding(digit_folder, name):
    path = digit_folder / Path(name.decode("utf-8", "surrogateescape"))
    path.parent.mkdir(exist_ok=True)
    shutil.copy(digit_folder / "low" / "speaker0_0.wav", path)
    with pytest.raises(CorpusError, match=r"1 utterance .* has a name that is not UTF-8") as caught:
        load(digit_folder)
    str(caught.value).encode()
    corpus, rows = load(digit_folder, bad_rows="skip")
    assert sum(len(split) for split in rows.values()) == 60
    assert "has a name that is not UTF-8" in corpus.notes[0]


@pytest.mark.parametrize(
    ("one", "other"), [("caf\u00e9", "cafe\u0301"), ("\u30ac", "\u30ab\u3099"), ("\u00c5", "\u212b")]
)
def test_merges_unicode_forms_of_a_class_name(digit_folder, one, other):
    (digit_folder / "low").rename(digit_folder / one)
    (digit_folder / other).mkdir()
    for file in list((digit_folder / one).iterdir())[:10]:
        shutil.move(file, digit_folder / other / file.name)
    assert load(digit_folder)[1]["train"].features["label"].names == sorted(["high", one])


def test_describes_a_custom_corpus_by_options(digit_folder):
    corpus = make_corpus("folder", data_dir=str(digit_folder), title="My tones", license="cc0-1.0", language="en")
    assert (corpus.title, corpus.license, corpus.language, corpus.dataset) == ("My tones", "cc0-1.0", "en", None)
    assert make_corpus("folder").title == "a folder of classes"
