"""Tables: encodings, quotation marks, delimiters, and the JSON of other toolkits."""

from __future__ import annotations

import codecs
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from hf_speech.data.corpora.lines import decode_text, path_key, read_lines
from hf_speech.data.corpora.tables import describe_layout, parse_delimited, parse_delimiter, parse_json, parse_parquet
from hf_speech.errors import CorpusError

CSV = "path,text\na.wav,één\nb.wav,007\n"
ROWS = [(2, {"path": "a.wav", "text": "één"}), (3, {"path": "b.wav", "text": "007"})]


@pytest.mark.parametrize(
    "content",
    [
        CSV.encode(),
        CSV.encode("utf-8-sig"),
        CSV.encode("utf-16"),
        codecs.BOM_UTF16_BE + CSV.encode("utf-16-be"),
        CSV.encode("utf-32"),
        CSV.replace("\n", "\r\n").encode(),
        CSV.replace("\n", "\r").encode(),
        CSV.encode("utf-8-sig").replace(b"b.wav", "\ufeffb.wav".encode()),  # two concatenated files
    ],
)
def test_all_encodings_and_line_ends_give_the_same_rows(content):
    assert list(parse_delimited(decode_text(content, "t.csv"), "t.csv")) == ROWS


@pytest.mark.parametrize(
    "content", [CSV.encode("cp1252"), CSV.encode("utf-16-le"), CSV.encode("utf-16-be"), b"\x1f\x8b\x08\0", b"a\0b"]
)
def test_rejects_files_that_are_not_text(content):
    with pytest.raises(CorpusError, match=r"^t\.csv is not readable text .*: save it as UTF-8 text\.$"):
        decode_text(content, "t.csv")


def test_keeps_characters_that_resemble_line_ends(tmp_path):
    (tmp_path / "list.txt").write_text("a\x0bb\u2028c\x85d\ne\n", encoding="utf-8")
    assert [line for _, line in read_lines(tmp_path / "list.txt")] == ["a\x0bb\u2028c\x85d", "e"]


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("yes/0.wav", "yes/0.wav"),
        ("./yes//0.wav", "yes/0.wav"),
        (r".\yes\0.wav", "yes/0.wav"),
        ("cafe\u0301/0.wav", "caf\u00e9/0.wav"),
    ],
)
def test_compares_paths_after_normalization(name, key):
    assert path_key(name) == key


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('path,text\na,x\nb,"y\nc,z\n', 3),  # never closed
        ('path,text\na,"x\nb,y\nc,z"\nd,w\n', 2),  # closed two rows later
        ('path,text\na,x\nb,"he said "hi""\n', 3),  # not doubled
        ('"path,text\na,x\n', 1),  # in the header
        ('path,text,notes\na,x,"y\nb,z,w"\n', 2),  # in an unused column
    ],
)
def test_an_unclosed_quotation_mark_does_not_swallow_rows(text, line):
    with pytest.raises(CorpusError, match=rf"t\.csv, line {line}, .*quotation mark"):
        list(parse_delimited(text, "t.csv"))


def test_reads_multi_line_cells_and_doubled_quotation_marks():
    text = 'path,text\na.wav,"one\ntwo"\nb.wav,"she said ""yes"", then left"\n'
    assert [row["text"] for _, row in parse_delimited(text, "t.csv")] == ["one\ntwo", 'she said "yes", then left']


def test_tables_without_quoting_keep_quotation_marks():
    for delimiter in ("\t", "|"):
        rows = list(parse_delimited(f'path{delimiter}text\na{delimiter}"x\nb{delimiter}y"\n', "t", delimiter))
        assert [row["text"] for _, row in rows] == ['"x', 'y"']


def test_uses_the_separator_hint_of_spreadsheets():
    assert list(parse_delimited("sep=;\npath;text\na;b\n", "t.csv")) == [(3, {"path": "a", "text": "b"})]


