"""The inner loops of decoding and n-gram lookup, compiled by numba.

Importing this module imports numba, so import it only where a search begins. The compiled code is cached next to this
file, or in the user's cache folder if this folder is read-only. Without a cache, each process spends seconds compiling.
"""

from __future__ import annotations

import functools
import gc
import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import numba
import numpy as np

# In each frame, only the acoustically best extensions are looked up in the language model and the lexicon: this many
# times the size of the beam.
_LOOKUP_FACTOR = 4
_CERTAINLY_BLANK = math.log(0.999)
_HYPOTHESIS = np.dtype(
    [
        ("blank", np.float64),  # log probability of the alignments that end in a blank
        ("token", np.float64),  # log probability of the alignments that end in the last token
        ("score", np.float64),  # sum of the scores of language model, words and hot words
        ("last", np.int64),  # the last token; initially the delimiter
        ("node", np.int64),  # node of the incomplete word in the trie; 0 between words, -1 outside the trie
        ("context", np.int64),  # history of the language model
        ("hash", np.uint64),  # hash of the text
        ("entry", np.int64),  # index of the last token's entry; initially -1
    ]
)


class Ngrams(NamedTuple):
    """The arrays of an `NgramModel`."""

    keys: np.ndarray
    num_words: int
    log_probs: np.ndarray
    backoffs: np.ndarray
    suffixes: np.ndarray


class Words(NamedTuple):
    """A trie of words, with arrays `(nodes,)`.

    Attributes:
        keys: The keys of the trie.
        num_tokens: The number of symbols of the trie.
        ids: The language model's id of the word that ends at a node, or -1.
        bonus: The hot word score of that word.
        ahead: The best sum of unigram and hot word scores of all words with this prefix.
        is_lexicon: Whether no other words can be recognized.
    """

    keys: np.ndarray
    num_tokens: int
    ids: np.ndarray
    bonus: np.ndarray
    ahead: np.ndarray
    is_lexicon: bool


class Options(NamedTuple):
    """The parameters of a search; `token_ids` and `end_id` are ids in the language model.

    Tokens whose ids are equal modulo `num_sounds` sound the same; as for repeated tokens, a blank must separate them.
    Tokens with ids of `num_sounds` and above, except the delimiter, end a word.
    """

    num_sounds: int
    blank: int
    delimiter: int
    beam_size: int
    beam_threshold: float
    lm_weight: float
    word_score: float
    start: int
    token_ids: np.ndarray
    end_id: int


F = TypeVar("F", bound=Callable[..., Any])


def _compile_inner(function: F) -> F:
    """Compiles a function that only compiled functions call."""
    compiled: F = numba.njit(function)
    return compiled


def _compile(function: F) -> F:
    """Compiles a function that Python calls."""
    try:
        compiled = numba.njit(function, cache=True, nogil=True)
    except RuntimeError:  # No cache folder is writable.
        compiled = numba.njit(function, nogil=True)

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        # The first call creates 100,000 lasting objects. With PyTorch loaded, garbage collection would take more than a
        # third of its time.
        is_enabled = gc.isenabled() and not compiled.overloads
        if is_enabled:
            gc.disable()
        try:
            return compiled(*arguments)
        except OSError:  # Compilation succeeded, but the disk of the cache is full.
            return compiled(*arguments)
        finally:
            if is_enabled:
                gc.enable()

    return cast(F, call)


@_compile_inner
def _find(keys: np.ndarray, num_symbols: int, parent: int, symbol: int) -> int:
    """Does `Trie.find` for a single node."""
    wanted = parent * num_symbols + symbol
    place = np.searchsorted(keys, wanted)
    return int(place) + 1 if place < len(keys) and keys[place] == wanted else 0


@_compile_inner
def _advance(ngrams: Ngrams, history: int, word: int) -> tuple[int, float]:
    """Returns the history with a word appended, and the natural logarithm of the word's probability."""
    log10 = 0.0
    node = _find(ngrams.keys, ngrams.num_words, history, word)
    while node == 0:
        log10 += ngrams.backoffs[history]
        history = ngrams.suffixes[history]
        node = _find(ngrams.keys, ngrams.num_words, history, word)
    return node, (log10 + ngrams.log_probs[node]) * math.log(10)


