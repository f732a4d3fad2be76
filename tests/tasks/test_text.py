"""Normalizers: exact, idempotent, and without silent losses of numbers."""

from __future__ import annotations

import random

import pytest

from hf_speech.errors import RecipeError
from hf_speech.tasks import TextOptions
from hf_speech.tasks.text import CASES, normalize, spell_number

VALUES = {spell_number(value): value for value in (*range(20), *range(20, 100, 10))}
SCALES = {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9}


def read_number(words: str) -> int:
    """The value of an English number, by another way than spelling it."""
    total = group = 0
    for word in words.split():
        if word == "hundred":
            group *= 100
        elif word in SCALES:
            total += group * SCALES[word]
            group = 0
        else:
            group += VALUES[word]
    return total + group


@pytest.mark.parametrize(
    ("text", "none", "lower", "upper", "english"),
    [
        ("  Two\tspaces\n", "Two spaces", "two spaces", "TWO SPACES", "two spaces"),
        ("Don\u2019t — STOP!", "Don\u2019t — STOP!", "don't — stop!", "DON'T — STOP!", "don't stop"),
        ("'Tis the dogs' \"rock'n'roll\"", "'Tis the dogs' \"rock'n'roll\"", *(None,) * 2, "tis the dogs rock'n'roll"),
        (
            "ﬁne, \uff21\uff22\uff23 cafe\u0301",
            "ﬁne, \uff21\uff22\uff23 cafe\u0301",
            "fine, abc café",
            "FINE, ABC CAFÉ",
            "fine abc café",
        ),
        ("Straße", "Straße", "straße", "STRASSE", "straße"),
        ("R&B: 5% @ home", "R&B: 5% @ home", None, None, "r and b 5 percent at home"),
        ("forty-two line (Bible) of “about” 1,455.", None, None, None, "forty two line bible of about 1455"),
        ("un\u00adbroken\u200b", "un\u00adbroken\u200b", None, None, "unbroken"),
        ("...", "...", "...", "...", ""),
    ],
)
def test_what_each_normalizer_leaves(text: str, none: str, lower: str, upper: str, english: str):
    for name, expected in (("none", none), ("lower", lower), ("upper", upper), ("english", english)):
        if expected is not None:
            assert normalize(text, name) == expected


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("room 7, 21 and 007", "room seven twenty one and zero zero seven"),
        ("3.14 or -5 or 10:30", "three point one four or minus five or ten thirty"),
        ("1,455 pages, 1,2,3", "one thousand four hundred fifty five pages one two three"),
        ("COVID-19 in 1990-1995", None),
        # What has no certain reading keeps its digits, where they can be seen.
        ("the 1st of the 1990s for $5, 1/2 of 1.2.3", "the 1st of the 1990s for $5 1/2 of 1.2.3"),
        ("1234567890123", "1234567890123"),
    ],
)
def test_numbers_are_spelled_or_left_but_never_lost(text: str, spelled: str | None):
    if spelled is not None:
        assert normalize(text, "english", spell_numbers=True) == spelled
    kept = normalize(text, "english", spell_numbers=False)
    assert [c for c in kept if c.isdecimal()] == [c for c in text if c.isdecimal()]


def test_spelled_numbers_take_the_case_of_the_text():
    assert normalize("Room 12!", "upper", spell_numbers=True) == "ROOM TWELVE!"
    assert normalize("Room 1,200!", "none", spell_numbers=True) == "Room one thousand two hundred!"


@pytest.mark.parametrize("spell_numbers", [False, True])
@pytest.mark.parametrize("normalizer", CASES)
def test_normalizing_twice_changes_nothing_more(normalizer: str, spell_numbers: bool):
    for code in (*range(0x600), *range(0x1E00, 0x2200), *range(0xFB00, 0xFB10), *range(0xFF00, 0xFF60), 0x130, 0x1F0):
        for text in (f"A{chr(code)}1", f"2{chr(code)}3", f"-{chr(code)} 'x{chr(code)}"):
            once = normalize(text, normalizer, spell_numbers)
            assert normalize(once, normalizer, spell_numbers) == once, f"{text!r} {code:x}"


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "zero"),
        (13, "thirteen"),
        (40, "forty"),
        (99, "ninety nine"),
        (100, "one hundred"),
        (812, "eight hundred twelve"),
        (1455, "one thousand four hundred fifty five"),
        (1_000_001, "one million one"),
        (10**9, "one billion"),
        ("05", "zero five"),
    ],
)
def test_numbers_in_words(number: int | str, words: str):
    assert spell_number(number) == words


def test_every_number_reads_back():
    rng = random.Random(0)
    for value in (*range(2000), *(rng.randrange(10 ** rng.randint(4, 12)) for _ in range(500))):
        assert read_number(spell_number(value)) == value


@pytest.mark.parametrize("number", [-1, 10**12])
def test_numbers_without_a_name_are_refused(number: int):
    with pytest.raises(ValueError, match="is not from 0 to below"):
        spell_number(number)


def test_options_that_cannot_be_meant_are_refused():
    with pytest.raises(RecipeError, match=r"no text\.normalizer 'englsh': there are none, lower, upper, english"):
        TextOptions(normalizer="englsh")  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="vocabulary is empty"):
        TextOptions(vocabulary=" ")


def test_options_normalize_by_their_name():
    assert TextOptions("english", spell_numbers=True).normalize("No. 5!") == "no five"
