"""The words that a beam search can recognize, and how a model's tokens spell them.

Words are compared in Unicode's NFC, and spelled in the form for which the model has tokens: a language model may use
a precomposed accented letter where the acoustic model uses a combining accent, or another apostrophe.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Collection, Iterable

from hf_speech.common.reading import read_lines
from hf_speech.common.text import plain_apostrophes, same_form
from hf_speech.decoding.hypothesis import shorten
from hf_speech.decoding.ngram import NgramModel
from hf_speech.errors import HFSpeechError

PathLike = str | os.PathLike[str]
AnySet = set[str] | frozenset[str]


def spell(word: str, letters: AnySet) -> str | None:
    """Return the form of a word that consists of the given letters, or None if there is none."""
    if word and letters.issuperset(word):
        return word
    plain = plain_apostrophes(same_form(word))
    forms = (same_form(word), unicodedata.normalize("NFD", word), plain, unicodedata.normalize("NFD", plain))
    return next((form for form in forms if form and letters.issuperset(form)), None)


def spell_lexicon(words: Collection[str], letters: AnySet) -> tuple[dict[str, str], tuple[str, ...]]:
    """Spell the words of a lexicon.

    Returns:
        The spelling of each word, in alphabetical order, and the words that cannot be spelled.

    Raises:
        HFSpeechError: If none can be spelled.
    """
    spellings = {word: spell(word, letters) for word in sorted(words)}
    spelled = {word: spelling for word, spelling in spellings.items() if spelling is not None}
    if not spelled:
        raise HFSpeechError(
            f"No word of the lexicon (such as {shorten(min(words))!r}) can be spelled with the model's tokens: write "
            "it as the model's training transcripts are, upper or lower case as they are."
        )
    return spelled, tuple(word for word, spelling in spellings.items() if spelling is None)


def spell_hot_words(hot_words: Iterable[str], letters: AnySet) -> dict[str, str]:
    """Return the spelling of each hot word by its NFC."""
    spellings = {}
    for word in sorted(set(hot_words)):
        if (spelling := spell(word, letters)) is None:
            raise HFSpeechError(
                f"The hot word {word!r} cannot be spelled with the model's tokens: give single words, written as the "
                "model's training transcripts are."
            )
        spellings[same_form(word)] = spelling
    return spellings


def choose_words(
    lexicon: PathLike | Iterable[str] | None, model: NgramModel | None, tokens: Collection[str], word_delimiter: str
) -> set[str] | None:
    """Return the words that can be recognized, or None if any sequence of tokens can.

    Args:
        lexicon: Words, or a file with one on each line; None for those of the language model.
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
        raise HFSpeechError(f"{name} has no words: give one word a line.")
    if model is not None and model.vocabulary.isdisjoint(words):
        raise HFSpeechError(
            f"The language model has none of the words of {name[0].lower()}{name[1:]}, such as {min(words)!r}: a model "
            "of characters needs no lexicon, and a model of words is written as its lexicon is."
        )
    return words


def _is_of_characters(model: NgramModel, tokens: Collection[str], word_delimiter: str) -> bool:
    """Whether a language model predicts characters: it says so, or its words are tokens with the delimiter among them.

    That all of its words are tokens proves nothing: digits and spelled letters are words, too. Nor does a delimiter
    among longer words: text may have any sign. But a model without a delimiter writes single words only, and a language
    model of its tokens can be of nothing but characters.
    """
    if model.is_of_characters:
        return True
    single = all(len(word) == 1 or word in tokens for word in model.vocabulary)
    has_delimiter = word_delimiter in model.vocabulary
    return single and (has_delimiter or (word_delimiter not in tokens and model.vocabulary.issubset(tokens)))
