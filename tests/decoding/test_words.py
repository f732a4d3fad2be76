"""The words that a search can recognize, and their spellings."""

from __future__ import annotations

from pathlib import Path

import pytest

from hf_speech.decoding.estimation import build_arpa
from hf_speech.decoding.ngram import NgramModel, characters
from hf_speech.decoding.words import choose_words, spell, spell_hot_words, spell_lexicon
from hf_speech.errors import HFSpeechError

TOKENS = ("<pad>", "|", "a", "b")


@pytest.fixture
def words_model(tmp_path: Path) -> NgramModel:
    return NgramModel.load(build_arpa(["a b", "ab ba"], 2, tmp_path / "words.arpa").path)


def test_words_come_from_the_lexicon_or_the_language_model(tmp_path: Path, words_model: NgramModel) -> None:
    of_characters = NgramModel.load(build_arpa(map(characters, ["ab a"]), 2, tmp_path / "characters.arpa").path)
    assert choose_words(None, None, TOKENS, "|") is None
    assert choose_words(None, of_characters, TOKENS, "|") is None
    assert choose_words(None, words_model, TOKENS, "|") == {"a", "b", "ab", "ba"}
    assert choose_words([" ab", "", "bb "], None, TOKENS, "|") == {"ab", "bb"}
    assert choose_words(["ab", "bb"], words_model, TOKENS, "|") == {"ab", "bb"}
    (tmp_path / "words.txt").write_text("ab\n\nbb\n")
    assert choose_words(tmp_path / "words.txt", words_model, TOKENS, "|") == {"ab", "bb"}
    # Text that was not normalized may have any sign as a word, the delimiter too: it is of words all the same.
    signs = NgramModel.load(build_arpa(["ab | b", "$ 0.01"], 2, tmp_path / "signs.arpa").path)
    assert choose_words(None, signs, TOKENS, "|") == {"ab", "|", "b", "$", "0.01"}
    with pytest.raises(HFSpeechError, match="has none of the words of the lexicon, such as 'bb'"):
        choose_words(["bb"], words_model, TOKENS, "|")
    with pytest.raises(HFSpeechError, match="The lexicon has no words"):
        choose_words([" "], None, TOKENS, "|")


def test_spellings_of_words() -> None:
    assert spell("ab", {"a", "b"}) == "ab"
    assert spell("abc", {"a", "b"}) is None
    assert spell("", {"a", "b"}) is None
    assert spell_lexicon({"ba", "c", "ab"}, {"a", "b"}) == ({"ab": "ab", "ba": "ba"}, ("c",))
    with pytest.raises(HFSpeechError, match=r"No word of the lexicon \(such as 'c'\) can be spelled"):
        spell_lexicon({"d", "c"}, {"a", "b"})
    assert spell_hot_words(["b", "a", "b"], {"a", "b"}) == {"a": "a", "b": "b"}
    with pytest.raises(HFSpeechError, match="The hot word 'c' cannot be spelled"):
        spell_hot_words(["a", "c"], {"a", "b"})
