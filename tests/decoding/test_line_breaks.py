"""Line breaks in subtitles: between words, or where typography allows it in scripts without spaces."""

from __future__ import annotations

import pytest

from hf_speech.decoding.hypothesis import TokenSpan, Word, make_hypothesis
from hf_speech.decoding.line_breaks import split_word


def pieces(text: str) -> list[str]:
    return [piece.text for piece in split_word(Word(text, 0.0, 1.0, 0.9))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hello-world", ["hello-world"]),
        ("héllo", ["héllo"]),
        ("안녕하세요", ["안녕하세요"]),  # Korean has spaces
        ("नमस्ते", ["नमस्ते"]),
        ("مرحبا", ["مرحبا"]),
        ("今天好", ["今", "天", "好"]),
        ("𠀀𠀁", ["𠀀", "𠀁"]),
        ("「東京」、ですか。", ["「東", "京」、", "で", "す", "か。"]),
        ("ちょっとデータ", ["ち\u3087っ", "と", "デー", "タ"]),
        ("ab今c天12", ["ab", "今", "c", "天", "12"]),
        ("สวัสดี", ["ส", "วั", "ส", "ดี"]),
        ("เรียน", ["เรี", "ย", "น"]),
        ("น้ำตา", ["น้ำ", "ตา"]),
        (" 天 ", ["天"]),
        ("", []),
        ("  ", []),
    ],
)
def test_breaks_lines_within_words(text: str, expected: list[str]) -> None:
    assert pieces(text) == expected


def test_pieces_have_the_times_of_their_tokens() -> None:
    """A pause inside a word is not distributed over its parts."""
    tokens = ["<pad>", "|", "今", "天", "好吗"]
    spans = [TokenSpan(2, 10, 12, 0.9), TokenSpan(3, 20, 21, 0.8), TokenSpan(4, 200, 202, 0.7)]
    (word,) = make_hypothesis(spans, -1.0, tokens, 0.04, "|").words
    found = [(piece.text, piece.start, piece.end) for piece in split_word(word)]
    assert [text for text, _, _ in found] == ["今", "天", "好", "吗"]
    assert [start for _, start, _ in found] == pytest.approx([0.4, 0.8, 8.0, 8.0])
    assert [end for _, _, end in found] == pytest.approx([0.48, 0.84, 8.08, 8.08])
    later = [piece.start for piece in split_word(word.shift(100.0))]
    assert later == pytest.approx([100.4, 100.8, 108.0, 108.0])
    # Without tokens, all characters have the same duration.
    even = list(split_word(Word("今天", 2.0, 3.0, 0.5)))
    assert [(piece.start, piece.end) for piece in even] == [(2.0, 2.5), (2.5, 3.0)]
    assert [piece.starts_word for piece in even] == [True, False]
