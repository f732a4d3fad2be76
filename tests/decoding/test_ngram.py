"""N-gram models of other programs, read from ARPA files; and broken ones."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from hf_speech.decoding.estimation import build_arpa
from hf_speech.decoding.ngram import ArpaModel
from hf_speech.errors import HFSpeechError

TEXT = ["the cat sat on the mat", "the cat sat on the hat"]


def test_perplexity_of_nothing(tmp_path):
    model = ArpaModel.load(build_arpa(TEXT, 2, tmp_path / "model.arpa").path)
    with pytest.raises(HFSpeechError, match="no text"):
        model.perplexity([])


HAND_WRITTEN = """
\\data\\
ngram 1=4
ngram 2=2

\\1-grams:
-1.0 <s> -0.5
-0.5 </s>
-0.3 to -0.2
-0.4 me

\\2-grams:
-0.1 <s> to
-0.2 to me

\\end\\
"""


def test_files_of_other_programs(tmp_path):
    """Blanks in place of tabs, weights left out, no <unk>."""
    path = tmp_path / "other.arpa"
    path.write_text(HAND_WRITTEN)
    model = ArpaModel.load(path)
    assert model.score("to me") / math.log(10) == pytest.approx(-0.1 - 0.2 - 0.5)
    assert model.log_prob("me", ["<s>"]) / math.log(10) == pytest.approx(-0.5 - 0.4)
    assert model.log_prob("you", ["to"]) / math.log(10) == pytest.approx(-0.2 - 99)
    assert ArpaModel.load(path, max_order=1).order == 2
    assert ArpaModel.load(path, max_order=1).log_prob("me", ["to"]) / math.log(10) == pytest.approx(-0.2 - 0.4)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "promises no n-grams"),
        ("a text\nof two lines", "promises no n-grams"),
        (HAND_WRITTEN[: HAND_WRITTEN.index("-0.2 to me")], r"promises \{1: 4, 2: 2\} n-grams and holds \{1: 4, 2: 1\}"),
        (HAND_WRITTEN.replace("-0.2 to me\n", ""), r"promises \{1: 4, 2: 2\} n-grams and holds \{1: 4, 2: 1\}"),
        (HAND_WRITTEN.replace("\\end\\", ""), "not a whole ARPA file"),
        (HAND_WRITTEN.replace("-0.2 to me", "-0.2 me"), "line 14 is '-0.2 me'"),
        (HAND_WRITTEN.replace("-0.1 <s> to", "much <s> to"), "line 13 is 'much <s> to'"),
    ],
)
def test_broken_files(tmp_path, content, reason):
    path = tmp_path / "broken.arpa"
    path.write_text(content)
    with pytest.raises(HFSpeechError, match=reason):
        ArpaModel.load(path)


def test_unreadable_files(tmp_path):
    with pytest.raises(HFSpeechError, match="No such file"):
        ArpaModel.load(tmp_path / "missing.arpa")
    Path(tmp_path, "binary.bin").write_bytes(b"mmap lm \xff\xfe")
    with pytest.raises(HFSpeechError, match="not an ARPA file in UTF-8"):
        ArpaModel.load(tmp_path / "binary.bin")
