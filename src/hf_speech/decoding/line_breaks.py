"""Finds the line breaks of subtitles in scripts without spaces.

A recognizer of such a script writes a whole utterance as one "word". Lines may break before any character that starts a
syllable, except before closing punctuation, small kana and vowel signs, and after opening punctuation and the vowels
that Thai and Lao write before their consonant. Breaking at words would require a dictionary.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from hf_speech.decoding.hypothesis import Word

# First and last characters of Thai to Tibetan, Myanmar, Khmer, Tai Le to Tai Tham, Chinese and Japanese (not Hangul).
_WITHOUT_SPACES = (
    *((0x0E00, 0x0FFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x1950, 0x1AAF), (0x2E80, 0x312F), (0x3190, 0xA4CF)),
    *((0xA980, 0xA9DF), (0xAA60, 0xAADF), (0xF900, 0xFAFF), (0xFF01, 0xFF9F), (0x20000, 0x3FFFF)),
)
_FIRST = [first for first, _ in _WITHOUT_SPACES]
# Characters that cannot start a line, besides combining marks and closing punctuation: small kana, iteration and length
# marks, Thai and Lao vowels after their consonant.
_NOT_AT_START = frozenset(
    "ぁぃぅぇぉっゃゅょゎゕゖァィゥェォッャュョヮヵヶ々〻ゝゞヽヾーｧｨｩｪｫｬｭｮｯｰ、。，．・：；？！％,.:;?!%"  # noqa: RUF001
    "\u0e30\u0e32\u0e33\u0e45\u0e46\u0eb0\u0eb2\u0eb3\u0ec6"
)
_NOT_AT_END = frozenset("\u0e40\u0e41\u0e42\u0e43\u0e44\u0ec0\u0ec1\u0ec2\u0ec3\u0ec4")


@dataclass(frozen=True, slots=True)
class Piece:
    """Text that stays on one line.

    Attributes:
        text: The text.
        start: Start in seconds.
        end: End in seconds.
        starts_word: Whether a space separates it from the piece before.
    """

    text: str
    start: float
    end: float
    starts_word: bool


def split_word(word: Word) -> Iterator[Piece]:
    """Yields the pieces of a word with times: a single piece, unless its script has no spaces."""
    text = word.text.strip()
    if not text:
        return
    times = _character_times(word)
    offset = word.text.index(text)
    breaks = [0, *(index for index in range(1, len(text)) if _may_break(text, index)), len(text)]
    if len(breaks) == 2:
        yield Piece(text, word.start, word.end, True)
        return
    for first, last in pairwise(breaks):
        start, end = times[offset + first][0], times[offset + last - 1][1]
        yield Piece(text[first:last], start, end, first == 0)


def _character_times(word: Word) -> list[tuple[float, float]]:
    """Returns start and end of each character: those of its token, or equal parts of the word without tokens."""
    if "".join(text for text, _, _ in word.tokens) == word.text:
        return [(start, end) for text, start, end in word.tokens for _ in text]
    step = (word.end - word.start) / len(word.text)
    return [(word.start + index * step, word.start + (index + 1) * step) for index in range(len(word.text))]


def _may_break(text: str, index: int) -> bool:
    """Returns whether a line may break before a character."""
    before, after = text[index - 1], text[index]
    if not (_is_without_spaces(before) or _is_without_spaces(after)):
        return False
    category = unicodedata.category(after)
    if category.startswith("M") or category in ("Pe", "Pf", "Cf") or after in _NOT_AT_START:
        return False
    return before not in _NOT_AT_END and unicodedata.category(before) not in ("Ps", "Pi", "Cf")


def _is_without_spaces(character: str) -> bool:
    index = bisect_right(_FIRST, ord(character)) - 1
    return index >= 0 and ord(character) <= _WITHOUT_SPACES[index][1]
