"""Beam search over phones, with a pronouncing dictionary and a word language model.

Phones have no delimiter between words. Instead, the last phone of each word is a special token with the same acoustic
score, which ends the word. Homophones ("to", "two", "too") end in different tokens, so that the language model chooses
between them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from hf_speech.common.text import nfc
from hf_speech.decoding.beam import BeamSearchDecoder
from hf_speech.decoding.hypothesis import LogProbs, check_log_probs
from hf_speech.decoding.words import PathLike
from hf_speech.errors import HFSpeechError

_MAX_HOMOPHONES = 4  # Maximum number of words with the same pronunciation.
_FIRST_CODE_POINT = 0xE000  # Tokens are written as characters of a private use area of Unicode.


class PhoneSearch(BeamSearchDecoder):
    """Finds texts for the log probabilities of phones; see `candidates`.

    Args:
        num_ids: Number of phones, including the blank (0).
        pronounce: Returns the phone ids of a word; none for a word that cannot be recognized.
        language_model: A word n-gram model.
        **options: Further arguments of `BeamSearchDecoder`.

    Raises:
        HFSpeechError: As for `BeamSearchDecoder`, or if the language model is missing or one of characters, or a hot
            word has no pronunciation.
    """

    def __init__(
        self,
        num_ids: int,
        pronounce: Callable[[str], Sequence[int]],
        *,
        language_model: PathLike | None,
        **options: Any,
    ) -> None:
        self._num_ids = num_ids
        self._pronounce = pronounce
        self._num_homophones: Counter[tuple[int, ...]] = Counter()
        self._words_by_spelling: dict[str, str] = {}
        tokens = [
            "<blank>",
            *map(chr, range(_FIRST_CODE_POINT + 1, _FIRST_CODE_POINT + num_ids * (_MAX_HOMOPHONES + 1))),
        ]
        super().__init__(tokens, language_model=language_model, blank=0, **options)
        if self.lexicon is None:
            raise HFSpeechError("A search by phones needs a word language model: build one with hf-speech build-lm.")

    def _spell_hot_words(self, words: Iterable[str], letters: set[str]) -> dict[str, str]:
        spellings = {nfc(word): self._spell_word(word) for word in sorted(set(words))}
        for word, spelling in spellings.items():
            if spelling is None:
                raise HFSpeechError(f"The hot word {word!r} has no pronunciation: add it to the model's lexicon.txt.")
        return {word: spelling for word, spelling in spellings.items() if spelling is not None}

    def _spell(self, words: set[str], letters: set[str]) -> tuple[dict[str, str], tuple[str, ...]]:
        known = {word: spelling for spelling, word in self._words_by_spelling.items()}
        spellings = {word: known.get(word) or self._spell_word(word) for word in sorted(words)}
        spelled = {word: spelling for word, spelling in spellings.items() if spelling is not None}
        if not spelled:
            raise HFSpeechError("The model's lexicon.txt has no word of the language model: run tune-decoder again.")
        return spelled, ()  # No warning about words without a pronunciation, such as symbols and rare names.

    def _spell_word(self, word: str) -> str | None:
        """Returns the tokens of a word, or None if it has no pronunciation or too many homophones."""
        phones = tuple(self._pronounce(word))
        if not phones or self._num_homophones[phones] == _MAX_HOMOPHONES:
            return None
        self._num_homophones[phones] += 1
        last = phones[-1] + self._num_homophones[phones] * self._num_ids
        spelling = "".join(chr(_FIRST_CODE_POINT + id) for id in (*phones[:-1], last))
        self._words_by_spelling[spelling] = word
        return spelling

    def pronunciations(self) -> dict[str, tuple[int, ...]]:
        """Returns the phone ids of each word that can be recognized."""
        return {
            word: tuple((ord(token) - _FIRST_CODE_POINT) % self._num_ids for token in spelling)
            for spelling, word in self._words_by_spelling.items()
        }

    def _num_sounds(self) -> int:
        return self._num_ids

    def candidates(self, log_probs: LogProbs) -> dict[str, float]:
        """Returns all texts in the final beam with their scores, for log probabilities `(frames, phones)`."""
        log_probs = np.tile(check_log_probs(log_probs, self._num_ids), (1, _MAX_HOMOPHONES + 1))
        log_probs[:, self._num_ids :: self._num_ids] = -np.inf  # Only the first copy of the blank may be used.
        return {self._text(ids): score for ids, score in self._search(log_probs).items()}

    def _text(self, ids: Iterable[int]) -> str:
        words, spelling = [], ""
        for id in ids:
            spelling += self._tokens[id]
            if id >= self._num_ids:
                words.append(self._words_by_spelling[spelling])
                spelling = ""
        return " ".join(words)
