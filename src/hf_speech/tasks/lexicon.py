"""A pronouncing dictionary: the phones of each word.

With one, the middle layer of a recognizer learns to predict phones. English spells "two", "to" and "too" differently
and pronounces "ough" in six ways: phones are closer to the sound, and rare words consist of phones that are not rare
(Toshniwal et al., arXiv 1704.01631; Sanabria & Metze, arXiv 1807.07104). Recognition does not need the dictionary, but
a beam search can rescore its hypotheses by their phones.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hf_speech.common.files import write_text
from hf_speech.common.reading import read_lines
from hf_speech.common.text import plain_apostrophes, same_form
from hf_speech.errors import CorpusError, RecipeError

if TYPE_CHECKING:
    import torch

_COMMENT = re.compile(r";;;|##|#$")  # of a line, by its first word
_VARIANT = re.compile(r"\(\d+\)$")  # CMUdict's mark of a further pronunciation: AUGUST(2)
_STRESS = re.compile(r"(?<=[A-Z])[012]$")  # and of stress: AH0
_PROBABILITY = re.compile(r"[0-9]*\.[0-9]+$")  # before the phones in Kaldi's lexiconp.txt and MFA's


class Lexicon:
    """The pronunciation of each word.

    Words are compared in lower case, in one form of Unicode, and with one form of apostrophe.

    Args:
        pronunciations: The phones of each word. Of words that compare equal, the first one counts.

    Attributes:
        phones: All phones in alphabetical order. The id of a phone is its position, counted from 1; 0 is the blank.
    """

    def __init__(self, pronunciations: Mapping[str, Sequence[str]]) -> None:
        self._pronunciations: dict[str, tuple[str, ...]] = {}
        for word, phones in pronunciations.items():
            self._pronunciations.setdefault(_key(word), tuple(phones))
        self.phones = tuple(sorted({phone for phones in self._pronunciations.values() for phone in phones}))
        self._ids = {phone: index for index, phone in enumerate(self.phones, start=1)}

    @classmethod
    def load(cls, path: str | Path) -> Lexicon:
        """Read lines `WORD PHONE PHONE ...`, as in CMUdict and Kaldi's `lexicon.txt`.

        Of several pronunciations of a word the first is kept. Comments, pronunciation probabilities and CMUdict's
        stress digits are left out.

        Raises:
            RecipeError: If the file cannot be read, or a line has no pronunciation.
        """
        pronunciations: dict[str, list[str]] = {}
        for number, line in enumerate(read_lines(Path(path).expanduser(), RecipeError), start=1):
            word, *rest = line.split() or ["#"]
            if _COMMENT.match(word):
                continue
            comment = next((index for index, part in enumerate(rest) if part.startswith("#")), len(rest))
            phones = [_STRESS.sub("", part) for part in rest[:comment]]
            while phones and _PROBABILITY.match(phones[0]):
                del phones[0]
            if not phones:
                raise RecipeError(f"{path}:{number} has no phones for {word!r}: write WORD PHONE PHONE ...")
            pronunciations.setdefault(_VARIANT.sub("", word), phones)
        if not pronunciations:
            raise RecipeError(f"The lexicon {path} is empty: write a line WORD PHONE PHONE ... for each word.")
        return cls(pronunciations)

    @property
    def num_ids(self) -> int:
        """The number of phones and the blank."""
        return len(self.phones) + 1

    def knows(self, text: str) -> bool:
        """Whether every word of a text has a pronunciation."""
        return all(_key(word) in self._pronunciations for word in text.split())

    def extend(self, pronunciations: Mapping[str, Sequence[str]]) -> int:
        """Add words that are new and consist of known phones, whose ids stay, and return how many these are."""
        new = {_key(word): tuple(phones) for word, phones in pronunciations.items()}
        new = {word: phones for word, phones in new.items() if phones and self._ids.keys() >= set(phones)}
        before = len(self._pronunciations)
        self._pronunciations = new | self._pronunciations
        return len(self._pronunciations) - before

    def save(self, path: str | Path) -> None:
        """Write the pronunciations as `load` reads them, with the same ids."""
        lines = (f"{_upper(word)}\t{' '.join(phones)}\n" for word, phones in sorted(self._pronunciations.items()))
        write_text(path, "".join(lines))

    def check(self, texts: Iterable[str]) -> None:
        """Check that every word has a pronunciation.

        Raises:
            CorpusError: If words lack one; it names the first of them.
        """
        missing = sorted({word for text in texts for word in text.split() if _key(word) not in self._pronunciations})
        if missing:
            names = ", ".join(missing[:8]) + (", ..." if len(missing) > 8 else "")
            raise CorpusError(f"The lexicon lacks {len(missing)} words of the transcripts ({names}): add them to it.")

    def phone_ids(self, text: str) -> list[int]:
        """Return the phone ids of a text, word by word."""
        return [self._ids[phone] for word in text.split() for phone in self._pronunciations[_key(word)]]

    def encode(self, text: str) -> torch.Tensor:
        """Return the phone ids of a text as a tensor, `(phones,)`."""
        import torch  # imported late: recognition runs without PyTorch

        return torch.tensor(self.phone_ids(text), dtype=torch.long)


def _key(word: str) -> str:
    """A word as words are compared."""
    if word.isascii():  # Most are, and this takes a tenth of the time.
        return word.lower().replace("`", "'")
    return same_form(plain_apostrophes(same_form(word)).casefold())


def _upper(key: str) -> str:
    """A key in upper case, unless that would be another word: in Turkish, "ı" and "i" are two letters."""
    return key.upper() if _key(key.upper()) == key else key
