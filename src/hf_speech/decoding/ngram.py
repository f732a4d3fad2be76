"""N-gram language models: estimated here, stored as ARPA files, and read again to score text.

Smoothing is interpolated modified Kneser-Ney (Chen & Goodman 1999, "An empirical study of smoothing techniques for
language modeling", Computer Speech and Language 13, section 3): three discounts an order, the lower orders counting in
how many *different* contexts an n-gram follows. Where the literature leaves a choice, it is KenLM's (Heafield et al.
2013, ACL): n-grams that begin a sentence keep their plain counts, since nothing can precede them; `<unk>` is a word
never seen, with its share of the uniform distribution under the unigrams; discounts that the counts cannot give fall
back to 0.5, 1 and 1.5. So the files equal `lmplz --discount_fallback`'s, without a compiler.

Everything is counted in memory with plain dictionaries: right for the transcripts of a corpus (a million words take
some ten seconds), not for a crawl of the web. Words are what whitespace separates; a model of characters is one of
text that went through `characters`.
"""

from __future__ import annotations

import math
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

from hf_speech.errors import HFSpeechError

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
# KenLM, and with it flashlight-text, is compiled for orders up to 6.
MAX_ORDER = 6
# The comment at the head of a file whose "words" are characters.
OF_CHARACTERS = "# units: characters"
FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)
# What a reader of ARPA files takes for "impossible", by custom; `<s>` is never predicted.
_NEVER = -99.0

Ngram = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class NgramSummary:
    """What `build_arpa` estimated.

    Attributes:
        path: The ARPA file.
        order: Words of the longest n-grams; less than was asked for if no sentence is that long.
        sentences: Sentences counted.
        words: Words in them.
        ngrams: N-grams of each order, shortest first.
        discounts: D1, D2 and D3+ of each order.
        fallback_orders: The orders whose discounts are `FALLBACK_DISCOUNTS`, for want of rare n-grams to estimate
            them from: usual for unigrams of characters, and for little text.
    """

    path: Path
    order: int
    sentences: int
    words: int
    ngrams: tuple[int, ...]
    discounts: tuple[tuple[float, float, float], ...]
    fallback_orders: tuple[int, ...]


def characters(sentence: str, word_delimiter: str = "|") -> str:
    """A sentence as the "words" of a character model: `"TO ME"` becomes `"T O | M E"`."""
    return " ".join(word_delimiter.join(sentence.split()))


def build_arpa(
    sentences: Iterable[str], order: int, path: str | os.PathLike[str], unit: Literal["word", "character"] = "word"
) -> NgramSummary:
    """Estimate an n-gram model and write it as an ARPA file.

    Args:
        sentences: Sentences of words separated by whitespace; empty ones are skipped.
        order: Words of the longest n-grams, 1 to 6.
        path: The file to write.
        unit: What n-grams consist of; see `characters`.

    Returns:
        What was counted and estimated.

    Raises:
        HFSpeechError: If there is no text, it contains `<s>`, `</s>` or `<unk>`, or the order is out of range.
    """
    if not 1 <= order <= MAX_ORDER:
        raise HFSpeechError(f"An n-gram model of order {order} cannot be built: choose an order from 1 to {MAX_ORDER}.")
    if unit == "character":
        sentences = map(characters, sentences)
    raw, num_sentences = _count(sentences, order)
    if not num_sentences:
        raise HFSpeechError("The text for the language model has no words: give sentences, one a line.")
    num_words = sum(count for (word,), count in raw[0].items() if word not in (BEGIN, END))
    raw = [counts for counts in raw if counts]
    counts = _adjust(raw)
    estimated = [_discounts(order_counts) for order_counts in counts]
    discounts = [FALLBACK_DISCOUNTS if each is None else each for each in estimated]
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines([f"{OF_CHARACTERS}\n\n"] if unit == "character" else [])
        stream.writelines(f"{line}\n" for line in _arpa_lines(counts, discounts))
    return NgramSummary(
        path=path,
        order=len(counts),
        sentences=num_sentences,
        words=num_words,
        # The unigrams <s> and <unk> are never counted, and always written.
        ngrams=tuple(len(order_counts) + 2 * (n == 0) for n, order_counts in enumerate(counts)),
        discounts=tuple(discounts),
        fallback_orders=tuple(n for n, each in enumerate(estimated, start=1) if each is None),
    )


