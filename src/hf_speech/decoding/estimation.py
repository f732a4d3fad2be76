"""Estimates n-gram language models from text.

Smoothing is interpolated modified Kneser-Ney (Chen & Goodman 1999, "An empirical study of smoothing techniques for
language modeling", Computer Speech and Language 13, section 3): three discounts per order, and lower orders count the
distinct contexts of an n-gram. Other details follow KenLM (Heafield et al. 2013, ACL): n-grams at the start of a
sentence keep their plain counts, since nothing precedes them; `<unk>` gets its share of the uniform distribution below
the unigrams; discounts that cannot be computed from the counts fall back to 0.5, 1 and 1.5. The files equal those of
`lmplz --discount_fallback`.

N-grams are counted by sorting integers that combine the id of the first n - 1 words with the last word, in NumPy
arrays: 50 million words with order 4 take less than 6 GB. Models can be pruned by count, or by relative entropy
(Stolcke 1998, "Entropy-based pruning of backoff language models"), after which back-off weights are recomputed.
"""

from __future__ import annotations

import os
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np

from hf_speech.common.files import replacing
from hf_speech.decoding.ngram import (
    BEGIN,
    BINARY_SUFFIX,
    END,
    MAX_ORDER,
    NEVER,
    OF_CHARACTERS,
    UNKNOWN,
    NgramModel,
    characters,
)
from hf_speech.errors import HFSpeechError

FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)
_HELD_OUT_LENGTH = 8
_HELD_OUT_AROUND = 1000
_BLOCK = 1 << 18


@dataclass(frozen=True, kw_only=True)
class NgramSummary:
    """The result of `build_arpa`.

    Attributes:
        path: The file.
        order: Words of the longest n-grams; less than requested if no sentence is that long.
        sentences: Number of sentences.
        words: Number of words in the sentences.
        left_out: Number of sentences that were left out because of the held-out transcripts.
        ngrams: Number of n-grams of each order in the file, shortest first.
        discounts: D1, D2 and D3+ of each order.
        fallback_orders: The orders with `FALLBACK_DISCOUNTS`, because there are too few rare n-grams to estimate
            discounts. This is common for unigrams of characters, and for small texts.
    """

    path: Path
    order: int
    sentences: int
    words: int
    left_out: int
    ngrams: tuple[int, ...]
    discounts: tuple[tuple[float, float, float], ...]
    fallback_orders: tuple[int, ...]


@dataclass
class _Order:
    """All n-grams of one order, sorted, as arrays `(n-grams,)`.

    Attributes:
        context: The index of the first n - 1 words among the n-grams of the next lower order.
        word: The last word.
        suffix: The index of the last n - 1 words among the n-grams of the next lower order.
        count: The number of occurrences, later replaced by the count that Kneser-Ney smooths.
        starts: Whether the n-gram starts a sentence.
        probability: The smoothed probability of the last word given the others.
        backoff: The back-off weight of the n-gram as a context.
        kept: Whether the n-gram is written to the file.
    """

    context: np.ndarray
    word: np.ndarray
    suffix: np.ndarray
    count: np.ndarray
    starts: np.ndarray
    probability: np.ndarray = field(default_factory=lambda: np.zeros(0))
    backoff: np.ndarray = field(default_factory=lambda: np.zeros(0))
    kept: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=bool))


