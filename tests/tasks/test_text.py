"""Normalizers: exact results, idempotence, and numbers."""

# ruff: noqa: RUF001 - ambiguous characters are the point
from __future__ import annotations

import random
import re

import pytest

from hf_speech.errors import RecipeError
from hf_speech.tasks import TextOptions
from hf_speech.tasks.text import CASES, normalize, spell_number

VALUES = {spell_number(value): value for value in (*range(20), *range(20, 100, 10))}
SCALES = {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9}


def read_number(words: str) -> int:
    """Returns the value of a spelled number, independent of the code that spells it."""
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
def test_each_normalizer(text: str, none: str, lower: str, upper: str, english: str):
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
        # Ambiguous forms keep their digits.
        ("the 1st of the 1990s for $5, 1/2 of 1.2.3", "the 1st of the 1990s for $5 1/2 of 1.2.3"),
        ("1234567890123", "1234567890123"),
    ],
)
def test_numbers_are_spelled_or_kept(text: str, spelled: str | None):
    if spelled is not None:
        assert normalize(text, "english", spell_numbers=True) == spelled
    kept = normalize(text, "english", spell_numbers=False)
    assert [c for c in kept if c.isdecimal()] == [c for c in text if c.isdecimal()]


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        # Leading points, and signs in all positions.
        ("costs .5 percent", "costs point five percent"),
        ("-.25, '.5' and (.75)", "minus point two five point five and point seven five"),
        ('(-5) [-6] "-7" \u201c-8\u201d temp:-9', "minus five minus six minus seven minus eight temp minus nine"),
        ("\u221210, 5\u22123, x=-4, -(2)", "minus ten five minus three x equals minus four minus two"),
        ("\u20135 degrees", "minus five degrees"),
        # Hyphens, ranges and dashes are not signs.
        (
            "COVID-19, 3-4, 'a'-5, (555)-0199",
            "covid nineteen three four a five five hundred fifty five zero one nine nine",
        ),
        ("1990\u20131995 -- no.7 ...8", None),
        # Commas group digits by three, or separate numbers.
        (
            "1,455 and 1,2,345 and 1234,567 and 10,20,300",
            "one thousand four hundred fifty five and one two "
            "three hundred forty five and one thousand two hundred thirty four five hundred sixty seven and ten twenty "
            "three hundred",
        ),
        ("0,123 and 3.14,159", "zero one hundred twenty three and three point one four one hundred fifty nine"),
        # What plain digits would change the value of, or what has no certain reading, stays.
        ("10² 5½ 2① 10⁻³ H₂O", "10² 5½ 2① 10⁻³ h₂o"),
        ("-$5, $.50, £-3.2, 7€", "minus $5 $.50 £ minus three point two 7€"),
        ("1e-5 2E+3 5‰ 2*3 1'000 1_000 192.168.0.1", "1e-5 2e+3 5‰ 2*3 1'000 1_000 192.168.0.1"),
        ("5\ufe0f\u20e3 times", "5\ufe0f\u20e3 times"),
        ("٣.٥ and ３.５", "٣.٥ and three point five"),
    ],
)
def test_numbers_keep_their_value(text: str, spelled: str | None):
    found = normalize(text, "english", spell_numbers=True)
    if spelled is not None:
        assert found == spelled
    assert normalize(found, "english", spell_numbers=True) == found


def read_numbers(text: str) -> list[float]:
    """Returns the values of spelled numbers in a text, independent of the code that spells them."""
    numbers: list[float] = []
    for part in re.split(r"\band\b", text):
        sign = -1 if "minus" in part.split() else 1
        words = [word for word in part.split() if word in {*VALUES, *SCALES, "point"}]
        whole, _, decimals = " ".join(words).partition("point")
        value = read_number(whole) if whole.strip() else 0
        fraction = "".join(str(VALUES[word]) for word in decimals.split())
        numbers.append(sign * float(f"{value}.{fraction or 0}"))
    return numbers


