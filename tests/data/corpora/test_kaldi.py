"""Kaldi data folders: relative paths, segments, classes, and errors."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from hf_speech.data import inspect_corpus, make_corpus
from hf_speech.errors import CorpusError

pytestmark = pytest.mark.usefixtures("cache")

SPEAKERS = {"train": ("s1", "s2", "s3", "s4"), "test": ("s5", "s6")}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two utterances of each speaker, in the layout of speechocean762."""
    folder = tmp_path / "corpus"
    rng = np.random.default_rng(0)
    for split, speakers in SPEAKERS.items():
        files: dict[str, list[str]] = {"wav.scp": [], "text": [], "utt2spk": [], "spk2gender": []}
        for number, speaker in enumerate(speakers):
            files["spk2gender"].append(f"{speaker} {'fm'[number % 2]}")
            for index in range(2):
                name = f"{speaker}-{index}"
                path = f"WAVE/{speaker}/{name}.wav"
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(folder / path, rng.normal(0, 0.1, 3200), 16_000)
                files["wav.scp"].append(f"{name}\t{path}")
                files["text"].append(f"{name}\tSAID IN {name}")
                files["utt2spk"].append(f"{name} {speaker}")
        (folder / split).mkdir()
        for name, lines in files.items():
            (folder / split / name).write_text("".join(f"{line}\n" for line in lines))
    return folder


def load(folder: Path, **options):
    return make_corpus("kaldi", data_dir=str(folder), **options).load()