def build_arpa(
    sentences: Iterable[str],
    order: int,
    path: str | os.PathLike[str],
    unit: Literal["word", "character"] = "word",
    *,
    max_words: int | None = None,
    min_counts: Sequence[int] = (),
    entropy_threshold: float = 0.0,
    held_out: Iterable[str] = (),
) -> NgramSummary:
    """Estimates an n-gram model and writes it as an ARPA file, or as an `.ngram` file, which loads faster.

    Args:
        sentences: Sentences of words separated by whitespace; empty ones are skipped.
        order: Words of the longest n-grams, 1 to 6.
        path: The file to write, with the suffix .ngram for the second format.
        unit: The unit of n-grams; see `characters`.
        max_words: Size of the vocabulary, which consists of the most frequent words; other words count as `<unk>`.
        min_counts: The minimum count of n-grams in the file (the count of distinct contexts, below the highest order),
            for each order from 1 on; 1 for the remaining orders. All unigrams are kept.
        entropy_threshold: Remove n-grams whose removal increases the perplexity by less than this share, such as 1e-8.
        held_out: Transcripts of the validation and test splits. Sentences that share eight consecutive words with them
            are left out, with the thousand sentences before and after, which are probably from the same book.

    Returns:
        The statistics of the text and the model.

    Raises:
        HFSpeechError: If no text remains, the text contains `<s>`, `</s>` or `<unk>`, or an argument is out of range.
    """
    if not 1 <= order <= MAX_ORDER:
        raise HFSpeechError(f"An n-gram model of order {order} cannot be built: choose an order from 1 to {MAX_ORDER}.")
    if not 0 <= entropy_threshold < 1 or (max_words is not None and max_words < 1) or min(min_counts, default=1) < 1:
        raise HFSpeechError("max_words and min_counts must be at least 1, and entropy_threshold from 0 to below 1.")
    split = characters if unit == "character" else str
    names, words, num_sentences = _read(map(split, sentences))
    if not num_sentences:
        raise HFSpeechError("The text for the language model has no words: give sentences, one per line.")
    names, words, left_out = _leave_out(names, words, map(split, held_out))
    num_sentences -= left_out
    if not num_sentences:
        raise HFSpeechError("All text is from the books of the held-out transcripts: give other text.")
    num_words = len(words) - 2 * num_sentences
    names, words = _limit(names, words, max_words)
    orders = _count(words, order, len(names), names.index(BEGIN), names.index(END))
    del words
    discounts, fallback_orders = _smooth(orders, names.index(BEGIN))
    _prune(orders, min_counts, entropy_threshold, names)
    lines = chain([f"{OF_CHARACTERS}\n\n"] if unit == "character" else [], _arpa_lines(orders, names))
    if Path(path).suffix == BINARY_SUFFIX:
        NgramModel.read(lines, os.fspath(path)).save(path)
    else:
        with replacing(path) as part, part.open("w", encoding="utf-8", newline="\n") as stream:
            stream.writelines(lines)
    return NgramSummary(
        path=Path(path),
        order=len(orders),
        sentences=num_sentences,
        words=num_words,
        left_out=left_out,
        ngrams=tuple(int(each.kept.sum()) for each in orders),
        discounts=discounts,
        fallback_orders=fallback_orders,
    )


def _read(sentences: Iterable[str]) -> tuple[list[str], np.ndarray, int]:
    """Returns the vocabulary in alphabetical order, the text as word ids with `<s>` and `</s>`, and its sentences."""
    ids: defaultdict[str, int] = defaultdict()
    ids.default_factory = ids.__len__
    begin, end, _ = ids[BEGIN], ids[END], ids[UNKNOWN]
    text, num_sentences = array("i"), 0
    for sentence in sentences:
        words = sentence.split()
        if not words:
            continue
        if not {BEGIN, END, UNKNOWN}.isdisjoint(words):
            reserved = min({BEGIN, END, UNKNOWN}.intersection(words))
            raise HFSpeechError(
                f"The text for the language model has the word {reserved!r} in {sentence.strip()[:60]!r}, which is "
                "reserved: remove it."
            )
        num_sentences += 1
        text.append(begin)
        text.extend(map(ids.__getitem__, words))
        text.append(end)
    names = sorted(ids)
    new_ids = np.empty(len(names), dtype=np.int32)
    new_ids[[ids[name] for name in names]] = np.arange(len(names))
    return names, new_ids[np.frombuffer(text, dtype=np.int32)], num_sentences


def _leave_out(names: list[str], words: np.ndarray, held_out: Iterable[str]) -> tuple[list[str], np.ndarray, int]:
    """Removes the books of the held-out transcripts; returns vocabulary, text and the number of removed sentences."""
    ids = {name: index for index, name in enumerate(names)}
    held_out_hashes: set[int] = set()
    for sentence in held_out:
        parts = [ids.get(part, -1) for part in sentence.split()]
        for first in range(len(parts) - _HELD_OUT_LENGTH + 1):
            ngram = parts[first : first + _HELD_OUT_LENGTH]
            if min(ngram) >= 0:
                held_out_hashes.add(int(_hashes(np.array(ngram))[0]))
    if not held_out_hashes or len(words) < _HELD_OUT_LENGTH:
        return names, words, 0
    shared = np.flatnonzero(np.isin(_hashes(words), np.array(sorted(held_out_hashes), dtype=np.uint64)))
    begins = np.flatnonzero(words == ids[BEGIN])
    sentences = np.unique(np.searchsorted(begins, shared, side="right") - 1)
    removed = np.zeros(len(begins) + 1, dtype=np.int64)
    np.add.at(removed, np.maximum(sentences - _HELD_OUT_AROUND, 0), 1)
    np.add.at(removed, np.minimum(sentences + _HELD_OUT_AROUND + 1, len(begins)), -1)
    kept = np.cumsum(removed[:-1]) == 0
    words = words[np.repeat(kept, np.diff(begins, append=len(words)))]
    is_used = np.zeros(len(names), dtype=bool)
    is_used[words] = True
    is_used[[ids[name] for name in (BEGIN, END, UNKNOWN)]] = True
    renumbered = (np.cumsum(is_used) - 1).astype(np.int32)[words]
    return [name for name, used in zip(names, is_used, strict=True) if used], renumbered, int((~kept).sum())


