"""N-gram language models estimated from text and written to a file.

Smoothing is interpolated modified Kneser-Ney (Chen & Goodman 1999, "An empirical study of smoothing techniques for
language modeling", Computer Speech and Language 13, section 3): three discounts per order, where lower orders count the
*different* contexts of an n-gram. Where the literature leaves a choice, it is KenLM's (Heafield et al. 2013, ACL):
n-grams that begin a sentence keep their plain counts, since nothing precedes them; `<unk>` gets its share of the
uniform distribution under the unigrams; discounts that the counts cannot give fall back to 0.5, 1 and 1.5. The files
equal those of `lmplz --discount_fallback`.

Counting is sorting: an n-gram is the number of its first n - 1 words and its last word in one integer. All is done with
NumPy arrays: 50 million words and order 4 take less than 6 GB. Models are made smaller by their counts, or by relative
entropy (Stolcke 1998, "Entropy-based pruning of backoff language models"), after which back-off weights are recomputed.
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
        order: Words of the longest n-grams; less than was asked for if no sentence is that long.
        sentences: Number of sentences.
        words: Number of words in them.
        left_out: Number of sentences that were left out for the held-out transcripts.
        ngrams: Number of n-grams of each order in the file, shortest first.
        discounts: D1, D2 and D3+ of each order.
        fallback_orders: The orders with `FALLBACK_DISCOUNTS`, for want of rare n-grams to estimate discounts from:
            usual for unigrams of characters, and for little text.
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
    """All n-grams of one order, sorted; `(n-grams,)` arrays.

    Attributes:
        context: The number of the first n - 1 words among the n-grams of the order below.
        word: The last word.
        suffix: The number of the last n - 1 words.
        count: Occurrences, then what Kneser-Ney smooths.
        starts: Whether it begins a sentence.
        probability: The smoothed probability of the last word after the others.
        backoff: The back-off weight of the n-gram as a context.
        kept: Whether it is in the file.
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
    """Estimate an n-gram model and write it as an ARPA file, or as an `.ngram` file, which loads at once.

    Args:
        sentences: Sentences of words separated by whitespace; empty ones are skipped.
        order: Words of the longest n-grams, 1 to 6.
        path: The file to write, with the suffix .ngram for the second form.
        unit: What n-grams consist of; see `characters`.
        max_words: Size of the vocabulary: the most frequent words. The others count as `<unk>`.
        min_counts: For each order from 1 on, the smallest count (of different contexts, below the highest order) of
            n-grams in the file; 1 for orders that are not given. Unigrams are all kept.
        entropy_threshold: N-grams are left out if that raises the perplexity by less than this share, such as 1e-8.
        held_out: Transcripts of the validation and test splits. Sentences with eight of their words in a row are left
            out, and so are the thousand before and after each, which are probably of the same book.

    Returns:
        What was counted and estimated.

    Raises:
        HFSpeechError: If there is no text, or none but that of `held_out`, it contains `<s>`, `</s>` or `<unk>`, or
            a number is out of its range.
    """
    if not 1 <= order <= MAX_ORDER:
        raise HFSpeechError(f"An n-gram model of order {order} cannot be built: choose an order from 1 to {MAX_ORDER}.")
    if not 0 <= entropy_threshold < 1 or (max_words is not None and max_words < 1) or min(min_counts, default=1) < 1:
        raise HFSpeechError("max_words and min_counts must be at least 1, and entropy_threshold from 0 to below 1.")
    split = characters if unit == "character" else str
    names, words, num_sentences = _read(map(split, sentences))
    if not num_sentences:
        raise HFSpeechError("The text for the language model has no words: give sentences, one a line.")
    names, words, left_out = _leave_out(names, words, map(split, held_out))
    num_sentences -= left_out
    if not num_sentences:
        raise HFSpeechError("All of the text is of the books of the held-out transcripts: give other text.")
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
    """The vocabulary in alphabetical order, and the text as numbers of words with `<s>` and `</s>`."""
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
    places = np.empty(len(names), dtype=np.int32)
    places[[ids[name] for name in names]] = np.arange(len(names))
    return names, places[np.frombuffer(text, dtype=np.int32)], num_sentences


def _leave_out(names: list[str], words: np.ndarray, held_out: Iterable[str]) -> tuple[list[str], np.ndarray, int]:
    """Vocabulary and text without the books of the held-out transcripts, and the number of sentences that are gone."""
    places = {name: index for index, name in enumerate(names)}
    wanted: set[int] = set()
    for sentence in held_out:
        parts = [places.get(part, -1) for part in sentence.split()]
        for first in range(len(parts) - _HELD_OUT_LENGTH + 1):
            ngram = parts[first : first + _HELD_OUT_LENGTH]
            if min(ngram) >= 0:
                wanted.add(int(_hashes(np.array(ngram))[0]))
    if not wanted or len(words) < _HELD_OUT_LENGTH:
        return names, words, 0
    shared = np.flatnonzero(np.isin(_hashes(words), np.array(sorted(wanted), dtype=np.uint64)))
    begins = np.flatnonzero(words == places[BEGIN])
    sentences = np.unique(np.searchsorted(begins, shared, side="right") - 1)
    gone = np.zeros(len(begins) + 1, dtype=np.int64)
    np.add.at(gone, np.maximum(sentences - _HELD_OUT_AROUND, 0), 1)
    np.add.at(gone, np.minimum(sentences + _HELD_OUT_AROUND + 1, len(begins)), -1)
    kept = np.cumsum(gone[:-1]) == 0
    words = words[np.repeat(kept, np.diff(begins, append=len(words)))]
    used = np.zeros(len(names), dtype=bool)
    used[words] = True
    used[[places[name] for name in (BEGIN, END, UNKNOWN)]] = True
    renumbered = (np.cumsum(used) - 1).astype(np.int32)[words]
    return [name for name, there in zip(names, used, strict=True) if there], renumbered, int((~kept).sum())


