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


def test_words_become_phones(dictionary: Path) -> None:
    lexicon = Lexicon.load(dictionary)
    assert lexicon.phones == ("EY", "M", "T", "UW")  # The first pronunciation of each word, without stress.
    assert lexicon.num_ids == 5
    assert lexicon.encode("to May two").tolist() == [3, 4, 2, 1, 3, 4]
    assert lexicon.encode("").tolist() == []


def test_what_is_saved_is_read_again(dictionary: Path, tmp_path: Path) -> None:
    lexicon = Lexicon.load(dictionary)
    lexicon.save(tmp_path / "again.txt")
    again = Lexicon.load(tmp_path / "again.txt")
    assert again.phones == lexicon.phones
    assert again.encode("may to").tolist() == lexicon.encode("may to").tolist()
    assert again.knows("TO may")
    assert again.knows("")
    assert not again.knows("to june")


def test_missing_words_are_named(dictionary: Path) -> None:
    lexicon = Lexicon.load(dictionary)
    lexicon.check(["TWO MAY", ""])
    with pytest.raises(CorpusError, match=r"lacks 2 words of the transcripts \(JUNE, SIX\): add them"):
        lexicon.check(["JUNE TWO", "SIX JUNE"])


@pytest.mark.parametrize(
    ("content", "message"),
    [("TWO T UW\nSIX\n", r"words.dic:2 says nothing of how 'SIX' is spoken"), (";;; no word\n", "is empty")],
)
def test_broken_dictionaries_are_refused(dictionary: Path, content: str, message: str) -> None:
    dictionary.write_text(content, encoding="utf-8")
    with pytest.raises(RecipeError, match=message):
        Lexicon.load(dictionary)


def test_missing_dictionary(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        Lexicon.load(tmp_path / "none.dic")
