"""A pronouncing dictionary: the phones of each word.

If a recipe has one, the middle layer of the recognizer learns to predict phones. English spells "two", "to" and "too"
differently and pronounces "ough" in six ways; phones are closer to the sound, and rare words consist of common phones
(Toshniwal et al., arXiv 1704.01631; Sanabria & Metze, arXiv 1807.07104). Recognition does not need the dictionary, but
a beam search can use it to rescore hypotheses by their phones.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hf_speech.common.files import write_text
from hf_speech.common.reading import read_lines
from hf_speech.common.text import counted, nfc, plain_apostrophes
from hf_speech.errors import CorpusError, RecipeError

if TYPE_CHECKING:
    import torch

_COMMENT = re.compile(r";;;|##|#$")  # the first word of a comment line
_VARIANT = re.compile(r"\(\d+\)$")  # CMUdict's mark of an alternative pronunciation: AUGUST(2)
_STRESS = re.compile(r"(?<=[A-Z])[012]$")  # CMUdict's stress digit: AH0
_PROBABILITY = re.compile(r"[0-9]*\.[0-9]+$")  # precedes the phones in Kaldi's lexiconp.txt and in MFA dictionaries


class Lexicon:
    """A pronouncing dictionary with one pronunciation per word.

    Words are compared in lower case, after Unicode normalization, and with plain apostrophes.

    Args:
        pronunciations: The phones of each word. If several words compare equal, the first is used.

    Attributes:
        phones: All phones in alphabetical order. The id of a phone is its position, starting at 1; 0 is the blank.
    """

    def __init__(self, pronunciations: Mapping[str, Sequence[str]]) -> None:
        self._pronunciations: dict[str, tuple[str, ...]] = {}
        for word, phones in pronunciations.items():
            self._pronunciations.setdefault(_key(word), tuple(phones))
        self.phones = tuple(sorted({phone for phones in self._pronunciations.values() for phone in phones}))
        self._ids = {phone: index for index, phone in enumerate(self.phones, start=1)}

    @classmethod
    def load(cls, path: str | Path) -> Lexicon:
        """Reads lines `WORD PHONE PHONE ...`, as in CMUdict and Kaldi's `lexicon.txt`.

        Only the first pronunciation of a word is kept. Comments, pronunciation probabilities and CMUdict's stress
        digits are ignored.

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
        """The number of phones, plus one for the blank."""
        return len(self.phones) + 1

    def covers(self, text: str) -> bool:
        """Returns whether every word of a text has a pronunciation."""
        return all(_key(word) in self._pronunciations for word in text.split())

    def extend(self, pronunciations: Mapping[str, Sequence[str]]) -> int:
        """Adds new words that consist of known phones, and returns their number; phone ids do not change."""
        new = {_key(word): tuple(phones) for word, phones in pronunciations.items()}
        new = {word: phones for word, phones in new.items() if phones and self._ids.keys() >= set(phones)}
        before = len(self._pronunciations)
        self._pronunciations = new | self._pronunciations
        return len(self._pronunciations) - before

    def save(self, path: str | Path) -> None:
        """Writes the pronunciations in the format of `load`, which then assigns the same ids."""
        lines = (f"{_upper(word)}\t{' '.join(phones)}\n" for word, phones in sorted(self._pronunciations.items()))
        write_text(path, "".join(lines))

    def check(self, texts: Iterable[str]) -> None:
        """Checks that every word has a pronunciation.

        Raises:
            CorpusError: If words lack one; the message lists the first few.
        """
        missing = sorted({word for text in texts for word in text.split() if _key(word) not in self._pronunciations})
        if missing:
            names = ", ".join(missing[:8]) + (", ..." if len(missing) > 8 else "")
            words = counted(len(missing), "word")
            raise CorpusError(f"The lexicon lacks {words} of the transcripts ({names}): extend it.")

    def phone_ids(self, text: str) -> list[int]:
        """Returns the phone ids of a text, word by word."""
        return [self._ids[phone] for word in text.split() for phone in self._pronunciations[_key(word)]]

    def encode(self, text: str) -> torch.Tensor:
        """Returns the phone ids of a text as a tensor, `(phones,)`."""
        import torch  # imported here because recognition also runs without PyTorch

        return torch.tensor(self.phone_ids(text), dtype=torch.long)


def _key(word: str) -> str:
    """Returns the form of a word in which words are compared."""
    if word.isascii():  # Most words are, and this takes a tenth of the time.
        return word.lower().replace("`", "'")
    return nfc(plain_apostrophes(nfc(word)).casefold())


def _upper(key: str) -> str:
    """Returns a key in upper case unless that changes the word: in Turkish, "ı" and "i" are different letters."""
    return key.upper() if _key(key.upper()) == key else key