def append(path: Path, *lines: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


def segment(root: Path, *segments: str) -> None:
    """Changes the test folder to a single recording of two seconds, 0.1 louder in each tenth, with segments."""
    steps = np.repeat(np.arange(20) / 40, 800).astype(np.float32)
    soundfile.write(root / "WAVE" / "long.wav", steps, 8000)
    (root / "test" / "wav.scp").write_text("rec1 WAVE/long.wav\n")
    names = [line.split()[0] for line in segments]
    (root / "test" / "segments").write_text("".join(f"{line}\n" for line in segments))
    (root / "test" / "text").write_text("".join(f"{name} TEXT OF {name}\n" for name in names))
    (root / "test" / "utt2spk").write_text("".join(f"{name} s5\n" for name in names))


def test_combines_the_files_of_a_data_folder(root):
    corpus = load(root, validation_fraction=0.25)
    speakers = {split: set(rows["speaker"]) for split, rows in corpus.items()}
    assert {split: len(rows) for split, rows in corpus.items()} == {"train": 6, "validation": 2, "test": 4}
    assert speakers["test"] == {"s5", "s6"}
    assert len(speakers["validation"]) == 1
    assert speakers["train"] | speakers["validation"] == set(SPEAKERS["train"])
    for rows in corpus.values():
        for row in rows:
            path = Path(row["audio"]["path"])
            assert path == root / "WAVE" / row["speaker"] / path.name
            assert row["text"] == f"SAID IN {path.stem}"
            assert row["duration"] == pytest.approx(0.2)


def test_splits_may_be_named_or_split_off(root):
    corpus = load(root, train_dir="test", validation_dir="train", test_dir=None, test_fraction=0.5)
    assert {split: len(rows) for split, rows in corpus.items()} == {"train": 2, "validation": 8, "test": 2}
    assert set(corpus["validation"]["speaker"]) == set(SPEAKERS["train"])


def test_finds_the_dictionary_of_kaldi_recipes(root):
    corpus = make_corpus("kaldi", data_dir=str(root))
    assert corpus.lexicon() is None
    for folder in ("dict_nosp", "dict"):
        path = root / "local" / folder / "lexicon.txt"
        path.parent.mkdir(parents=True)
        path.write_text("SAID S EH D\n")
        assert corpus.lexicon() == path


def test_resolves_paths_from_parent_folders(root, monkeypatch):
    nested = root / "data" / "deep"
    nested.mkdir(parents=True)
    shutil.move(root / "train", nested / "train")
    shutil.move(root / "test", root / "data" / "test")
    lines = (root / "data" / "test" / "wav.scp").read_text().replace("WAVE", f"{root}/WAVE")
    (root / "data" / "test" / "wav.scp").write_text(lines)
    (nested / "train" / "here.wav").write_bytes((root / "WAVE" / "s1" / "s1-0.wav").read_bytes())
    for name, line in (("wav.scp", "s1-x here.wav"), ("text", "s1-x HERE"), ("utt2spk", "s1-x s1")):
        append(nested / "train" / name, line)
    monkeypatch.chdir(root / "data")
    corpus = load(Path("."), train_dir="deep/train")
    durations = [duration for rows in corpus.values() for duration in rows["duration"]]
    assert durations == pytest.approx([0.2] * 13)


def test_classes_belong_to_utterances_or_speakers(root):
    rows = load(root, label_file="spk2gender")["test"]
    assert rows.features["label"].names == ["f", "m"]
    assert rows["label"][:] == [0, 0, 1, 1]
    for split, speakers in SPEAKERS.items():
        names = [f"{speaker}-{index}" for speaker in speakers for index in range(2)]
        append(root / split / "utt2lang", *(f"{name} {'de' if name[-1] == '0' else 'en'}" for name in names))
    rows = load(root, label_file="utt2lang")["test"]
    assert rows["label"][:] == [0, 1, 0, 1]
    assert "text" not in rows.column_names


def test_splits_by_utterance_without_speakers(root):
    (root / "train" / "utt2spk").unlink()
    corpus = load(root, validation_fraction=0.25)
    assert set(corpus["train"]["speaker"]) == {None}
    assert len(corpus["validation"]) == 2


def test_inspection_reports_missing_recordings_and_texts(root):
    (root / "WAVE" / "s5" / "s5-0.wav").unlink()
    text = (root / "test" / "text").read_text()
    (root / "test" / "text").write_text(text.replace("s5-1\tSAID IN s5-1\n", "s5-1\n"))
    corpus = make_corpus("kaldi", data_dir=str(root))
    with pytest.raises(CorpusError, match=r"2 of the 12 .*1 missing, 1 without text.*s5-0\.wav"):
        inspect_corpus(corpus.load(), corpus, 16_000)


def test_rejects_or_skips_a_text_without_a_recording(root):
    append(root / "test" / "text", "s7-0 NOBODY")
    with pytest.raises(CorpusError, match=r"1 utterance .*'s7-0' is in .*text but has no recording.*bad_rows: skip"):
        load(root)
    corpus = make_corpus("kaldi", data_dir=str(root), bad_rows="skip")
    assert len(corpus.load()["test"]) == 4
    assert "'s7-0'" in corpus.notes[0]


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("wav.scp", "s1-0 WAVE/x.wav", r"wav\.scp, line 9, repeats 's1-0'"),
        ("wav.scp", "s9-0", r"wav\.scp has the recording 's9-0' without a path"),
        ("wav.scp", "s9-0 sph2pipe -f wav a.sph |", r"'s9-0' as the output of a command \(sph2pipe .*\), which is not"),
        ("wav.scp", "s9-0 raw.ark:1234", r"'s9-0' inside a Kaldi archive \(raw\.ark:1234\)"),
        ("wav.scp", "s9-0 WAVE/x.wav", r"utt2spk has no speaker for the utterance 's9-0'"),
        ("text", "s1-0 AGAIN", r"text, line 9, repeats 's1-0'"),
        ("utt2spk", "s1-0 s2", r"utt2spk, line 9, repeats 's1-0'"),
        ("segments", "u1 s1-0 0.0", r"segments, line 1, is not 'UTTERANCE RECORDING START END'"),
        ("segments", "u1 s1-0 0.0 end", r"segments, line 1, is not 'UTTERANCE"),
        ("segments", "u1 s1-0 0.0 nan", r"segments, line 1, is not 'UTTERANCE"),
        ("segments", "u1 s1-0 0.0 0.1 1", r"segments, line 1, has a channel \(1\)"),
        ("segments", "u1 s1-0 0 0.1\nu1 s1-1 0 0.1", r"segments, line 2, repeats 'u1'"),
        ("segments", "u1 s9-0 0 0.1\nu1 s1-1 0 0.1", r"segments, line 2, repeats 'u1'"),
    ],
)
def test_reports_a_wrong_line(root, file, line, message):
    append(root / "train" / file, line)
    with pytest.raises(CorpusError, match=message):
        load(root)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train_dir": "trian"}, r"trian is not a Kaldi data folder.*\(train_dir\): did you mean 'train'\?"),
        ({"validation_dir": "WAVE"}, r"WAVE is not a Kaldi data folder.*\(validation_dir\): use one of test, train\."),
        (
            {"label_file": "spk2gendr"},
            r"train has no file 'spk2gendr' of classes \(label_file\): did you mean 'spk2gender'",
        ),
        ({"data_dir": None}, "give --data_dir, the folder with the data folders"),
    ],
)
def test_one_sentence_error_for_wrong_options(root, options, message):
    with pytest.raises(CorpusError, match=message):
        make_corpus("kaldi", **{"data_dir": str(root), **options}).load()


