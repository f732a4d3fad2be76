"""A pronouncing dictionary: which phones a word is made of.

With one, the middle layer of a recognizer learns to write phones on the way to the letters. English spells "two", "to"
and "too" in three ways and "ough" is said in six: phones are nearer to the sound, and a rare word is made of phones
that are not rare (Toshniwal et al., arXiv 1704.01631; Sanabria & Metze, arXiv 1807.07104). Recognition needs none, but
a beam search can ask the phones for a second opinion.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch

from hf_speech.errors import CorpusError, RecipeError

_COMMENT = ";;;"
_VARIANT = re.compile(r"\(\d+\)$")  # CMUdict's mark of a further pronunciation: AUGUST(2)
_STRESS = re.compile(r"(?<=[A-Z])[012]$")  # and of stress: AH0


class Lexicon:
    """The pronunciation of each word.

    Args:
        pronunciations: The phones of each word, whatever its case.

    Attributes:
        phones: All phones, in alphabetical order; the id of each is its place, from 1 on, and 0 is CTC's blank.
    """

    def __init__(self, pronunciations: Mapping[str, Sequence[str]]) -> None:
        self._pronunciations = {word.casefold(): tuple(phones) for word, phones in pronunciations.items()}
        self.phones = tuple(sorted({phone for phones in self._pronunciations.values() for phone in phones}))
        self._ids = {phone: index for index, phone in enumerate(self.phones, start=1)}

    @classmethod
    def load(cls, path: str | Path) -> Lexicon:
        """Reads lines `WORD PHONE PHONE ...`, as CMUdict and Kaldi's `lexicon.txt` have them.

        Of several pronunciations of a word the first is kept; CMUdict's digits of stress are left out.

        Raises:
            RecipeError: If the file cannot be read, or a line is no pronunciation.
        """
        try:
            lines = Path(path).expanduser().read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(f"The lexicon {path} cannot be read ({error}): give a text file of UTF-8.") from error
        pronunciations: dict[str, list[str]] = {}
        for number, line in enumerate(lines, start=1):
            word, *phones = line.split() or [_COMMENT]
            if word.startswith(_COMMENT):
                continue
            if not phones:
                raise RecipeError(f"{path}:{number} says nothing of how {word!r} is spoken: write WORD PHONE PHONE ...")
            pronunciations.setdefault(_VARIANT.sub("", word), [_STRESS.sub("", phone) for phone in phones])
        if not pronunciations:
            raise RecipeError(f"The lexicon {path} is empty: write a line WORD PHONE PHONE ... for each word.")
        return cls(pronunciations)

    @property
    def num_ids(self) -> int:
        """Phones and the blank."""
        return len(self.phones) + 1

    def knows(self, text: str) -> bool:
        """Whether every word of a text has a pronunciation."""
        return all(word.casefold() in self._pronunciations for word in text.split())

    def save(self, path: str | Path) -> None:
        """Writes the pronunciations as `load` reads them, with the same ids."""
        lines = (f"{word.upper()}\t{' '.join(phones)}\n" for word, phones in sorted(self._pronunciations.items()))
        Path(path).write_text("".join(lines), encoding="utf-8")

    def check(self, texts: Iterable[str]) -> None:
        """Makes sure that every word has a pronunciation.

        Raises:
            CorpusError: If words lack one, naming the first of them.
        """
        missing = sorted(
            {word for text in texts for word in text.split() if word.casefold() not in self._pronunciations}
        )
        if missing:
            names = ", ".join(missing[:8]) + (", ..." if len(missing) > 8 else "")
            raise CorpusError(f"The lexicon lacks {len(missing)} words of the transcripts ({names}): add them to it.")

    def encode(self, text: str) -> torch.Tensor:
        """The phone ids `(phones,)` of a text, one word's after the other's."""
        ids = [self._ids[phone] for word in text.split() for phone in self._pronunciations[word.casefold()]]
        return torch.tensor(ids, dtype=torch.long)


__all__ = ["Lexicon"]
