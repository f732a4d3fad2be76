"""The words that a beam search can recognize, and their spelling in a model's tokens.

Words are compared in Unicode's NFC, and spelled in the form that the model's tokens support: a language model may use a
precomposed accented letter where the acoustic model uses a combining accent, or a different apostrophe.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Collection, Iterable

from hf_speech.common.reading import read_lines
from hf_speech.common.text import nfc, plain_apostrophes
from hf_speech.decoding.hypothesis import shorten
from hf_speech.decoding.ngram import NgramModel
from hf_speech.errors import HFSpeechError

PathLike = str | os.PathLike[str]
AnySet = set[str] | frozenset[str]


def spell(word: str, letters: AnySet) -> str | None:
    """Returns the form of a word that consists of the given letters, or None if there is none."""
    if word and letters.issuperset(word):
        return word
    plain = plain_apostrophes(nfc(word))
    forms = (nfc(word), unicodedata.normalize("NFD", word), plain, unicodedata.normalize("NFD", plain))
    return next((form for form in forms if form and letters.issuperset(form)), None)


def spell_lexicon(words: Collection[str], letters: AnySet) -> tuple[dict[str, str], tuple[str, ...]]:
    """Spells the words of a lexicon.

    Returns:
        The spelling of each word, in alphabetical order, and the words that cannot be spelled.

    Raises:
        HFSpeechError: If no word can be spelled.
    """
    spellings = {word: spell(word, letters) for word in sorted(words)}
    spelled = {word: spelling for word, spelling in spellings.items() if spelling is not None}
    if not spelled:
        raise HFSpeechError(
            f"No word of the lexicon (such as {shorten(min(words))!r}) can be spelled with the model's tokens: write "
            "it like the model's training transcripts, in the same case."
        )
    return spelled, tuple(word for word, spelling in spellings.items() if spelling is None)


def spell_hot_words(hot_words: Iterable[str], letters: AnySet) -> dict[str, str]:
    """Returns the spelling of each hot word, by its NFC form."""
    spellings = {}
    for word in sorted(set(hot_words)):
        if (spelling := spell(word, letters)) is None:
            raise HFSpeechError(
                f"The hot word {word!r} cannot be spelled with the model's tokens: give single words, written like the "
                "model's training transcripts."
            )
        spellings[nfc(word)] = spelling
    return spellings


def choose_words(
    lexicon: PathLike | Iterable[str] | None, model: NgramModel | None, tokens: Collection[str], word_delimiter: str
) -> set[str] | None:
    """Returns the words that can be recognized, or None if any sequence of tokens can be.

    Args:
        lexicon: Words, or a file with one word per line; None for the words of the language model.
        model: The language model, if there is one.
        tokens: The acoustic model's tokens.
        word_delimiter: The token between words.

    Raises:
        HFSpeechError: If the lexicon cannot be read, or does not fit the language model.
    """
    if lexicon is None:
        is_of_words = model is not None and not _is_of_characters(model, tokens, word_delimiter)
        return set(model.vocabulary) if model is not None and is_of_words else None
    name = "The lexicon"
    if isinstance(lexicon, str | os.PathLike):
        name += f" {os.fspath(lexicon)}"
        lexicon = read_lines(lexicon)
    words = {word.strip() for word in lexicon} - {""}
    if not words:
        raise HFSpeechError(f"{name} has no words: write one word per line.")
    if model is not None and model.vocabulary.isdisjoint(words):
        raise HFSpeechError(
            f"The language model has none of the words of {name[0].lower()}{name[1:]}, such as {min(words)!r}: use no "
            "lexicon with a character model, and the same spelling with a word model."
        )
    return words


def _is_of_characters(model: NgramModel, tokens: Collection[str], word_delimiter: str) -> bool:
    """Returns whether a language model predicts characters: it is marked so, or its words are tokens and the delimiter.

    Words that are all tokens are not sufficient, since digits and spelled letters are words as well. Neither is a
    delimiter among longer words, since text may contain any character. But an acoustic model without a delimiter only
    recognizes single words, so a language model whose words are all tokens must be a character model.
    """
    if model.is_of_characters:
        return True
    if not all(len(word) == 1 or word in tokens for word in model.vocabulary):
        return False
    return word_delimiter in model.vocabulary or (word_delimiter not in tokens and model.vocabulary.issubset(tokens))
