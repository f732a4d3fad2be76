"""Transcript normalization, and the recipe's section `text`.

* A normalizer has a name and no state. The name is saved with the model, so evaluation normalizes its references
  exactly as training did, for any corpus.
* Normalizing twice gives the same text as normalizing once.
* The value of a number never changes. Ambiguous forms ("$5", "1st", "1990s", "10²", "5‰") are left unchanged, and the
  inspection before training reports them. Whisper's English normalizer does the opposite: it turns words into digits
  and removes fillers.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Literal, get_args

from hf_speech.common.reading import TABLE_SUFFIXES, read_lines
from hf_speech.common.text import plain_apostrophes
from hf_speech.errors import HFSpeechError, RecipeError

NormalizerName = Literal["none", "lower", "upper", "english"]

# Suffixes of text files with more content than sentences.
_STRUCTURED = TABLE_SUFFIXES | {
    ".arpa",
    ".jsgf",
    ".ctm",
    ".htm",
    ".html",
    ".srt",
    ".stm",
    ".textgrid",
    ".vtt",
    ".xml",
    ".yaml",
}

# Characters that are spoken as a word although Unicode classifies them as punctuation or symbols.
SPOKEN_SYMBOLS = {"&": "and", "%": "percent", "@": "at", "+": "plus", "=": "equals", "\u2212": "minus"}

CASES: dict[str, Callable[[str], str]] = {"none": str, "lower": str.lower, "upper": str.upper, "english": str.lower}
"""The function that each normalizer applies to letters, by the normalizer's name."""

_ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SCALES = ((10**9, "billion"), (10**6, "million"), (10**3, "thousand"), (100, "hundred"))
_MAX_DIGITS = 12

_CURRENCY = "$¢-¥฿₠-₿"
_MARKS = "\u0300-\u036f\u20d0-\u20ff\ufe00-\ufe0f"  # combining characters, as in keycap emoji
# A standalone number: not part of a word, a price, a fraction, a product or a version.
_NUMBER = re.compile(
    rf"(?<![\w.,/\u2044{_CURRENCY}])(?<!\d['*·])(?<!\d[eE][-+])(?P<minus>-?)"
    r"(?:(?P<whole>[1-9][0-9]{0,2}(?:,[0-9]{3})+|[0-9]+)(?:\.(?P<decimals>[0-9]+))?|\.(?P<fraction>[0-9]+))"
    rf"(?!\w|[.,'*·]\.?\d|[/\u2044‰‱′⁺⁻{_CURRENCY}{_MARKS}])"  # noqa: RUF001
)
_GROUPED = re.compile(r"(?<![\w.,])(?<!\d')[1-9][0-9]{0,2}(?:,[0-9]{3})+(?![0-9]|,[0-9])")
_MINUS = re.compile(rf"[-\u2012\u2013](?=\(?[{_CURRENCY}]?\.?[0-9])")
# Punctuation that belongs to a number: inside it, before it, after it, and as the sign of an exponent.
_IN_NUMBER = re.compile(r"(?<=\d)[./*·_](?=\d)|(?<![\w.])\.(?=\d)|(?<=\d)[‰‱′]+|(?<=\d[eE])[-+](?=\d)")  # noqa: RUF001
_SYMBOL = re.compile(r"[^\w\s]|_")
# The end of a sentence, with the quotation marks and brackets after it.
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"'\u201d\u2019)\]*_]*\s+")


@dataclass
class TextOptions:
    """The recipe's `text` section: how transcripts are written.

    Args:
        normalizer: "none" (only collapses white space), "lower" or "upper" (also changes case, and converts characters
            to their standard form), "english" (lower case without punctuation, except apostrophes inside words).
        spell_numbers: Whether to spell numbers in English words.
        vocabulary: The characters to learn, in one string; null for those of the training transcripts.
        unknown: How to treat a training utterance with characters outside the vocabulary: as a bad row ("bad_row"; see
            corpus.bad_rows), or with the token <unk> for these characters ("unk").
        lexicon: A pronouncing dictionary, with which model.intermediate_ctc_weight trains the middle layer to predict
            phones: a file of lines WORD PHONE PHONE ..., "corpus" for the corpus's own, or "cmudict" for English
            (CMUdict, and eSpeak NG for words that it lacks); null for none.
    """

    normalizer: NormalizerName = "none"
    spell_numbers: bool = False
    vocabulary: str | None = None
    unknown: Literal["bad_row", "unk"] = "bad_row"
    lexicon: str | None = None

    def __post_init__(self) -> None:
        if self.normalizer not in CASES:
            known = ", ".join(get_args(NormalizerName))
            raise RecipeError(f"There is no text.normalizer {self.normalizer!r}: choose from {known}.")
        if self.vocabulary is not None and not self.vocabulary.strip():
            raise RecipeError("text.vocabulary is empty: list the characters to learn, or use null for all.")

    def normalize(self, text: str) -> str:
        """Normalizes a transcript with these options."""
        return normalize(text, self.normalizer, self.spell_numbers)


def normalize(text: str, normalizer: str = "none", spell_numbers: bool = False) -> str:
    """Normalizes a transcript.

    Args:
        text: The transcript.
        normalizer: The name of a normalizer; see `TextOptions`.
        spell_numbers: Whether to spell numbers in English words.

    Returns:
        The words, separated by single spaces.
    """
    case = CASES[normalizer]
    if normalizer != "none":
        text = _standard_form(text)
        if normalizer == "english":
            text = _without_punctuation(text)
    text = case(text)
    if spell_numbers:
        text = case(_NUMBER.sub(_spell_match, text))
    if normalizer != "none":
        text = _standard_form(text)  # Changing case may produce other forms.
    return " ".join(text.split())


