"""The inspection: every defect is found, counted, shown, and rejected or skipped."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from datasets import Dataset, DatasetDict

from hf_speech.data import Corpus, inspect_corpus, inspect_split, make_corpus
from hf_speech.data.corpora.mixture import Member
from hf_speech.data.inspection import check_classes
from hf_speech.errors import CorpusError

RATE = 8000


@pytest.fixture
def splits(digit_folder: Path, tmp_path: Path) -> Path:
    """The tones as train (speakers 0 and 1) and test (speaker 2)."""
    for label in ("low", "high"):
        for split in ("train", "test"):
            (tmp_path / "splits" / split / label).mkdir(parents=True)
        for file in (digit_folder / label).iterdir():
            split = "test" if "speaker2" in file.name else "train"
            shutil.move(file, tmp_path / "splits" / split / label)
    return tmp_path / "splits"


def load(folder: Path, **options) -> tuple[DatasetDict, Corpus]:
    corpus = make_corpus("folder", data_dir=str(folder), validation_fraction=0.25, **options)
    return corpus.load(), corpus


def spoil(splits: Path) -> dict[str, str]:
    """Adds a file with each kind of defect to train, and returns the kinds."""
    low = splits / "train" / "low"
    (low / "a_empty.wav").write_bytes(b"")
    (low / "b_text.wav").write_text("no sound")
    whole = (low / "speaker0_0.wav").read_bytes()
    (low / "c_truncated.wav").write_bytes(whole[: len(whole) // 2])
    (low / "d_rate.wav").write_bytes(whole[:24] + bytes(4) + whole[28:])
    soundfile.write(low / "e_nan.wav", np.array([0, np.nan] * 4000), RATE, subtype="DOUBLE")
    soundfile.write(low / "f_short.wav", np.array([0.5]), RATE)
    soundfile.write(low / "g_long.wav", np.full(RATE * 2, 0.1), RATE)
    soundfile.write(low / "h_none.wav", np.zeros(0), RATE)
    return {
        "a_empty": "empty",
        "b_text": "unreadable",
        "c_truncated": "truncated",
        "d_rate": "unreadable",
        "e_nan": "not finite",
        "f_short": "too short",
        "g_long": "too long",
        "h_none": "empty",
    }


def test_counts_and_leaves_out_every_defect(splits):
    kinds = spoil(splits)
    rows, corpus = load(splits, max_duration=1.0, bad_rows="skip")
    (splits / "train" / "high" / "speaker0_0.wav").unlink()
    good, report = inspect_corpus(rows, corpus, RATE)
    found = [finding for split in report.splits.values() for finding in split.bad.items()]
    counts: dict[str, int] = {}
    for kind, finding in found:
        counts[kind] = counts.get(kind, 0) + finding.count
    expected = [*kinds.values(), "missing"]
    assert counts == {kind: expected.count(kind) for kind in expected}
    for file, kind in kinds.items():
        assert any(f"{file}.wav" in example for k, f in found for example in f.examples if k == kind), file
    left = {Path(audio["path"]).stem for split in good.values() for audio in split["audio"]}
    assert not left & set(kinds)
    assert sum(len(split) for split in good.values()) == 59
    assert all(duration == duration for duration in good["train"]["duration"])


def test_one_sentence_error_for_bad_rows(splits):
    spoil(splits)
    rows, corpus = load(splits, max_duration=1.0)
    with pytest.raises(CorpusError) as caught:
        inspect_corpus(rows, corpus, RATE)
    sentence = str(caught.value)
    assert sentence.startswith("8 of the 68 utterances of the corpus 'folder' are bad (2 empty, ")
    assert "such as: " in sentence
    assert sentence.endswith("or leave them out with bad_rows: skip.")
    assert "\n" not in sentence


def test_a_clean_corpus_passes_unchanged(splits):
    rows, corpus = load(splits)
    good, report = inspect_corpus(rows, corpus, RATE)
    assert report.num_bad == 0
    assert report.warnings == []
    for split in rows:
        assert good[split].to_dict() == rows[split].to_dict()
    assert sum(found.seconds for found in report.splits.values()) == pytest.approx(
        sum(duration for split in rows.values() for duration in split["duration"])
    )


def test_finds_a_class_that_is_only_in_the_test_split(splits):
    shutil.copytree(splits / "test" / "low", splits / "test" / "middle")
    rows, corpus = load(splits)
    with pytest.raises(CorpusError, match=r"10 of a class that train lacks.*of the class 'middle', which train lacks"):
        inspect_corpus(rows, corpus, RATE)
    corpus.bad_rows = "skip"
    good, report = inspect_corpus(rows, corpus, RATE)
    assert len(good["test"]) == 20
    assert report.splits["test"].seconds == pytest.approx(sum(good["test"]["duration"]))
    assert len(report.splits["test"].bad["of a class that train lacks"].examples) == 3


def test_finds_a_class_with_only_bad_training_rows(splits):
    for file in (splits / "train" / "low").iterdir():
        file.write_bytes(b"")
    for file in list((splits / "train" / "high").iterdir())[:3]:
        shutil.copy(file, splits / "train" / "low" / f"again_{file.name}")
    rows, corpus = load(splits, bad_rows="skip")
    good, _ = inspect_corpus(rows, corpus, RATE)
    assert set(good["test"]["label"]) <= set(good["train"]["label"])


def test_warns_about_a_recording_in_two_splits(splits):
    # The same samples in another container are the same recording.
    samples, _ = soundfile.read(splits / "train" / "low" / "speaker0_3.wav")
    soundfile.write(splits / "test" / "low" / "copy.flac", samples, RATE)
    rows, corpus = load(splits)
    good, report = inspect_corpus(rows, corpus, RATE)
    assert len(good["test"]) == 21
    assert len(report.warnings) == 1
    assert report.warnings[0].startswith(("1 recording of test is also in train", "1 recording of test is also in val"))
    assert "copy.flac = " in report.warnings[0]
    assert "speaker0_3.wav" in report.warnings[0]


def test_warns_about_a_recording_with_two_classes(splits):
    shutil.copy(splits / "train" / "low" / "speaker0_3.wav", splits / "train" / "high" / "again.wav")
    rows, corpus = load(splits)
    good, report = inspect_corpus(rows, corpus, RATE)
    assert len(good["train"]) == len(rows["train"])
    (warning,) = report.warnings
    assert warning.startswith("1 row repeats a recording with another label, such as: ")
    assert "again.wav ('high') = " in warning
    assert warning.endswith("speaker0_3.wav ('low'); remove the wrong rows.")


def test_warns_about_a_row_with_another_transcript(digit_folder):
    table = digit_folder / "table.csv"
    rows = [("low/speaker0_0.wav", "Go left."), ("low/speaker0_1.wav", "stop"), ("high/speaker1_0.wav", "go right")]
    lines = [f"{path},{text}" for path, text in rows]
    same = ["low/speaker0_0.wav,go left", "low/speaker0_1.wav,stop"]
    options = {"text_column": "text", "validation_fraction": 0, "test_fraction": 0}

    def warnings(lines: list[str]) -> list[str]:
        table.write_text("\n".join(["path,text", *lines]), encoding="utf-8")
        corpus = make_corpus("csv", train_file=str(table), **options)
        found = inspect_corpus(corpus.load(), corpus, RATE)[1].warnings
        return [warning for warning in found if "another text" in warning]

    assert warnings(lines + same) == []
    (warning,) = warnings([*lines, *same, "low/speaker0_1.wav,go"])
    assert "low/speaker0_1.wav ('stop') = " in warning
    assert "low/speaker0_1.wav ('go'); remove the wrong rows." in warning


def test_warns_about_silence(splits):
    soundfile.write(splits / "test" / "low" / "silence.wav", np.zeros(RATE), RATE)
    rows, corpus = load(splits)
    good, report = inspect_corpus(rows, corpus, RATE)
    assert len(good["test"]) == 21
    assert report.splits["test"].warnings["silent"].count == 1
    assert "silence.wav contains only zeros" in str(report)


def test_reports_empty_splits_and_rejects_an_empty_train_split(splits):
    rows, corpus = load(splits)
    rows["validation"] = rows["validation"].select([])
    assert inspect_corpus(rows, corpus, RATE)[1].warnings == ["The split 'validation' has no utterances."]
    rows["train"] = rows["train"].select([])
    corpus.bad_rows = "skip"
    with pytest.raises(CorpusError, match="'folder' has no utterance to train on"):
        inspect_corpus(rows, corpus, RATE)


def test_rejects_a_single_class(splits):
    shutil.rmtree(splits / "train" / "low")
    shutil.rmtree(splits / "test" / "low")
    rows, corpus = load(splits)
    with pytest.raises(CorpusError, match="'folder' has one class in train"):
        check_classes(rows["train"], corpus.name)


@pytest.mark.parametrize(("column", "blank"), [("label", -1), ("label", None), ("text", ""), ("text", "  ")])
def test_a_row_without_its_target_is_bad(splits, column, blank):
    path = str(splits / "test" / "low" / "speaker2_0.wav")
    rows = Dataset.from_dict({"audio": [{"path": path}] * 2, column: [blank, "x" if column == "text" else 0]})
    report = inspect_split(rows, sampling_rate=RATE, limits=lambda _: (0.1, 30.0))
    assert report.good_indices == [1]
    assert report.bad[f"without {column}"].count == 1


def test_inspects_the_sound_of_rows_without_a_target(splits):
    rows = Dataset.from_dict({"audio": [{"path": str(splits / "test" / "low" / "speaker2_0.wav")}]})
    assert inspect_split(rows, sampling_rate=RATE, limits=lambda _: (0.1, 30.0)).good_indices == [0]


def test_the_report_is_readable_and_plain(splits):
    spoil(splits)
    (splits / "notes.txt").write_text("x")
    _, report = inspect_corpus(*load(splits, max_duration=1.0, bad_rows="skip"), RATE)
    lines = str(report).splitlines()
    assert lines[0] == "Corpus folder: 68 utterances inspected, 8 of them bad."
    assert any("2 empty, such as: " in line or "1 empty, such as: " in line for line in lines)
    assert lines[-1].startswith("  warning: 1 non-audio file was left out")
    plain = json.loads(json.dumps(report.to_dict()))
    assert sum(split["num_rows"] for split in plain["splits"].values()) == 68
    assert sum(split["num_good"] for split in plain["splits"].values()) == 60
    assert plain["splits"]["test"] == {
        "num_rows": 20,
        "num_good": 20,
        "hours": pytest.approx(report.splits["test"].seconds / 3600, abs=1e-4),
        "bad": {},
        "warnings": {},
    }


def test_limits_the_number_of_examples(splits):
    for file in (splits / "train" / "low").iterdir():
        file.write_bytes(b"")
    rows, _ = load(splits)
    report = inspect_split(rows["train"], sampling_rate=RATE, limits=lambda _: (0.1, 30.0))
    assert report.bad["empty"].count > 3
    assert len(report.bad["empty"].examples) == 3


def csv_of(splits: Path) -> Corpus:
    rows = [f"{path},{path.parent.name}" for path in sorted(splits.rglob("*.wav"))]
    (splits / "rows.csv").write_text("\n".join(["path,label", *rows]), encoding="utf-8")
    return make_corpus("csv", train_file=str(splits / "rows.csv"), bad_rows="skip")


def archive_of(splits: Path) -> Corpus:
    archive = shutil.make_archive(str(splits.parent / "sounds"), "zip", splits.parent, splits.name)
    return make_corpus("folder", data_dir=archive, bad_rows="skip")


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda splits: make_corpus("folder", data_dir=str(splits), bad_rows="skip"), "train/low/a_empty.wav"),
        (lambda splits: make_corpus("folder", data_dir=f"{splits}/", bad_rows="skip"), "train/low/a_empty.wav"),
        (csv_of, "low/a_empty.wav"),
        (archive_of, "low/a_empty.wav"),
        (
            lambda splits: make_corpus(
                "mixture", bad_rows="skip", corpora=[Member(corpus=make_corpus("folder", data_dir=str(splits)))]
            ),
            "train/low/a_empty.wav",
        ),
    ],
)
def test_the_report_contains_no_local_path(splits, make, named):
    spoil(splits)
    (splits / "notes.txt").write_text("x")
    shutil.copy(splits / "train" / "low" / "speaker0_1.wav", splits / "test" / "low")
    corpus = make(splits)
    _, report = inspect_corpus(corpus.load(), corpus, RATE)
    assert str(splits.parent) in str(report) or "/archives/" in str(report), "a person is told where the file is"
    written = json.dumps(report.to_dict())
    assert f'"{named} is an empty file' in written
    assert not re.search(r'[\s"=]/', written), written
    assert splits.parent.name not in written
