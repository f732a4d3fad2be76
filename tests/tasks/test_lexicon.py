"""Pronouncing dictionaries: formats, and comparison of words."""

# ruff: noqa: RUF001 - ambiguous characters are the point
from __future__ import annotations

from pathlib import Path

import pytest

from hf_speech.errors import CorpusError, RecipeError
from hf_speech.tasks.lexicon import Lexicon


@pytest.fixture
def dictionary(tmp_path: Path) -> Path:
    path = tmp_path / "words.dic"
    path.write_text(";;; a comment\nTWO T UW1\nTO  T UW0\nTO(2) T AH0\nMAY\tM EY1\n\n", encoding="utf-8")
    return path


def test_converts_words_to_phones(dictionary: Path) -> None:
    lexicon = Lexicon.load(dictionary)
    assert lexicon.phones == ("EY", "M", "T", "UW")  # The first pronunciation of each word, without stress.
    assert lexicon.num_ids == 5
    assert lexicon.encode("to May two").tolist() == [3, 4, 2, 1, 3, 4]
    assert lexicon.encode("").tolist() == []


def test_save_and_load_round_trip(dictionary: Path, tmp_path: Path) -> None:
    lexicon = Lexicon.load(dictionary)
    lexicon.save(tmp_path / "again.txt")
    again = Lexicon.load(tmp_path / "again.txt")
    assert again.phones == lexicon.phones
    assert again.encode("may to").tolist() == lexicon.encode("may to").tolist()
    assert again.covers("TO may")
    assert again.covers("")
    assert not again.covers("to june")


def test_reports_missing_words(dictionary: Path) -> None:
    lexicon = Lexicon.load(dictionary)
    lexicon.check(["TWO MAY", ""])
    with pytest.raises(CorpusError, match=r"lacks 2 words of the transcripts \(JUNE, SIX\): extend it"):
        lexicon.check(["JUNE TWO", "SIX JUNE"])


@pytest.mark.parametrize(
    ("content", "message"),
    [("TWO T UW\nSIX\n", r"words.dic:2 has no phones for 'SIX'"), (";;; no word\n", "is empty")],
)
def test_rejects_broken_dictionaries(dictionary: Path, content: str, message: str) -> None:
    dictionary.write_text(content, encoding="utf-8")
    with pytest.raises(RecipeError, match=message):
        Lexicon.load(dictionary)


def test_error_for_a_missing_dictionary(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        Lexicon.load(tmp_path / "none.dic")


@pytest.mark.parametrize(
    "lines",
    [
        "hiv EY1 CH AY1 V # abbrev\naalborg AO1 L B AO0 R G # place, danish\n",  # today's CMUdict
        "# a comment\n## another\nHIV EY CH AY V\nAALBORG AO L B AO R G #1\n",  # Kaldi, with disambiguation symbols
        "HIV 1.0 EY CH AY V\nAALBORG 0.25 AO L B AO R G\n",  # Kaldi's lexiconp.txt
        "hiv\t0.99\t0.5\t1.17\t0.8\tEY1 CH AY1 V\naalborg\tAO1 L B AO2 R G\n",  # Montreal Forced Aligner
        ";;; # old CMUdict\nHIV  EY1 CH AY1 V\nHIV(1)  EY1 CH\nAALBORG  AO1 L B AO0 R G\n",
    ],
)
def test_ignores_comments_probabilities_and_stress(tmp_path: Path, lines: str) -> None:
    path = tmp_path / "words.dic"
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        path.write_text(lines, encoding=encoding)
        lexicon = Lexicon.load(path)
        assert lexicon.phones == ("AO", "AY", "B", "CH", "EY", "G", "L", "R", "V")
        assert [lexicon.phones[index - 1] for index in lexicon.encode("hiv")] == ["EY", "CH", "AY", "V"]


def test_a_word_may_begin_with_a_number_sign(tmp_path: Path) -> None:
    path = tmp_path / "words.dic"
    path.write_text("#HASH-MARK HH AE1 SH\n", encoding="utf-8")
    assert Lexicon.load(path).covers("#hash-mark")


def test_rejects_dictionaries_in_other_encodings(tmp_path: Path) -> None:
    path = tmp_path / "words.dic"
    path.write_bytes("DÉJÀ D EY ZH AA\n".encode("cp1252"))
    with pytest.raises(RecipeError, match="is not text in UTF-8"):
        Lexicon.load(path)


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("café", "cafe\u0301"),
        ("cafe\u0301", "CAFÉ"),
        ("don't", "don\u2019t"),
        ("don´t", "DON'T"),
        ("İstanbul", "i\u0307stanbul"),
        ("straße", "STRASSE"),
        ("ISI", "isi"),
        ("ΣΟΦΟΣ", "σοφος"),
    ],
)
def test_compares_words_after_normalization(tmp_path: Path, written: str, spoken: str) -> None:
    lexicon = Lexicon({written: ["A", "B"], f"{spoken}n": ["B"]})
    assert lexicon.encode(spoken).tolist() == [1, 2]
    lexicon.save(tmp_path / "lexicon.txt")
    again = Lexicon.load(tmp_path / "lexicon.txt")
    for word in (written, spoken):
        assert again.encode(word).tolist() == [1, 2]
    assert not again.covers(f"{written}s")


def test_keeps_the_first_of_equal_words() -> None:
    assert Lexicon({"Café": ["A", "B"], "cafe\u0301": ["B"]}).encode("CAFÉ").tolist() == [1, 2]


def test_distinguishes_the_dotless_i() -> None:
    assert not Lexicon({"ısı": ["A"]}).covers("isi")


def test_adds_words_of_known_phones() -> None:
    lexicon = Lexicon({"go": ["G", "OW"], "so": ["S", "OW"]})
    assert lexicon.extend({"Go": ["S"], "goes": ["G", "OW", "S"], "zoo": ["Z", "UW"], "oh": ["OW"], "hm": []}) == 2
    assert lexicon.phones == ("G", "OW", "S")
    assert lexicon.encode("go goes oh").tolist() == [1, 2, 1, 2, 3, 2]
    assert not lexicon.covers("zoo")
