"""Lists of transcripts and speakers: blank lines, repeated ids, and files that are not text."""

from __future__ import annotations

import pytest

from hf_speech.data.corpora.lines import read_lines, read_pairs
from hf_speech.errors import CorpusError


def test_lines_have_positions_and_no_blanks(tmp_path):
    path = tmp_path / "text"
    path.write_bytes(b"\xef\xbb\xbf a \r\n\n\tb\n")
    assert list(read_lines(path)) == [(f"{path}, line 1,", "a"), (f"{path}, line 3,", "b")]


def test_pairs_contain_the_rest_of_the_line(tmp_path):
    path = tmp_path / "text"
    path.write_text("u1\tWE  CALL IT\nu2 path with spaces.wav\nu3\n")
    assert read_pairs(path) == {"u1": "WE  CALL IT", "u2": "path with spaces.wav", "u3": ""}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"u1 a\nu2 b\nu1 c\n", r"text, line 3, repeats 'u1'"),
        (b"u1 \xff\xfe\n", r"text is not readable text.*UTF-8"),
        (None, r"text cannot be read \(No such file or directory\)"),
    ],
)
def test_one_sentence_error_for_invalid_lines(tmp_path, content, message):
    if content is not None:
        (tmp_path / "text").write_bytes(content)
    with pytest.raises(CorpusError, match=message):
        read_pairs(tmp_path / "text")
