"""Beam search over phones: from sound to text by way of a pronouncing dictionary and a language model of words.

Phones have no delimiter between words. Instead, the last phone of each word has a token of its own, which sounds like
the phone and ends the word. Words that sound alike ("to", "two", "too") have different such tokens, so that the
language model chooses between them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from hf_speech.common.text import same_form
from hf_speech.decoding.beam import BeamSearchDecoder
from hf_speech.decoding.hypothesis import LogProbs, check_log_probs
from hf_speech.decoding.words import PathLike
from hf_speech.errors import HFSpeechError

_ALIKE = 4  # Words with the same pronunciation that are told apart.
_FIRST = 0xE000  # Tokens are written as characters that Unicode leaves to private use.


class PhoneSearch(BeamSearchDecoder):
    """Finds texts for the log-probabilities of phones; `candidates` gives them.

    Args:
        num_ids: Phones, and the blank (0).
        pronounce: Gives the phone ids of a word, none for one that is not to be recognized.
        language_model: A file of n-grams of words.
        options: Further arguments of `BeamSearchDecoder`.

    Raises:
        HFSpeechError: As `BeamSearchDecoder` does, or if the language model is one of characters, or a hot word has no
            pronunciation.
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
        self._alike: Counter[tuple[int, ...]] = Counter()
        self._words_by_spelling: dict[str, str] = {}
        tokens = ["<blank>", *map(chr, range(_FIRST + 1, _FIRST + num_ids * (_ALIKE + 1)))]
        super().__init__(tokens, language_model=language_model, blank=0, **options)
        if self.lexicon is None:
            raise HFSpeechError(
                "A search by phones needs a language model of words: build one with hf-speech build-lm."
            )

    def _spell_hot(self, words: Iterable[str], letters: set[str]) -> dict[str, str]:
        spellings = {same_form(word): self._spell_word(word) for word in sorted(set(words))}
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
        return spelled, ()  # Nobody misses what has no pronunciation, such as signs and rare names.

    def _spell_word(self, word: str) -> str | None:
        """The tokens of a word, None without a pronunciation, or if too many words sound like it."""
        phones = tuple(self._pronounce(word))
        if not phones or self._alike[phones] == _ALIKE:
            return None
        self._alike[phones] += 1
        last = phones[-1] + self._alike[phones] * self._num_ids
        spelling = "".join(chr(_FIRST + id) for id in (*phones[:-1], last))
        self._words_by_spelling[spelling] = word
        return spelling

    def pronunciations(self) -> dict[str, tuple[int, ...]]:
        """Return the phone ids of each word that can be recognized."""
        return {
            word: tuple((ord(token) - _FIRST) % self._num_ids for token in spelling)
            for spelling, word in self._words_by_spelling.items()
        }

    def _num_sounds(self) -> int:
        return self._num_ids

    def candidates(self, log_probs: LogProbs) -> dict[str, float]:
        """Return the texts in the final beam with their scores, for log-probabilities `(frames, phones)`."""
        log_probs = np.tile(check_log_probs(log_probs, self._num_ids), (1, _ALIKE + 1))
        log_probs[:, self._num_ids :: self._num_ids] = -np.inf  # There is one blank.
        return {self._text(ids): score for ids, score in self._search(log_probs).items()}

    def _text(self, ids: Iterable[int]) -> str:
        words, begun = [], ""
        for id in ids:
            begun += self._tokens[id]
            if id >= self._num_ids:
                words.append(self._words_by_spelling[begun])
                begun = ""
        return " ".join(words)