@_compile
def advance(ngrams: Ngrams, histories: np.ndarray, words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Appends a word to each history; see `NgramModel.advance`."""
    nodes, log_probs = np.empty(len(histories), np.int64), np.empty(len(histories))
    for i in range(len(histories)):
        nodes[i], log_probs[i] = _advance(ngrams, histories[i], words[i])
    return nodes, log_probs


@_compile_inner
def _advance_lm(text: Any, word: int, ngrams: Ngrams, lm_weight: float) -> None:
    """Appends a word to the language model's history and adds its score."""
    text.context, log_prob = _advance(ngrams, text.context, word)
    text.score += lm_weight * log_prob


@_compile_inner
def _complete_word(text: Any, words: Words, ngrams: Ngrams, options: Options) -> None:
    """Adds the scores of the word that ends here."""
    text.score += options.word_score
    if text.node >= 0:
        text.score += words.bonus[text.node] - words.ahead[text.node]
    if options.lm_weight and words.is_lexicon:
        _advance_lm(text, words.ids[text.node], ngrams, options.lm_weight)


@_compile_inner
def _extend(text: Any, token: int, words: Words, ngrams: Ngrams, options: Options) -> bool:
    """Appends a token to a text; returns whether the lexicon allows it."""
    if token == options.delimiter:
        if words.is_lexicon and words.ids[text.node] < 0:
            return False
        _complete_word(text, words, ngrams, options)
        node = 0
    else:
        node = 0 if text.node < 0 else _find(words.keys, words.num_tokens, text.node, token)
        if words.is_lexicon:
            if node == 0:
                return False
            text.score += words.ahead[node] - words.ahead[text.node]
            if token >= options.num_sounds:
                text.node = node
                _complete_word(text, words, ngrams, options)
                node = 0
        else:
            node = node or -1  # not a prefix of a hot word
            if options.lm_weight:
                # A delimiter is scored when the next word begins, since a trailing one does not belong to the text.
                if text.last == options.delimiter and text.entry >= 0:
                    _advance_lm(text, options.token_ids[options.delimiter], ngrams, options.lm_weight)
                _advance_lm(text, options.token_ids[token], ngrams, options.lm_weight)
    text.node, text.last = node, token
    return True


@_compile_inner
def _log_add(first: float, second: float) -> float:
    """Returns log(exp(first) + exp(second))."""
    high, low = max(first, second), min(first, second)
    return high + math.log1p(math.exp(low - high)) if low > high - 40 else high


@_compile_inner
def _top_indices(values: np.ndarray, number: int) -> np.ndarray:
    """Returns the indices, ascending, of the `number` highest finite values; of equal values, the first."""
    cut, ties = -math.inf, 0
    if number < len(values):
        # Quickselect, which is as fast as `np.partition`; that one takes 4 seconds to compile.
        rest, ties = values, number
        while True:
            cut = rest[len(rest) // 2]
            higher = rest[rest > cut]
            if ties <= len(higher):
                rest = higher
                continue
            lower = rest[rest < cut]
            if ties <= len(rest) - len(lower):
                ties -= len(higher)
                break
            rest, ties = lower, ties - len(rest) + len(lower)
    indices, found = np.empty(min(number, len(values)), np.int64), 0
    for index in range(len(values)):
        if values[index] > cut or (values[index] == cut and ties > 0 and cut > -math.inf):
            ties -= values[index] == cut
            indices[found] = index
            found += 1
    return indices[:found]


@_compile_inner
def _slot(slots: np.ndarray, mask: int, beam: np.ndarray, hash: np.uint64) -> int:
    """Returns the slot of the hash table that holds a text, or the free slot for it."""
    slot = np.int64(hash >> np.uint64(32)) & mask
    while slots[slot] >= 0 and beam[slots[slot]].hash != hash:
        slot = (slot + 1) & mask
    return int(slot)


@_compile
def search(
    log_probs: np.ndarray, options: Options, words: Words, ngrams: Ngrams
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Finds the best texts for log probabilities `(frames, tokens)`.

    Returns:
        The index of each text's last entry; the scores of the texts; and the entries, each a token and the index of
        the previous entry.
    """
    num_tokens = log_probs.shape[1]
    beam = np.empty(options.beam_size * (1 + _LOOKUP_FACTOR) + 1, _HYPOTHESIS)
    beam[0].blank, beam[0].token, beam[0].score = 0.0, -math.inf, 0.0
    beam[0].last, beam[0].node, beam[0].context = options.delimiter, 0, options.start
    beam[0].hash, beam[0].entry = 1, -1
    size = 1
    entries, num_entries = np.empty((1024, 2), np.int64), 0
    slots = np.empty(4, np.int64)
    for frame in log_probs:
        is_blank = frame[options.blank] > _CERTAINLY_BLANK
        ranks = np.empty((0 if is_blank else size, num_tokens))
        for i in range(size):
            text = beam[i]
            total = _log_add(text.blank, text.token)
            # A leading or repeated delimiter does not change the text.
            after_delimiter = text.last == options.delimiter
            if not is_blank:
                ranks[i] = total + text.score + frame
                for token in range(text.last % options.num_sounds, num_tokens, options.num_sounds):
                    ranks[i, token] = -math.inf if after_delimiter else text.blank + text.score + frame[token]
                ranks[i, options.blank] = -math.inf
            text.token = (total if after_delimiter else text.token) + frame[text.last]
            text.blank = total + frame[options.blank]
        if is_blank:
            continue

        while len(slots) < 4 * size:
            slots = np.empty(2 * len(slots), np.int64)
        slots[:] = -1
        mask = len(slots) - 1
        for i in range(size):
            slots[_slot(slots, mask, beam, beam[i].hash)] = i
        old_size = size
        for place in _top_indices(ranks.ravel(), _LOOKUP_FACTOR * options.beam_size + 1):
            parent, token = divmod(place, num_tokens)
            sound = ranks[parent, token] - beam[parent].score
            hash = (beam[parent].hash + np.uint64(token) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
            hash ^= hash >> np.uint64(29)
            same = slots[_slot(slots, mask, beam, hash)]
            if same >= 0:  # The text is already in the beam: add these alignments to it.
                beam[same].token = _log_add(beam[same].token, sound)
                continue
            beam[size] = beam[parent]
            text = beam[size]
            if _extend(text, token, words, ngrams, options):
                text.blank, text.token, text.hash = -math.inf, sound, hash
                size += 1

        scores = np.empty(size)
        for i in range(size):
            scores[i] = _log_add(beam[i].blank, beam[i].token) + beam[i].score
        scores[scores < scores.max() - options.beam_threshold] = -math.inf
        size = 0
        for i in _top_indices(scores, options.beam_size):
            beam[size] = beam[i]
            if i >= old_size:
                if num_entries == len(entries):
                    entries = np.concatenate((entries, entries))
                entries[num_entries] = beam[size].last, beam[size].entry
                beam[size].entry = num_entries
                num_entries += 1
            size += 1

    # Drop texts that end in an incomplete word, unless all do.
    is_whole = np.zeros(size, np.bool_)
    for i in range(size):
        is_whole[i] = beam[i].node == 0 or words.ids[beam[i].node] >= 0
    found, scores = np.empty(size, np.int64), np.empty(size)
    number = 0
    for i in range(size):
        text = beam[i]
        if words.is_lexicon and is_whole.any() and not is_whole[i]:
            continue
        if text.node != 0 and (is_whole[i] or not words.is_lexicon):
            _complete_word(text, words, ngrams, options)
        if options.lm_weight:
            _advance_lm(text, options.end_id, ngrams, options.lm_weight)
        found[number], scores[number] = text.entry, _log_add(text.blank, text.token) + text.score
        number += 1
    return found[:number], scores[:number], entries[:num_entries]


@_compile
def most_probable_path(log_probs: np.ndarray, states: np.ndarray) -> tuple[np.ndarray, float]:
    """Finds the most probable path through states, which are tokens with blanks around them; see `alignment`.

    Returns:
        The state in each frame, and the log probability of the path.
    """
    num_frames, num_states = len(log_probs), len(states)
    steps = np.zeros((num_frames, num_states), np.int8)
    scores = np.full(num_states, -math.inf)
    for state in range(min(2, num_states)):
        scores[state] = log_probs[0, states[state]]
    for frame in range(1, num_frames):
        for state in range(num_states - 1, -1, -1):
            best = scores[state]
            if state > 0 and scores[state - 1] > best:
                best, steps[frame, state] = scores[state - 1], 1
            # A path may skip only the blank between two different tokens.
            if state > 1 and states[state] != states[state - 2] and scores[state - 2] > best:
                best, steps[frame, state] = scores[state - 2], 2
            scores[state] = best + log_probs[frame, states[state]]
    # The path ends in the last token or the blank after it.
    state = num_states - 1 if num_states == 1 or scores[-1] >= scores[-2] else num_states - 2
    score = scores[state]
    path = np.empty(num_frames, np.int64)
    for frame in range(num_frames - 1, -1, -1):
        path[frame] = state
        state -= steps[frame, state]
    return path, score


@_compile
def sum_alignments(probabilities: np.ndarray, ids: np.ndarray, lengths: np.ndarray, blank: int) -> np.ndarray:
    """Computes the log probabilities of texts over all of their alignments; see `phones`.

    Args:
        probabilities: Token probabilities, float64 `(frames, tokens)`; not logarithms, which are slower to add.
        ids: The tokens of all texts, concatenated.
        lengths: The number of tokens of each text, `(texts,)`.
        blank: The id of the CTC blank.

    Returns:
        Natural logarithms `(texts,)`; -inf for impossible texts.
    """
    scores = np.full(len(lengths), -math.inf)
    forward = np.zeros(2 * lengths.max() + 3)  # State s, a token or a blank, has index s + 2.
    first = 0
    for text, length in enumerate(lengths):
        forward[:] = 0.0
        forward[1] = 1.0  # All alignments start here.
        log_scale = 0.0
        for frame in probabilities:
            largest = 0.0
            for state in range(2 * length, -1, -1):
                total, token = forward[state + 2] + forward[state + 1], blank
                if state % 2:
                    token = ids[first + state // 2]
                    # The blank between two different tokens may be skipped.
                    if state == 1 or token != ids[first + state // 2 - 1]:
                        total += forward[state]
                forward[state + 2] = total * frame[token]
                largest = max(largest, forward[state + 2])
            forward[1] = 0.0
            if largest == 0.0:
                break
            log_scale += math.log(largest)
            forward /= largest
        total = forward[2 * length + 2] + (forward[2 * length + 1] if length else 0.0)
        if total > 0.0:
            scores[text] = math.log(total) + log_scale
        first += length
    return scores
