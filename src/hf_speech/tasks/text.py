"""Transcripts as a recognizer learns them: what a recipe's section `text` says, and what it does to a text.

* A normalizer has a name and no state, so that it can be written down with the model: evaluation normalizes its
  references exactly as training did, whatever corpus they come from.
* Normalizing twice changes nothing more, so it never matters whether a text has been normalized before.
* What cannot be normalized with certainty ("$5", "1st", "1990s") stays as it is, where the inspection before training
  sees it. Whisper's English normalizer goes the other way (words to digits, fillers removed), so it does not suit.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from hf_speech.errors import RecipeError

NormalizerName = Literal["none", "lower", "upper", "english"]

# Characters that are spoken as a word though Unicode calls them punctuation or symbols.
SPOKEN_SYMBOLS = {"&": "and", "%": "percent", "@": "at", "+": "plus", "=": "equals"}
_APOSTROPHES = str.maketrans(dict.fromkeys("‘’ʼ`", "'"))  # noqa: RUF001 - they are the point

CASES: dict[str, Callable[[str], str]] = {"none": str, "lower": str.lower, "upper": str.upper, "english": str.lower}
"""What each normalizer, by its name, does to letters."""

_ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SCALES = ((10**9, "billion"), (10**6, "million"), (10**3, "thousand"), (100, "hundred"))
_MOST_DIGITS = 12

# A number that stands by itself: no part of a word, a price, a fraction or a version.
_NUMBER = re.compile(
    r"(?<![\w.,/\u2044$£€])(?P<minus>-?)(?P<whole>[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.(?P<decimals>[0-9]+))?"
    r"(?!\w|[.,][0-9]|[/\u2044])"
)
_THOUSANDS_COMMA = re.compile(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))")
_MINUS_SIGN = re.compile(r"(?<!\S)[-−](?=[0-9])")  # noqa: RUF001 - U+2212 is one, too
_QUOTE = re.compile(r"(?<!\w)'|'(?!\w)")


@dataclass
class TextOptions:
    """The recipe's `text` section: how transcripts are written.

    Args:
        normalizer: What is done to transcripts: "none" (only spaces are put in order), "lower" or "upper" (case,
            and one form of each character), "english" (lower case, without punctuation, apostrophes inside words
            kept).
        spell_numbers: Whether numbers in digits become English words.
        vocabulary: The characters to learn, in one string, or null for those of the training transcripts.
        unknown: What a character that the vocabulary lacks means for a training utterance: it is a bad row
            ("bad_row", to be treated as corpus.bad_rows says), or it is learned as the token <unk> ("unk").
        lexicon: A pronouncing dictionary (a file of lines WORD PHONE PHONE ..., or "corpus" for the one that comes with
            the corpus), with which model.intermediate_ctc_weight makes the middle layer write phones; null for none.
    """

    normalizer: NormalizerName = "none"
    spell_numbers: bool = False
    vocabulary: str | None = None
    unknown: Literal["bad_row", "unk"] = "bad_row"
    lexicon: str | None = None

    def __post_init__(self) -> None:
        if self.normalizer not in CASES:
            known = ", ".join(get_args(NormalizerName))
            raise RecipeError(f"There is no text.normalizer {self.normalizer!r}: there are {known}.")
        if self.vocabulary is not None and not self.vocabulary.strip():
            raise RecipeError("text.vocabulary is empty: list the characters to learn, or take null for all.")

    def normalize(self, text: str) -> str:
        """Writes a transcript as the model learns it."""
        return normalize(text, self.normalizer, self.spell_numbers)


def normalize(text: str, normalizer: str = "none", spell_numbers: bool = False) -> str:
    """Writes a transcript in one way.

    Args:
        text: The transcript as a corpus has it.
        normalizer: Its name, as in `TextOptions`.
        spell_numbers: Whether numbers in digits become English words.

    Returns:
        Words with one space between them, none around them.
    """
    case = CASES[normalizer]
    if normalizer != "none":
        # NFKC joins accents to their letters, and turns ligatures and full-width forms into plain ones.
        text = unicodedata.normalize("NFKC", text).translate(_APOSTROPHES)
        if normalizer == "english":
            text = _without_punctuation(text)
    text = case(text)
    if spell_numbers:
        text = case(_NUMBER.sub(_spell_match, text))
    if normalizer != "none":
        text = unicodedata.normalize("NFKC", text)
    return " ".join(text.split())


def spell_number(number: int | str) -> str:
    """A whole number in English words, American style: 1455 is "one thousand four hundred fifty five".

    Args:
        number: From 0 to below 10^12. As a string it may begin with zeros, and is then read digit by digit.

    Raises:
        ValueError: If it is negative or too large.
    """
    digits = str(number)
    if len(digits) > 1 and digits.startswith("0"):
        return " ".join(_ONES[int(digit)] for digit in digits)
    value = int(digits)
    if not 0 <= value < 10**_MOST_DIGITS:
        raise ValueError(f"{number} is not from 0 to below 10^{_MOST_DIGITS}")
    return " ".join(_words(value))


def _words(value: int) -> list[str]:
    if value < len(_ONES):
        return [_ONES[value]]
    if value < 100:
        tens, ones = divmod(value, 10)
        return [_TENS[tens], *(_words(ones) if ones else [])]
    scale, name = next(entry for entry in _SCALES if value >= entry[0])
    count, rest = divmod(value, scale)
    return [*_words(count), name, *(_words(rest) if rest else [])]


def _spell_match(match: re.Match[str]) -> str:
    whole = match["whole"].replace(",", "")
    if len(whole) > _MOST_DIGITS:
        return match[0]
    minus, decimals = "minus " * bool(match["minus"]), ""
    if match["decimals"]:
        decimals = " point " + " ".join(_ONES[int(digit)] for digit in match["decimals"])
    return minus + spell_number(whole) + decimals


def _without_punctuation(text: str) -> str:
    """A text without punctuation, except what belongs to a word (don't) or a number (3.14, 1/2)."""
    text = _MINUS_SIGN.sub(" minus ", _THOUSANDS_COMMA.sub("", text))
    for symbol, word in SPOKEN_SYMBOLS.items():
        text = text.replace(symbol, f" {word} ")
    text = "".join(_spoken(character, text[i - 1 : i], text[i + 1 : i + 2]) for i, character in enumerate(text))
    return _QUOTE.sub(" ", text)


def _spoken(character: str, before: str, after: str) -> str:
    """What is left of a character: itself, a space for punctuation, nothing of what is invisible."""
    category = unicodedata.category(character)
    if character == "'" or (character in "./" and before.isdecimal() and after.isdecimal()):
        return character
    if category == "Cf":
        return ""
    return " " if category.startswith("P") else character


__all__ = ["CASES", "TextOptions", "normalize", "spell_number"]
