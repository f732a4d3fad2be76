"""Text files of other programs are read in their own encoding or rejected with a one-sentence error."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest

from hf_speech.common.reading import read_lines
from hf_speech.errors import CorpusError, HFSpeechError

LINES = ["GRÜN", "", "日本語 ok", "a\x0cb", "last"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends(tmp_path: Path, encoding: str, end: str) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(end.join(LINES).encode(encoding))
    assert list(read_lines(path)) == LINES
    path.write_bytes(end.join([*LINES, ""]).encode(encoding))
    assert list(read_lines(str(path))) == LINES


def test_big_endian_and_marks_in_the_middle(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(codecs.BOM_UTF16_BE + "YES\nNO\n".encode("utf-16-be"))
    assert list(read_lines(path)) == ["YES", "NO"]
    path.write_bytes(codecs.BOM_UTF8 + b"YES\n" + codecs.BOM_UTF8 + b"NO\n")
    assert list(read_lines(path)) == ["YES", "NO"]
    path.write_bytes(b"")
    assert list(read_lines(path)) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("YES\nGRÜN\n".encode("cp1252"), r"is not text in UTF-8 \(invalid .* after line \d\): save it as UTF-8"),
        ("YES\nNO\n".encode("utf-16-le"), "line 1 has a null character"),
        (codecs.BOM_UTF16_LE + b"Y\0E", "is not text in UTF-8"),
    ],
)
def test_rejects_other_encodings(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    with pytest.raises(HFSpeechError, match=message) as raised:
        list(read_lines(path, CorpusError))
    assert isinstance(raised.value, CorpusError)
    assert "text.txt" in str(raised.value)


def test_reports_missing_files_and_folders(tmp_path: Path) -> None:
    for path in (tmp_path / "none.txt", tmp_path):
        with pytest.raises(HFSpeechError, match=f"{path} cannot be read"):
            list(read_lines(path))