def read_plain_text(file: Path) -> Iterator[str]:
    """Yields the lines of a text file.

    Raises:
        HFSpeechError: If it cannot be read, is not text, or its name has the suffix of another format, such as a table.
    """
    if (suffix := file.suffix.lower()) in _STRUCTURED:
        raise HFSpeechError(
            f"{file} is not plain text, and everything in a {suffix} file would count as words: give a file with "
            "a sentence in each line."
        )
    yield from read_lines(file)


def read_sentences(path: Path, normalizer: str = "none", spell_numbers: bool = False) -> Iterator[str]:
    """Yields the sentences of a text file, or of all `.txt` and `.md` files in a folder, normalized.

    Without a normalizer each line is a sentence; with one, lines are also split at the ends of sentences.

    Raises:
        HFSpeechError: If the file does not exist or is not text, or the folder has no such files.
    """
    files = sorted(file for file in path.rglob("*") if file.suffix in (".txt", ".md")) if path.is_dir() else [path]
    if not files:
        raise HFSpeechError(f"The folder {path} has no .txt or .md files: give a text file or a run folder.")
    for file in files:
        for line in read_plain_text(file):
            for sentence in [line] if normalizer == "none" else _SENTENCE_END.split(line):
                yield normalize(sentence, normalizer, spell_numbers)


def spell_number(number: int | str) -> str:
    """Spells a whole number in English words, American style: 1455 is "one thousand four hundred fifty five".

    Args:
        number: From 0 to below 10^12. A string with leading zeros is spelled digit by digit.

    Raises:
        ValueError: If it is negative or too large.
    """
    digits = str(number)
    if len(digits) > 1 and digits.startswith("0"):
        return " ".join(_ONES[int(digit)] for digit in digits)
    value = int(digits)
    if not 0 <= value < 10**_MAX_DIGITS:
        raise ValueError(f"{number} is not from 0 to below 10^{_MAX_DIGITS}")
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
    whole = (match["whole"] or "").replace(",", "")
    if len(whole) > _MAX_DIGITS:
        return match[0]
    words = ["minus"] if match["minus"] else []
    if whole:
        words.append(spell_number(whole))
    if decimals := match["decimals"] or match["fraction"]:
        words += ["point", *(_ONES[int(digit)] for digit in decimals)]
    return " ".join(words)


def _standard_form(text: str) -> str:
    """Applies Unicode's NFKC, which makes plain letters of full-width forms and ligatures, and plain apostrophes.

    Characters like `²`, `½` and `①` are kept: as plain digits they would join the number before them.
    """
    text = plain_apostrophes(text)
    if text.isascii():
        return text
    groups = ("".join(group) for _, group in groupby(text, key=_hides_number))
    text = "".join(group if _hides_number(group[0]) else unicodedata.normalize("NFKC", group) for group in groups)
    return plain_apostrophes(text)


@cache
def _hides_number(character: str) -> bool:
    """Returns whether NFKC turns a character into digits or signs although it is not just a digit in another form."""
    if character.isdecimal():
        return False
    plain = unicodedata.normalize("NFKC", character)
    small = unicodedata.decomposition(character).startswith(("<super>", "<sub>")) and not plain.isalpha()
    return small or (plain != character and any(part.isdecimal() for part in plain))


def _without_punctuation(text: str) -> str:
    """Removes punctuation that is not part of a word (don't) or a number (3.14, .5, 1/2, 1e-5)."""
    if not text.isascii():
        text = "".join(character for character in text if unicodedata.category(character) != "Cf")  # invisible
    text = _GROUPED.sub(lambda match: match[0].replace(",", ""), text)
    text = _MINUS.sub(lambda match: " minus " if _can_be_minus(text, match.start()) else match[0], text)
    in_number = {index for match in _IN_NUMBER.finditer(text) for index in range(*match.span())}

    def replace(match: re.Match[str]) -> str:
        start, end = match.span()
        return match[0] if start in in_number else _replacement(match[0], text[start - 1 : start], text[end : end + 1])

    return _SYMBOL.sub(replace, text)


def _can_be_minus(text: str, index: int) -> bool:
    """Returns whether a dash before a number is a minus, not a hyphen (3-4), a pause (--4) or after a quote ("a"-4)."""
    before = text[:index].rstrip("'\"")[-1:] if text[index - 1 : index] in ("'", '"') else text[:index][-1:]
    return not (_in_word(before) or before in (*".%‰°",) or unicodedata.category(before or " ") in ("Pe", "Pf", "Pd"))


def _in_word(character: str) -> bool:
    return character.isalnum() or unicodedata.category(character or " ").startswith("M")


def _replacement(character: str, before: str, after: str) -> str:
    """Returns a symbol itself, its spoken word, or a space if it is punctuation."""
    if character in SPOKEN_SYMBOLS:
        return f" {SPOKEN_SYMBOLS[character]} "
    if character in "'′":  # noqa: RUF001
        return "'" if _in_word(before) and _in_word(after) else " "
    return " " if unicodedata.category(character).startswith("P") else character