def _hashes(words: np.ndarray) -> np.ndarray:
    """64-bit hashes of all sequences of `_HELD_OUT_LENGTH` words."""
    size = len(words) - _HELD_OUT_LENGTH + 1
    hashes = np.zeros(size, dtype=np.uint64)
    for first in range(_HELD_OUT_LENGTH):
        hashes *= np.uint64(0x9E3779B97F4A7C15)
        hashes += words[first : first + size].astype(np.uint64) + np.uint64(1)
        hashes ^= hashes >> np.uint64(29)
    return hashes


def _limit(names: list[str], words: np.ndarray, max_words: int | None) -> tuple[list[str], np.ndarray]:
    """The vocabulary and text with all but the most frequent words replaced by `<unk>`."""
    special = [names.index(name) for name in (BEGIN, END, UNKNOWN)]
    if max_words is None or max_words >= len(names) - len(special):
        return names, words
    counts = np.bincount(words, minlength=len(names))
    counts[special] = np.iinfo(np.int64).max
    kept = np.sort(np.argsort(-counts, kind="stable")[: max_words + len(special)])
    places = np.full(len(names), np.searchsorted(kept, names.index(UNKNOWN)), dtype=np.int32)
    places[kept] = np.arange(len(kept))
    return [names[index] for index in kept], places[words]


def _count(words: np.ndarray, order: int, num_words: int, begin: int, end: int) -> list[_Order]:
    """The n-grams of each order, with the counts that Kneser-Ney smooths."""
    vocabulary = np.arange(num_words, dtype=np.int32)
    counts = np.bincount(words, minlength=num_words)
    nothing = np.zeros(num_words, dtype=np.int32)
    orders = [_Order(nothing, vocabulary, nothing, counts, vocabulary == begin)]
    ids = words  # of the n-gram that begins at each place, -1 where a sentence ends before it does
    for n in range(2, order + 1):
        places = np.flatnonzero((ids[: 1 - n] >= 0) & (words[n - 2 : -1] != end))
        if not len(places):
            break
        keys = ids[places].astype(np.int64) * num_words + words[places + n - 1]
        sorting = np.argsort(keys)
        keys = keys[sorting]
        firsts = np.flatnonzero(np.diff(keys, prepend=-1))
        context, word = (part.astype(np.int32) for part in np.divmod(keys[firsts], num_words))
        count = np.diff(firsts, append=len(keys)).astype(np.int32)
        suffix = ids[places[sorting[firsts]] + 1]
        del keys
        numbers = np.repeat(np.arange(len(firsts), dtype=np.int32), count)
        ids = np.full(len(words), -1, dtype=np.int32)
        ids[places[sorting]] = numbers
        del sorting, numbers, places
        contexts = np.bincount(suffix, minlength=len(orders[-1].word))
        orders[-1].count = np.where(orders[-1].starts, orders[-1].count, contexts)
        orders.append(_Order(context, word, suffix, count, orders[-1].starts[context]))
    orders[0].count = np.where(vocabulary == begin, 0, orders[0].count)
    return orders


def _smooth(orders: list[_Order], begin: int) -> tuple[tuple[tuple[float, float, float], ...], tuple[int, ...]]:
    """Set probabilities and back-off weights; return the discounts, and the orders whose discounts are the fallback."""
    estimated = [_discounts(each.count) for each in orders]
    lower = np.array([1 / (len(orders[0].word) - 1)])  # uniform over all that can be predicted
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
    """D1, D2 and D3+ of one order (Chen & Goodman 1999, equation 26), or None if the counts cannot give them.

    A discount of 0 would leave nothing for unseen words, and one above the count a negative probability.
    """
    n1, n2, n3, n4 = np.bincount(np.minimum(counts, 5), minlength=6)[1:5].tolist()
    if not (n1 and n2 and n3):
        return None
    y = n1 / (n1 + 2 * n2)
    discounts = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    possible = all(0 < discount <= count for count, discount in enumerate(discounts, start=1))
    return discounts if possible else None


def _prune(orders: list[_Order], min_counts: Sequence[int], threshold: float, names: list[str]) -> None:
    """Drop n-grams, except prefixes of longer ones that are kept, and recompute the back-off weights."""
    unknown, begin, end = (names.index(name) for name in (UNKNOWN, BEGIN, END))
    if not (threshold or max(min_counts[1:], default=1) > 1 or orders[0].count[unknown]):
        return
    histories = [orders[0].probability.copy()]  # the probability of each n-gram, not given others
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
    """The probability mass that each context leaves to unseen words: of its own order, and of the lower order."""
    contexts = each.context[kept]
    own = 1 - np.bincount(contexts, weights=each.probability[kept], minlength=len(lower))
    others = 1 - np.bincount(contexts, weights=lower[each.suffix[kept]], minlength=len(lower))
    return np.maximum(own, 1e-12), np.maximum(others, 1e-12)


def _loss(each: _Order, lower: np.ndarray, histories: np.ndarray) -> np.ndarray:
    """How much relative entropy leaving out each n-gram alone costs, in nats (Stolcke 1998, equation 3)."""
    own, others = _missing(each, lower, np.ones(len(each.word), dtype=bool))
    probability, below, context = each.probability, lower[each.suffix], each.context
    after = np.log((own[context] + probability) / (others[context] + below))
    change = probability * (np.log(below) + after - np.log(probability))
    change += own[context] * (after - np.log(own[context] / others[context]))
    return -histories[context] * change


def _arpa_lines(orders: list[_Order], names: list[str]) -> Iterator[str]:
    """The lines of the ARPA file."""
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