def _count(sentences: Iterable[str], order: int) -> tuple[list[Counter[Ngram]], int]:
    """How often each n-gram occurs, a counter for each order, and the number of sentences."""
    counts: list[Counter[Ngram]] = [Counter() for _ in range(order)]
    num_sentences = 0
    for sentence in sentences:
        words = sentence.split()
        if not words:
            continue
        reserved = {BEGIN, END, UNKNOWN}.intersection(words)
        if reserved:
            raise HFSpeechError(
                f"The text for the language model has the word {min(reserved)!r} in {sentence.strip()[:60]!r}, which "
                "is reserved: remove it."
            )
        num_sentences += 1
        words = [BEGIN, *words, END]
        for n in range(1, order + 1):
            counts[n - 1].update(zip(*(words[start:] for start in range(n)), strict=False))
    return counts, num_sentences


def _adjust(raw: list[Counter[Ngram]]) -> list[dict[Ngram, int]]:
    """The counts that Kneser-Ney smooths: plain for the highest order, of different left neighbors below it."""
    adjusted: list[dict[Ngram, int]] = []
    for counts, longer in pairwise(raw):
        # A longer n-gram's tail never begins with <s>, so no n-gram is in both halves.
        starting = {ngram: count for ngram, count in counts.items() if ngram[0] == BEGIN}
        adjusted.append({**starting, **Counter(ngram[1:] for ngram in longer)})
    adjusted.append(dict(raw[-1]))
    adjusted[0].pop((BEGIN,), None)
    return adjusted


def _discounts(counts: dict[Ngram, int]) -> tuple[float, float, float] | None:
    """D1, D2 and D3+ of one order (Chen & Goodman 1999, equation 26), or None if the counts cannot give them.

    A discount of 0 would leave nothing for unseen words, and one above the count a negative probability.
    """
    having = Counter(counts.values())
    n1, n2, n3, n4 = (having[count] for count in (1, 2, 3, 4))
    if not (n1 and n2 and n3):
        return None
    y = n1 / (n1 + 2 * n2)
    discounts = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    possible = all(0 < discount <= count for count, discount in enumerate(discounts, start=1))
    return discounts if possible else None


def _arpa_lines(counts: list[dict[Ngram, int]], discounts: list[tuple[float, float, float]]) -> Iterator[str]:
    """The lines of the ARPA file."""
    yield "\\data\\"
    for n, order_counts in enumerate(counts, start=1):
        yield f"ngram {n}={len(order_counts) + 2 * (n == 1)}"

    # The distribution under the unigrams: uniform over all that can be predicted, <unk> included and <s> not.
    lower: dict[Ngram, float] = {(): 1 / (len(counts[0]) + 1)}
    totals, left_over = _contexts(counts[0], discounts[0])
    for n, order_counts in enumerate(counts, start=1):
        probabilities: dict[Ngram, float] = {}
        for ngram, count in order_counts.items():
            context = ngram[:-1]
            discounted = (count - discounts[n - 1][min(count, 3) - 1]) / totals[context]
            probabilities[ngram] = discounted + left_over[context] * lower[ngram[1:] if n > 1 else ()]
        if n == 1:
            probabilities[(UNKNOWN,)] = left_over[()] * lower[()]
        # What a context leaves over is written beside it, and is the weight of the next order's interpolation.
        is_last = n == len(counts)
        totals, left_over = ({}, {}) if is_last else _contexts(counts[n], discounts[n])

        yield ""
        yield f"\\{n}-grams:"
        logs = {ngram: math.log10(probability) for ngram, probability in probabilities.items()}
        if n == 1:
            logs[(BEGIN,)] = _NEVER
        for ngram, log in sorted(logs.items()):
            backoff = "" if is_last else f"\t{math.log10(left_over.get(ngram, 1.0)):.7g}"
            yield f"{log:.7g}\t{' '.join(ngram)}{backoff}"
        lower = probabilities
    yield ""
    yield "\\end\\"


def _contexts(
    counts: dict[Ngram, int], discounts: tuple[float, float, float]
) -> tuple[dict[Ngram, int], dict[Ngram, float]]:
    """For each context, the sum of its counts, and the share of it that discounting leaves for the lower order."""
    totals: defaultdict[Ngram, int] = defaultdict(int)
    discounted: defaultdict[Ngram, float] = defaultdict(float)
    for ngram, count in counts.items():
        totals[ngram[:-1]] += count
        discounted[ngram[:-1]] += discounts[min(count, 3) - 1]
    return totals, {context: discounted[context] / total for context, total in totals.items()}


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
                return (log10 + _NEVER) * math.log(10)
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
