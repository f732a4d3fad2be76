"""Tables of utterances: CSV, TSV and JSON Lines, splits in a column or in files, and errors with line numbers."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from hf_speech.data import inspect_corpus, make_corpus
from hf_speech.errors import CorpusError

HEADER = ("path", "label", "who", "part", "sentence")


@pytest.fixture
def rows(tmp_path: Path) -> list[dict[str, str]]:
    """Twenty utterances by five speakers, on disk under clips/."""
    (tmp_path / "clips").mkdir()
    rng = np.random.default_rng(0)
    found = []
    for index in range(20):
        path = f"clips/{index}.wav"
        soundfile.write(tmp_path / path, rng.normal(0, 0.1, 1600), 8000)
        part = ("train", "train", "dev", "test")[index % 4]
        found.append(
            dict(zip(HEADER, (path, str(index % 2), f"s{index % 5}", part, f'he said "{index}"'), strict=True))
        )
    return found


def write(path: Path, rows: list[dict[str, str]]) -> str:
    with path.open("w", encoding="utf-8", newline="") as file:
        if path.suffix == ".jsonl":
            file.writelines(json.dumps(row) + "\n" for row in rows)
        elif path.suffix == ".tsv":
            file.writelines("\t".join(line) + "\n" for line in [HEADER, *(row.values() for row in rows)])
        else:
            table = csv.DictWriter(file, HEADER)
            table.writeheader()
            table.writerows(rows)
    return path.name


def load(folder: Path, **options):
    return make_corpus("csv", data_dir=str(folder), **options).load()


@pytest.mark.parametrize("name", ["all.csv", "all.tsv", "all.jsonl"])
def test_all_table_formats_give_the_same_corpus(tmp_path, rows, name):
    file = write(tmp_path / name, rows)
    corpus = load(tmp_path, train_file=file, split_column="part", speaker_column="who")
    assert {split: len(corpus[split]) for split in corpus} == {"train": 10, "validation": 5, "test": 5}
    assert corpus["test"].features["label"].names == ["0", "1"]
    for row, expected in zip(corpus["test"], rows[3::4], strict=True):
        assert row["audio"]["path"] == str(tmp_path / expected["path"])
        assert str(row["label"]) == expected["label"]
        assert row["speaker"] == expected["who"]
        assert row["duration"] == pytest.approx(0.2)
    texts = load(tmp_path, train_file=file, split_column="part", text_column="sentence")
    assert texts["validation"]["text"][:] == [f'he said "{index}"' for index in range(2, 20, 4)]
    assert "label" not in texts["train"].column_names


def test_splits_may_be_separate_files(tmp_path, rows):
    files = {
        "train_file": write(tmp_path / "a.csv", rows[:12]),
        "validation_file": write(tmp_path / "b.csv", rows[12:16]),
        "test_file": write(tmp_path / "c.csv", rows[16:]),
    }
    assert {split: len(found) for split, found in load(tmp_path, **files).items()} == {
        "train": 12,
        "validation": 4,
        "test": 4,
    }


def test_takes_missing_splits_from_training_by_speaker(tmp_path, rows):
    file = write(tmp_path / "all.csv", rows)
    corpus = load(tmp_path, train_file=file, speaker_column="who", test_fraction=0.2, validation_fraction=0.25)
    assert {split: len(found) for split, found in corpus.items()} == {"train": 12, "validation": 4, "test": 4}
    speakers = [set(corpus[split]["speaker"]) for split in corpus]
    assert sum(map(len, speakers)) == len(set.union(*speakers)) == 5


@pytest.mark.parametrize("name", ["all.csv", "all.jsonl"])
def test_ignores_the_byte_order_mark_of_spreadsheets(tmp_path, rows, name):
    write(tmp_path / name, rows)
    (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + (tmp_path / name).read_bytes())
    assert len(load(tmp_path, train_file=name, split_column="part")["train"]) == 10


def test_paths_are_relative_to_the_table_without_data_dir(tmp_path, rows, monkeypatch):
    write(tmp_path / "all.csv", rows)
    monkeypatch.chdir(tmp_path.parent)
    corpus = make_corpus("csv", train_file=f"{tmp_path.name}/all.csv", split_column="part").load()
    assert corpus["train"][0]["duration"] == pytest.approx(0.2)


def test_reads_a_table_without_header_and_file_extensions(tmp_path, rows):
    """The format of LJSpeech: id|text|normalized text."""
    lines = [f'{index}|{row["sentence"]}|"{index}\n' for index, row in enumerate(rows)]
    (tmp_path / "metadata.csv").write_text("".join(lines))
    options = {"delimiter": "|", "column_names": ["id", "raw", "text"], "path_format": "clips/{}.wav"}
    corpus = load(tmp_path, train_file="metadata.csv", path_column="id", text_column="text", **options)
    assert sum(len(split) for split in corpus.values()) == 20
    for row in corpus["train"]:
        assert row["text"] == '"' + Path(row["audio"]["path"]).stem
        assert row["duration"] == pytest.approx(0.2)


def test_reads_json_lines_of_nemo(tmp_path, rows):
    """Absolute paths, and a duration that is ignored."""
    keys = {"train.jsonl": rows[:12], "dev.jsonl": rows[12:16], "test.jsonl": rows[16:]}
    for name, part in keys.items():
        entries = [
            {"audio_filepath": str(tmp_path / row["path"]), "text": row["sentence"], "duration": 9.0} for row in part
        ]
        (tmp_path / name).write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    files = {"train_file": "train.jsonl", "validation_file": "dev.jsonl", "test_file": "test.jsonl"}
    corpus = load(tmp_path, path_column="audio_filepath", text_column="text", **files)
    assert {split: len(found) for split, found in corpus.items()} == {"train": 12, "validation": 4, "test": 4}
    assert corpus["test"].column_names == ["audio", "text", "speaker", "duration"]
    assert corpus["test"]["text"][:] == [row["sentence"] for row in rows[16:]]
    assert corpus["test"]["duration"][:] == pytest.approx([0.2] * 4)


@pytest.mark.parametrize("column", ["label", "text"])
def test_inspection_reports_a_blank_target(tmp_path, rows, column):
    rows[4]["label" if column == "label" else "sentence"] = " "
    file = write(tmp_path / "all.csv", rows)
    text = {"text_column": "sentence"} if column == "text" else {}
    corpus = make_corpus("csv", data_dir=str(tmp_path), train_file=file, split_column="part", **text)
    with pytest.raises(CorpusError, match=rf"1 without {column}.*4\.wav has no {column}"):
        inspect_corpus(corpus.load(), corpus, 8000)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train_file": None}, "give train_file"),
        ({"train_file": "gone.csv"}, r"gone\.csv does not exist: correct train_file"),
        (
            {"path_column": "file"},
            r"all\.csv, line 2, has no column 'file' \(path_column\): use one of label, ",
        ),
        ({"label_column": "labels"}, r"no column 'labels' \(label_column\): did you mean 'label'\?"),
        ({"text_column": "sentense"}, r"no column 'sentense' \(text_column\): did you mean 'sentence'\?"),
        ({"speaker_column": "speaker"}, r"no column 'speaker' \(speaker_column\)"),
        ({"split_column": "who"}, r"all\.csv, line 2, has the unknown split 's0'"),
        ({"delimiter": ";", "column_names": ["path", "label"]}, r"all\.csv, line 1, has 1 columns instead of 2"),
    ],
)
def test_one_sentence_error_for_wrong_options(tmp_path, rows, options, message):
    file = write(tmp_path / "all.csv", rows)
    with pytest.raises(CorpusError, match=message):
        load(tmp_path, **{"train_file": file, **options})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"path,label\nx.wav,a\ny.wav\n", r"a\.csv, line 3, has 1 columns instead of 2"),
        ("a.csv", b"path,label\n,a\n", r"a\.csv, line 2, has no path in the column 'path'"),
        ("a.csv", b"path,label\n\xff\xfe,a\n", r"a\.csv is not readable text"),
        ("a.csv", b"", r"a\.csv has no rows: give a table with a header"),
        ("a.csv", b"path,label\n", r"a\.csv has no rows"),
        ("a.jsonl", b"", r"a\.jsonl has no rows"),
        ("a.jsonl", b'{"path": "x.wav", "label": 1}\n{"path"\n', r"a\.jsonl, line 2, is not JSON"),
        ("a.jsonl", b"[1]\n", r"a\.jsonl, line 1, is not a JSON object"),
    ],
)
def test_error_names_the_line_of_a_broken_table(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CorpusError, match=message):
        load(tmp_path, train_file=name)


@pytest.mark.corpora
def test_reads_real_tables_with_official_splits(corpora_dir):
    options = {"train_file": "train.csv", "validation_file": "val.csv", "test_file": "test.csv"}
    corpus = load(corpora_dir / "arabic_speech_commands", path_column="file", label_column="class", **options)
    assert {split: len(corpus[split]) for split in corpus} == {"train": 7200, "validation": 2400, "test": 2400}
    assert len(corpus["train"].features["label"].names) == 40
    assert all(duration == duration for duration in corpus["test"]["duration"])


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"path_format": "{path}.wav"}, "path_format"),
        ({"path_format": "{}/{}.wav"}, "path_format"),
        ({"path_format": "{.wav"}, "path_format"),
        ({"path_format": "clips.wav"}, "path_format"),
        ({"path_format": "{0.__class__}"}, "path_format"),
        ({"delimiter": "||"}, "delimiter"),
        ({"delimiter": ""}, "delimiter"),
    ],
)
def test_one_sentence_error_for_unusable_options(tmp_path, rows, options, name):
    with pytest.raises(CorpusError, match=name):
        load(tmp_path, train_file=write(tmp_path / "all.csv", rows), **options)


@pytest.mark.parametrize("path_format", ["clips/{}.wav", "clips/{0}.wav", "clips/{:>1}.wav"])
def test_accepts_usable_formats(tmp_path, rows, path_format):
    (tmp_path / "t.tsv").write_text("path\tlabel\n" + "".join(f"{index}\t{index % 2}\n" for index in range(20)))
    corpus = load(tmp_path, train_file="t.tsv", delimiter="\\t", path_format=path_format)
    assert all(duration == pytest.approx(0.2) for split in corpus.values() for duration in split["duration"])


def test_reports_a_wrong_delimiter(tmp_path, rows):
    (tmp_path / "t.csv").write_text("path;label\na.wav;b\n")
    with pytest.raises(CorpusError, match=r"no column 'path' .*its only column is 'path;label'; set delimiter to ';'"):
        load(tmp_path, train_file="t.csv")


def nemo(folder: Path, **more: object) -> str:
    soundfile.write(folder / "long.wav", np.random.default_rng(0).normal(0, 0.1, 8000 * 12), 8000)
    lines = ({"audio_filepath": "long.wav", "offset": i, "text": f"word {i}", **more} for i in range(12))
    (folder / "nemo.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return "nemo.jsonl"


@pytest.mark.parametrize(
    ("more", "options"),
    [
        ({"duration": 0.75}, {}),
        ({"stop": 11.75}, {"end_column": "stop"}),
        ({"seconds": 0.75}, {"duration_column": "seconds"}),
    ],
)
def test_cuts_segments_of_recordings(tmp_path, monkeypatch, more, options):
    monkeypatch.setenv("HF_SPEECH_CACHE", str(tmp_path / "cache"))
    options |= {"path_column": "audio_filepath", "text_column": "text", "validation_fraction": 0.0}
    corpus = load(tmp_path, train_file=nemo(tmp_path, **more), test_fraction=0.0, **options)
    seconds = corpus["train"]["duration"][:]
    expected = [11.75 - i for i in range(12)] if "stop" in more else [0.75] * 12
    assert seconds == pytest.approx(expected)
    whole, _ = soundfile.read(tmp_path / "long.wav", dtype="float32")
    cut, _ = soundfile.read(corpus["train"][3]["audio"]["path"], dtype="float32")
    np.testing.assert_array_equal(cut, whole[3 * 8000 :][: len(cut)])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"duration": 3.0}, "goes from 10 s to 13 s in a recording of 12.00 s"),
        ({"duration": -1}, "goes from 0 s to -1 s"),
        ({"duration": "a while"}, "has 'a while' in the column 'duration' instead of seconds"),
        ({"offset": 99}, "goes from 99 s to its end in a recording of 12.00 s"),
        ({"offset": [1]}, r"in the column 'offset', has \['1'\], which is not text"),
    ],
)
def test_rejects_segments_outside_their_recording(tmp_path, more, message):
    with pytest.raises(CorpusError, match=message):
        load(tmp_path, train_file=nemo(tmp_path, **more), path_column="audio_filepath", text_column="text")


def test_whole_recordings_with_an_offset_are_not_copied(tmp_path, rows, monkeypatch):
    monkeypatch.setenv("HF_SPEECH_CACHE", str(tmp_path / "cache"))
    lines = ({"path": row["path"], "label": row["label"], "offset": 0, "duration": 0.2} for row in rows)
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    corpus = load(tmp_path, train_file="t.jsonl", test_fraction=0.2)
    assert {Path(audio["path"]).parent for audio in corpus["train"]["audio"]} == {tmp_path / "clips"}
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("value", ['["a", "b"]', '{"a": 1}', "true", "[]"])
def test_rejects_targets_that_are_not_text(tmp_path, value):
    (tmp_path / "t.jsonl").write_text(f'{{"path": "a.wav", "text": {value}}}\n')
    with pytest.raises(CorpusError, match=r"t\.jsonl, line 1, in the column 'text', has .*, which is not text"):
        load(tmp_path, train_file="t.jsonl", text_column="text")


def test_a_missing_value_of_pandas_is_not_text(tmp_path, rows):
    lines = [json.dumps({"path": row["path"], "text": float("nan") if i == 4 else "007"}) for i, row in enumerate(rows)]
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    corpus = load(tmp_path, train_file="t.jsonl", text_column="text", test_fraction=0.2)
    assert {text for split in corpus.values() for text in split["text"]} == {"007", None}


def test_reports_a_manifest_of_another_toolkit(tmp_path):
    (tmp_path / "cuts.jsonl").write_text('{"id": "c1", "start": 0.0, "duration": 2.0, "supervisions": []}\n')
    with pytest.raises(CorpusError, match=r"no column 'path' .*a manifest of cuts of lhotse, which is not supported"):
        load(tmp_path, train_file="cuts.jsonl")