def test_one_sentence_error_for_a_data_folder_without_texts(root):
    (root / "test" / "text").unlink()
    with pytest.raises(CorpusError, match=r"test has no file 'text' of transcripts: use one of spk2gender, utt2spk"):
        load(root)


def test_cuts_segments_at_their_times(root):
    segment(root, "u1 rec1 0.1 0.3", "u2 rec1 1.9 -1", "u3 rec1 1.5 2.4")
    rows = load(root)["test"]
    assert rows["text"][:] == ["TEXT OF u1", "TEXT OF u2", "TEXT OF u3"]
    assert rows["speaker"][:] == ["s5"] * 3
    assert rows["duration"][:] == pytest.approx([0.2, 0.1, 0.5])
    levels = [set(np.round(soundfile.read(audio["path"])[0] * 40).astype(int)) for audio in rows["audio"]]
    assert levels == [{1, 2}, {19}, {15, 16, 17, 18, 19}]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("u2 rec2 0.0 0.5", "has the recording 'rec2', which is not in wav.scp"),
        ("u2 rec1 0.5 0.5", "goes from 0.5 s to 0.5 s"),
        ("u2 rec1 -0.5 0.5", "goes from -0.5 s to 0.5 s"),
        ("u2 rec1 1.5 2.6", r"goes from 1.5 s to 2.6 s in a recording of 2.00 s"),
        ("u2 rec1 2.1 -1", r"goes from 2.1 s to its end in a recording of 2.00 s"),
    ],
)
def test_rejects_or_skips_invalid_segments(root, line, reason):
    segment(root, "u1 rec1 0.1 0.3", line)
    with pytest.raises(CorpusError, match=rf"1 utterance .*segments, line 2, {reason}; correct such utterances"):
        load(root)
    corpus = make_corpus("kaldi", data_dir=str(root), bad_rows="skip")
    assert corpus.load()["test"]["text"][:] == ["TEXT OF u1"]
    assert len(corpus.notes) == 1
    assert reason in corpus.notes[0]


def test_inspection_reports_segments_of_an_unreadable_recording(root):
    segment(root, "u1 rec1 0.1 0.3", "u2 rec1 0.3 0.5")
    (root / "WAVE" / "long.wav").write_bytes((root / "WAVE" / "long.wav").read_bytes()[:1000])
    corpus = make_corpus("kaldi", data_dir=str(root))
    with pytest.raises(CorpusError, match=r"2 of the 10 .*2 truncated.*long\.wav"):
        inspect_corpus(corpus.load(), corpus, 16_000)


@pytest.mark.corpora
def test_reads_real_data_folders_with_thousands_of_opus_files(corpora_dir):
    folder = corpora_dir / "speechocean762"
    start = time.perf_counter()
    corpus = make_corpus("kaldi", data_dir=str(folder))
    rows = corpus.load()
    assert time.perf_counter() - start < 20  # about 1 s: nothing is decoded to know its length
    assert len(rows["train"]) + len(rows["validation"]) == 2500
    assert len(rows["test"]) == 2500
    speakers = [set(rows[split]["speaker"]) for split in rows]
    assert [sum(map(len, speakers)), len(set.union(*speakers))] == [250, 250]
    assert sum(rows["test"]["duration"]) / 3600 == pytest.approx(2.7, abs=0.05)
    assert rows["train"][0]["text"] == "WE CALL IT BEAR"
    assert load(folder, label_file="spk2gender")["train"].features["label"].names == ["f", "m"]