def _hashes(words: np.ndarray) -> np.ndarray:
    """Returns 64-bit hashes of all sequences of `_HELD_OUT_LENGTH` words."""
    size = len(words) - _HELD_OUT_LENGTH + 1
    hashes = np.zeros(size, dtype=np.uint64)
    for first in range(_HELD_OUT_LENGTH):
        hashes *= np.uint64(0x9E3779B97F4A7C15)
        hashes += words[first : first + size].astype(np.uint64) + np.uint64(1)
        hashes ^= hashes >> np.uint64(29)
    return hashes


def _limit(names: list[str], words: np.ndarray, max_words: int | None) -> tuple[list[str], np.ndarray]:
    """Returns the vocabulary and text with all but the most frequent words replaced by `<unk>`."""
    special = [names.index(name) for name in (BEGIN, END, UNKNOWN)]
    if max_words is None or max_words >= len(names) - len(special):
        return names, words
    counts = np.bincount(words, minlength=len(names))
    counts[special] = np.iinfo(np.int64).max
    kept = np.sort(np.argsort(-counts, kind="stable")[: max_words + len(special)])
    new_ids = np.full(len(names), np.searchsorted(kept, names.index(UNKNOWN)), dtype=np.int32)
    new_ids[kept] = np.arange(len(kept))
    return [names[index] for index in kept], new_ids[words]


def _count(words: np.ndarray, order: int, num_words: int, begin: int, end: int) -> list[_Order]:
    """Returns the n-grams of each order, with the counts that Kneser-Ney smooths."""
    vocabulary = np.arange(num_words, dtype=np.int32)
    counts = np.bincount(words, minlength=num_words)
    zeros = np.zeros(num_words, dtype=np.int32)
    orders = [_Order(zeros, vocabulary, zeros, counts, vocabulary == begin)]
    ids = words  # of the n-gram that starts at each position, -1 if the sentence ends within the n-gram
    for n in range(2, order + 1):
        positions = np.flatnonzero((ids[: 1 - n] >= 0) & (words[n - 2 : -1] != end))
        if not len(positions):
            break
        keys = ids[positions].astype(np.int64) * num_words + words[positions + n - 1]
        sorting = np.argsort(keys)
        keys = keys[sorting]
        firsts = np.flatnonzero(np.diff(keys, prepend=-1))
        context, word = (part.astype(np.int32) for part in np.divmod(keys[firsts], num_words))
        count = np.diff(firsts, append=len(keys)).astype(np.int32)
        suffix = ids[positions[sorting[firsts]] + 1]
        del keys
        numbers = np.repeat(np.arange(len(firsts), dtype=np.int32), count)
        ids = np.full(len(words), -1, dtype=np.int32)
        ids[positions[sorting]] = numbers
        del sorting, numbers, positions
        contexts = np.bincount(suffix, minlength=len(orders[-1].word))
        orders[-1].count = np.where(orders[-1].starts, orders[-1].count, contexts)
        orders.append(_Order(context, word, suffix, count, orders[-1].starts[context]))
    orders[0].count = np.where(vocabulary == begin, 0, orders[0].count)
    return orders


def _smooth(orders: list[_Order], begin: int) -> tuple[tuple[tuple[float, float, float], ...], tuple[int, ...]]:
    """Sets probabilities and back-off weights; returns all discounts, and the orders with fallback discounts."""
    estimated = [_discounts(each.count) for each in orders]
    lower = np.array([1 / (len(orders[0].word) - 1)])  # uniform over all words but `<s>`
    for n, each in enumerate(orders):
        discount = np.array([0.0, *(estimated[n] or FALLBACK_DISCOUNTS)])[np.minimum(each.count, 3)]
        totals = np.bincount(each.context, weights=each.count, minlength=len(lower))
        left = np.bincount(each.context, weights=discount, minlength=len(lower))
        left = np.divide(left, totals, out=np.ones(len(lower)), where=totals > 0)
        each.probability = (each.count - discount) / totals[each.context] + left[each.context] * lower[each.suffix]
        each.kept = np.ones(len(each.word), dtype=bool)
        if n:
            orders[n - 1].backoff = left
        else:
            each.probability[begin] = 0.0
        lower = each.probability
    orders[-1].backoff = np.ones(len(orders[-1].word))
    return tuple(each or FALLBACK_DISCOUNTS for each in estimated), tuple(
        n for n, each in enumerate(estimated, start=1) if each is None
    )


