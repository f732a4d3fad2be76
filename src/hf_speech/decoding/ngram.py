"""N-gram language models read from ARPA files, to score text with; `estimation` builds them.

Words are what whitespace separates. A model of characters is one of text that went through `characters`.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from hf_speech.errors import HFSpeechError

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
# KenLM, and with it flashlight-text, is compiled for orders up to 6.
MAX_ORDER = 6
# The comment at the head of a file whose "words" are characters.
OF_CHARACTERS = "# units: characters"
# The base 10 logarithm that means "impossible" in ARPA files; `<s>` is never predicted.
NEVER = -99.0

Ngram = tuple[str, ...]


def characters(sentence: str, word_delimiter: str = "|") -> str:
    """A sentence as the "words" of a character model: `"TO ME"` becomes `"T O | M E"`."""
    return " ".join(word_delimiter.join(sentence.split()))


class ArpaModel:
    """An n-gram model read from an ARPA file, to score text with; the beam search has a faster reader of its own.

    Attributes:
        order: Words of the longest n-grams in the file.
        vocabulary: The words, without `<s>`, `</s>` and `<unk>`.
        is_of_characters: Whether the file says that its words are characters; see `build_arpa`.
    """

    def __init__(
        self, order: int, log10s: dict[Ngram, float], backoffs: dict[Ngram, float], is_of_characters: bool = False
    ) -> None:
        self.order = order
        self.is_of_characters = is_of_characters
        self._log10s = log10s
        self._backoffs = backoffs
        unigrams = (ngram[0] for ngram in log10s if len(ngram) == 1)
        self.vocabulary = frozenset(unigrams) - {BEGIN, END, UNKNOWN}

    @classmethod
    def load(cls, path: str | os.PathLike[str], max_order: int | None = None) -> ArpaModel:
        """Read an ARPA file.

        Args:
            path: The file.
            max_order: Read no longer n-grams than this (1 for the vocabulary alone).

        Raises:
            HFSpeechError: If it cannot be read, or is no ARPA file.
        """
        try:
            with Path(path).open(encoding="utf-8") as stream:
                return cls(*_parse(stream, os.fspath(path), max_order))
        except OSError as error:
            raise HFSpeechError(f"The language model {os.fspath(path)} cannot be read: {error.strerror}.") from error
        except UnicodeDecodeError as error:
            raise HFSpeechError(
                f"{os.fspath(path)} is not an ARPA file in UTF-8: build one with hf-speech build-lm."
            ) from error

    def log_prob(self, word: str, context: Iterable[str] = ()) -> float:
        """Natural logarithm of the probability of a word after others.

        Args:
            word: The word, or `</s>`; words never seen are taken for `<unk>`.
            context: What came before it, `<s>` first if it is all of the sentence so far.
        """
        known = [each if (each,) in self._log10s else UNKNOWN for each in (*context, word)][-self.order :]
        ngram, log10 = tuple(known), 0.0
        while ngram not in self._log10s:
            if len(ngram) == 1:  # A file without <unk>: as impossible as a number of this format can say.
                return (log10 + NEVER) * math.log(10)
            log10 += self._backoffs.get(ngram[:-1], 0.0)
            ngram = ngram[1:]
        return (log10 + self._log10s[ngram]) * math.log(10)

    def score(self, sentence: str) -> float:
        """Natural logarithm of the probability of a whole sentence, its end included."""
        words = [BEGIN, *sentence.split(), END]
        return sum(self.log_prob(words[i], words[max(0, i + 1 - self.order) : i]) for i in range(1, len(words)))

    def perplexity(self, sentences: Iterable[str]) -> float:
        """The perplexity of a text: sentence ends count as words, words never seen as `<unk>`.

        Raises:
            HFSpeechError: If there is no sentence.
        """
        total, predicted = 0.0, 0
        for sentence in sentences:
            total += self.score(sentence)
            predicted += len(sentence.split()) + 1
        if not predicted:
            raise HFSpeechError("There is no text to compute a perplexity of: give sentences, one a line.")
        return math.exp(-total / predicted)


def _parse(
    lines: Iterable[str], name: str, max_order: int | None
) -> tuple[int, dict[Ngram, float], dict[Ngram, float], bool]:
    """The arguments of `ArpaModel`; probabilities and back-off weights are base 10 logarithms."""
    log10s: dict[Ngram, float] = {}
    backoffs: dict[Ngram, float] = {}
    promised: dict[int, int] = {}
    order, ended, is_of_characters = 0, False, False
    for number, line in enumerate(lines, start=1):
        # Not split(): a word may hold any white space but a blank and a tab.
        fields = line.strip(" \t\r\n").replace("\t", " ").split(" ")
        try:
            if fields == [""]:
                continue
            is_of_characters |= not promised and line.strip() == OF_CHARACTERS
            if fields[0] == "\\end\\":
                ended = True
                break
            if fields[0] == "ngram" and not order:
                n, _, count = "".join(fields[1:]).partition("=")
                promised[int(n)] = int(count)
            elif fields[0].startswith("\\") and fields[0].endswith("-grams:"):
                order = int(fields[0].removeprefix("\\").removesuffix("-grams:"))
                if max_order is not None and order > max_order:
                    break
            elif order:
                ngram = tuple(fields[1 : order + 1])
                if len(ngram) < order or len(fields) > order + 2:
                    raise ValueError
                log10s[ngram] = float(fields[0])
                if len(fields) == order + 2:
                    backoffs[ngram] = float(fields[-1])
        except ValueError:
            raise HFSpeechError(
                f"{name} is not a sound ARPA file: line {number} is {line.strip()[:60]!r}; build it again with "
                "hf-speech build-lm."
            ) from None
    found = Counter(map(len, log10s))
    expected = {n: count for n, count in promised.items() if max_order is None or n <= max_order}
    if not promised or expected != {n: found[n] for n in expected} or not (ended or max_order):
        raise HFSpeechError(
            f"{name} is not a whole ARPA file: it promises {expected or 'no'} n-grams and holds {dict(found)}; build "
            "it again with hf-speech build-lm."
        )
    return max(promised), log10s, backoffs, is_of_characters