def test_spelled_numbers_in_text_keep_their_value():
    """For integers, years, groups and decimals, with and without signs, in quotes, brackets and sentences."""
    rng = random.Random(0)
    for _ in range(3000):
        count, written, values = rng.randint(1, 3), [], []
        for _ in range(count):
            value = rng.randrange(10 ** rng.randint(1, 9))
            number = f"{value:,}" if rng.random() < 0.5 else str(value)
            if rng.random() < 0.4:
                fraction = str(rng.randrange(1000))
                number = f"{number}.{fraction}" if rng.random() < 0.7 else f".{fraction}"
            number = rng.choice(["", "", "-", "\u2212"]) + number
            values.append(float(number.replace(",", "").replace("\u2212", "-")))
            around = rng.choice(["{}", "({})", "[{}]", "'{}'", '"{}"', "\u201c{}\u201d", "about {}.", "{}!", "x: {};"])
            written.append(around.format(number))
        text = " and ".join(written)
        found = normalize(text, "english", spell_numbers=True)
        assert read_numbers(found) == pytest.approx(values), (text, found)
        assert normalize(found, "english", spell_numbers=True) == found
        kept = normalize(text, "english", spell_numbers=False)
        assert normalize(kept, "english", spell_numbers=True) == found, (text, kept)


def test_normalization_of_random_text_is_idempotent():
    rng = random.Random(1)
    pool = (
        "01239" * 4
        + "aeX .,'-+/*%$€(){}[]\"&=_^:·"
        + "\u201c\u201d\u2018\u2019\u2013\u2014\u2212\u2032″‰²½①⁻İŉßΣ‐\u200b\u0301\u0307´ﬁ٣５％－，．"
    )
    for _ in range(20_000):
        text = "".join(rng.choices(pool, k=rng.randint(1, 8)))
        for normalizer in CASES:
            once = normalize(text, normalizer, True)
            assert normalize(once, normalizer, True) == once, (normalizer, text)


@pytest.mark.parametrize("apostrophe", "'\u2019\u2018`´\u02bc\u2032＇")
def test_normalizes_all_forms_of_apostrophes(apostrophe: str):
    assert normalize(f"Don{apostrophe}t say {apostrophe}no{apostrophe}", "english") == "don't say no"


@pytest.mark.parametrize("word", ["i\u0307'b", "x\u0302's", "हिन्दी'स"])
def test_combining_marks_before_an_apostrophe(word: str):
    assert normalize(word, "english") == word
    assert normalize("\u0130'b", "english") == "i\u0307'b"


def test_spelled_numbers_have_the_case_of_the_text():
    assert normalize("Room 12!", "upper", spell_numbers=True) == "ROOM TWELVE!"
    assert normalize("Room 1,200!", "none", spell_numbers=True) == "Room one thousand two hundred!"


@pytest.mark.parametrize("spell_numbers", [False, True])
@pytest.mark.parametrize("normalizer", CASES)
def test_normalization_is_idempotent(normalizer: str, spell_numbers: bool):
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
def test_spells_numbers(number: int | str, words: str):
    assert spell_number(number) == words


def test_spelled_numbers_can_be_parsed_back():
    rng = random.Random(0)
    for value in (*range(2000), *(rng.randrange(10 ** rng.randint(4, 12)) for _ in range(500))):
        assert read_number(spell_number(value)) == value


@pytest.mark.parametrize("number", [-1, 10**12])
def test_rejects_numbers_that_cannot_be_spelled(number: int):
    with pytest.raises(ValueError, match="is not from 0 to below"):
        spell_number(number)


def test_rejects_invalid_options():
    with pytest.raises(RecipeError, match=r"no text\.normalizer 'englsh': choose from none, lower, upper, english"):
        TextOptions(normalizer="englsh")  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="vocabulary is empty"):
        TextOptions(vocabulary=" ")


def test_text_options_apply_the_normalizer():
    assert TextOptions("english", spell_numbers=True).normalize("No. 5!") == "no five"