def _discounts(counts: np.ndarray) -> tuple[float, float, float] | None:
    """Returns D1, D2 and D3+ of one order (Chen & Goodman 1999, equation 26), or None if they are out of range.

    A discount of 0 would leave no probability for unseen words, and one above the count a negative probability.
    """
    n1, n2, n3, n4 = np.bincount(np.minimum(counts, 5), minlength=6)[1:5].tolist()
    if not (n1 and n2 and n3):
        return None
    y = n1 / (n1 + 2 * n2)
    discounts = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    in_range = all(0 < discount <= count for count, discount in enumerate(discounts, start=1))
    return discounts if in_range else None


def _prune(orders: list[_Order], min_counts: Sequence[int], threshold: float, names: list[str]) -> None:
    """Marks the n-grams to remove, except prefixes and suffixes of kept ones, and recomputes back-off weights."""
    unknown, begin, end = (names.index(name) for name in (UNKNOWN, BEGIN, END))
    if not (threshold or max(min_counts[1:], default=1) > 1 or orders[0].count[unknown]):
        return
    histories = [orders[0].probability.copy()]  # the joint probability of the words of each n-gram
    histories[0][begin] = histories[0][end]
    for each in orders[1:-1]:
        histories.append(histories[-1][each.context] * each.probability)
    has_unknown = [orders[0].word == unknown]
    for each in orders[1:]:
        has_unknown.append(has_unknown[-1][each.context] | (each.word == unknown))
    needed = np.zeros(len(orders[-1].word), dtype=bool)
    for n in range(len(orders) - 1, 0, -1):
        each, below = orders[n], orders[n - 1]
        each.kept = (each.count >= (min_counts[n] if n < len(min_counts) else 1)) & ~has_unknown[n]
        if threshold:
            each.kept &= _loss(each, below.probability, histories[n - 1]) >= np.log1p(threshold)
        each.kept |= needed
        needed = np.zeros(len(below.word), dtype=bool)
        needed[each.context[each.kept]] = True
        needed[each.suffix[each.kept]] = True
    for n in range(1, len(orders)):
        missing, lower = _missing(orders[n], orders[n - 1].probability, orders[n].kept)
        orders[n - 1].backoff = np.where(missing < 1, missing / lower, 1.0)


def _missing(each: _Order, lower: np.ndarray, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the probability that each context leaves to unseen words: in its own order, and in the lower order."""
    contexts = each.context[kept]
    own = 1 - np.bincount(contexts, weights=each.probability[kept], minlength=len(lower))
    others = 1 - np.bincount(contexts, weights=lower[each.suffix[kept]], minlength=len(lower))
    return np.maximum(own, 1e-12), np.maximum(others, 1e-12)


def _loss(each: _Order, lower: np.ndarray, histories: np.ndarray) -> np.ndarray:
    """Returns the relative entropy, in nats, of removing each n-gram alone (Stolcke 1998, equation 3)."""
    own, others = _missing(each, lower, np.ones(len(each.word), dtype=bool))
    probability, below, context = each.probability, lower[each.suffix], each.context
    after = np.log((own[context] + probability) / (others[context] + below))
    change = probability * (np.log(below) + after - np.log(probability))
    change += own[context] * (after - np.log(own[context] / others[context]))
    return -histories[context] * change


def _arpa_lines(orders: list[_Order], names: list[str]) -> Iterator[str]:
    """Yields the lines of the ARPA file."""
    yield "\\data\\\n"
    for n, each in enumerate(orders, start=1):
        yield f"ngram {n}={each.kept.sum()}\n"
    strings = np.array(names, dtype=object)
    for n, each in enumerate(orders, start=1):
        yield f"\n\\{n}-grams:\n"
        with np.errstate(divide="ignore"):
            logs = np.maximum(np.log10(each.probability), NEVER)
            backoffs = np.log10(each.backoff)
        for first in range(0, len(each.word), _BLOCK):
            rows = first + np.flatnonzero(each.kept[first : first + _BLOCK])
            columns, ids = [], rows
            for shorter in reversed(orders[:n]):
                columns.append(strings[shorter.word[ids]])
                ids = shorter.context[ids]
            texts = map(" ".join, zip(*reversed(columns), strict=True))
            if n == len(orders):
                yield from map("%.7g\t%s\n".__mod__, zip(logs[rows].tolist(), texts, strict=True))
            else:
                yield from map(
                    "%.7g\t%s\t%.7g\n".__mod__, zip(logs[rows].tolist(), texts, backoffs[rows].tolist(), strict=True)
                )
    yield "\n\\end\\\n"