@pytest.mark.parametrize(("typed", "meant"), [("\\t", "\t"), ("tab", "\t"), ("\t", "\t"), (";", ";"), ("Pipe", "|")])
def test_accepts_delimiters_as_typed(typed, meant):
    assert parse_delimiter(typed) == meant


@pytest.mark.parametrize("delimiter", ["", "||", "a", "\n", '"', "\\n", "::"])
def test_rejects_delimiters_that_cannot_separate(delimiter):
    with pytest.raises(CorpusError, match="cannot be used"):
        parse_delimiter(delimiter)


def test_rejects_a_duplicate_required_column():
    text = "path,text,text,note,note\na,b,c,d,e\n"
    with pytest.raises(CorpusError, match=r"t\.csv, line 1, has the column 'text' twice"):
        list(parse_delimited(text, "t.csv", needed=["path", "text"]))
    assert len(list(parse_delimited(text, "t.csv", needed=["path"]))) == 1


def test_keeps_the_spelling_of_json_numbers():
    text = '{"a": 7, "b": 1.0, "c": 1e5, "d": NaN, "e": null, "f": true, "g": 123456789012345678901234567890}'
    expected = {
        "a": "7",
        "b": "1.0",
        "c": "1e5",
        "d": None,
        "e": None,
        "f": True,
        "g": "123456789012345678901234567890",
    }
    assert list(parse_json(text, "t.jsonl")) == [(1, expected)]


@pytest.mark.parametrize(
    "text",
    [
        '{"path": "a"}\n\n{"path": "b"}\n',
        '[{"path": "a"}, {"path": "b"}]',
        '[\n {"path": "a"},\n {"path": "b"}\n]\n',
        '{\n"u1": {"path": "a"},\n"u2": {"path": "b"}\n}\n',
    ],
)
def test_all_json_layouts_give_the_same_rows(text):
    assert [row for _, row in parse_json(text, "t.json")] == [{"path": "a"}, {"path": "b"}]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": 1}\n{"a": Infinity}\n', "line 2, is not JSON .Infinity is not a value"),
        ('{"a": 1, "a": 2}\n', "line 1, is not JSON .it has the key 'a' twice"),
        ("[" * 5000 + "]" * 5000, "line 1, is not JSON"),
        ('{"a": 1}\n"text"\n', "line 2, is not a JSON object"),
    ],
)
def test_rejects_json_that_is_not_a_row(text, reason):
    with pytest.raises(CorpusError, match=rf"^t\.jsonl, {reason}"):
        list(parse_json(text, "t.jsonl"))


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({"id": "c", "start": 0, "supervisions": []}, "cuts of lhotse"),
        ({"id": "s", "recording_id": "r", "text": "x"}, "supervisions of lhotse"),
        ({"id": "r", "sources": []}, "recordings of lhotse"),
        ({"utts": {}}, "ESPnet"),
    ],
)
def test_reports_manifests_of_other_toolkits(row, kind):
    assert kind in str(describe_layout(row))


def test_converts_parquet_cells_of_all_shards_to_text(tmp_path: Path) -> None:
    for name, texts in (("b.parquet", ["007", None]), ("a.parquet", ["yes"]), (".torn.parquet", ["no"])):
        rows = {"text": texts, "number": [7] * len(texts), "seconds": [float("nan")] * len(texts)}
        pyarrow.parquet.write_table(pyarrow.table(rows), tmp_path / name)
    rest = {"number": "7", "seconds": None}
    rows = [{"text": text, **rest} for text in ("yes", "007", None)]
    assert list(parse_parquet(tmp_path)) == list(enumerate(rows, start=1))
    assert [row for _, row in parse_parquet(tmp_path / "a.parquet")] == rows[:1]


@pytest.mark.parametrize(("content", "message"), [(b"PAR1", "cannot be read as Parquet"), (None, r"has no \.parquet")])
def test_reports_files_that_are_not_parquet(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(CorpusError, match=message):
        list(parse_parquet(tmp_path))
