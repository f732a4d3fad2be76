"""Beam search over CTC log-probabilities with a language model, a lexicon and hot words.

It is the prefix search of Graves & Jaitly (2014, ICML; also Hannun et al., arXiv 1408.2873): a hypothesis is a text,
and the probabilities of all of its alignments in the beam are added up. It maximizes, in natural logarithms:

    log P(text | sound) + lm_weight * log P(text) + word_score * words + hot_word_score * hot words

and a rescorer may then add to the scores of the texts that were found. Delimiters before, behind, or twice between
words belong to the alignment, and not to the text.

With a lexicon, a hypothesis is inside a word of the lexicon or behind one; inside a word it already gets the best
score that a word with this beginning could get without its context (as in flashlight: Kahn et al. 2022, ICML). Hot
words that are not in the lexicon are added to it, with the language model's probability of an unknown word.

Each step handles the whole beam at once with NumPy, so neither a compiler nor a compiled package is needed. In a frame
that is blank with a probability of 0.999 no text becomes longer (as in Jung et al., arXiv 2210.17017): most frames are.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from numbers import Real
from typing import Any

import numpy as np

from hf_speech.common.text import same_form
from hf_speech.decoding.alignment import align
from hf_speech.decoding.hypothesis import (
    BLANK,
    WORD_DELIMITER,
    Hypothesis,
    LogProbs,
    check_log_probs,
    encode,
    make_hypothesis,
)
from hf_speech.decoding.ngram import END, NgramModel
from hf_speech.decoding.prefixes import Beam, History
from hf_speech.decoding.trie import Trie
from hf_speech.decoding.words import PathLike, choose_words, spell_hot_words, spell_lexicon
from hf_speech.errors import HFSpeechError

Rescorer = Callable[[Sequence[str]], Iterable[float]]
"""From texts to what to add to the score of each."""

MAX_BEAM_SIZE = 100_000
# Of the hypotheses that a frame can make longer, this many times the size of the beam are looked up in the language
# model and the lexicon: the most probable by sound.
_LOOKED_UP = 4
_CERTAINLY_BLANK = math.log(0.999)
_HASH = np.uint64(0x9E3779B97F4A7C15)


def check_settings(*, beam_size: int, beam_threshold: float = 1.0, lm_weight: float = 0.0, **scores: float) -> None:
    """Refuse settings with which a search finds nothing."""
    numbers = {"beam_size": beam_size, "beam_threshold": beam_threshold, "lm_weight": lm_weight, **scores}
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
            raise HFSpeechError(f"{name} is {value!r}: give a finite number.")
    if beam_size != int(beam_size) or not 1 <= beam_size <= MAX_BEAM_SIZE:
        raise HFSpeechError(f"beam_size is {beam_size!r}: give a whole number from 1 to {MAX_BEAM_SIZE:,}.")
    if beam_threshold <= 0:
        raise HFSpeechError(f"beam_threshold is {beam_threshold!r}: give a number above 0.")
    if lm_weight < 0:
        raise HFSpeechError(f"lm_weight is {lm_weight!r}: give a number that is not negative.")


class BeamSearchDecoder:
    """Decodes with a language model, a lexicon and hot words, all of which are optional.

    It takes the log-probabilities of any CTC model whose tokens are characters; for the models of transformers, see
    `for_tokenizer`.

    Args:
        tokens: The string of each token id of the acoustic model.
        language_model: A file of order 2 or more, of words or of characters: ARPA, or what `hf-speech build-lm` writes
            with the suffix .ngram, which loads at once.
        lexicon: The words that can be recognized: words, or a file with one on each line. None for those of a language
            model of words, and otherwise for any sequence of tokens.
        beam_size: Hypotheses kept at each frame.
        beam_threshold: How far below the best a hypothesis may fall before it is dropped.
        lm_weight: Weight of the language model's log-probability.
        word_score: Added for each word; a positive one avoids deletions, a negative one insertions.
        hot_words: Words to prefer, such as names.
        hot_word_score: Added for each hot word.
        blank: The id of the CTC blank.
        word_delimiter: The token between words. A model without it recognizes single words.

    Attributes:
        lexicon: The words that can be recognized, or None for any sequence of tokens.
        hot_words: The words to prefer, as the model spells them.
        unspellable: Words left out of the lexicon because the acoustic model has no tokens for their characters. There
            is a warning if there are any.

    Raises:
        HFSpeechError: If a setting is out of range, the language model cannot be used, or a hot word or all of the
            lexicon cannot be spelled.
    """

    def __init__(
        self,
        tokens: Sequence[str],
        *,
        language_model: PathLike | None = None,
        lexicon: PathLike | Iterable[str] | None = None,
        beam_size: int = 100,
        beam_threshold: float = 50.0,
        lm_weight: float = 0.5,
        word_score: float = 0.0,
        hot_words: Iterable[str] = (),
        hot_word_score: float = 5.0,
        blank: int = BLANK,
        word_delimiter: str = WORD_DELIMITER,
    ) -> None:
        check_settings(
            beam_size=beam_size,
            beam_threshold=beam_threshold,
            lm_weight=lm_weight,
            word_score=word_score,
            hot_word_score=hot_word_score,
        )
        spaced = [token for token in tokens if token != "".join(token.split())]
        if spaced:
            raise HFSpeechError(f"The token {spaced[0]!r} has white space in it: name it otherwise, such as '|'.")
        self._num_tokens = len(tokens)
        # A model without a delimiter has one here that no frame emits.
        self._tokens = [*tokens] if word_delimiter in tokens else [*tokens, word_delimiter]
        self._delimiter = self._tokens.index(word_delimiter)
        self._blank = blank
        self._beam_size, self._beam_threshold = int(beam_size), beam_threshold
        self._word_score = word_score
        letters = {token for token in tokens if len(token) == 1} - {self._tokens[blank], word_delimiter}
        hot = spell_hot_words(hot_words, letters)
        self.hot_words = tuple(hot.values())

        model = None if language_model is None else _load_language_model(language_model)
        self.lexicon: tuple[str, ...] | None = None
        self.unspellable: tuple[str, ...] = ()
        words = choose_words(lexicon, model, tokens, word_delimiter)
        spellings = dict(hot)
        if words is not None:
            spellings, self.unspellable = spell_lexicon(words, letters)
            known = {same_form(word) for word in spellings}
            spellings |= {word: spelling for word, spelling in hot.items() if word not in known}
            self.lexicon = tuple(sorted(spellings))
            if self.unspellable:
                warnings.warn(
                    f"{len(self.unspellable)} of {len(words)} words of the lexicon, such as {self.unspellable[0]!r}, "
                    "have characters that are not among the model's tokens and cannot be recognized.",
                    stacklevel=2,
                )
        self._model = model if lm_weight else None
        self._lm_weight = lm_weight
        if self._model is not None:
            self._token_ids = self._model.ids(self._tokens)
            self._end_id = self._model.ids([END])
        self._index_words(spellings, hot, hot_word_score)

    @classmethod
    def for_tokenizer(cls, tokenizer: Any, **options: Any) -> BeamSearchDecoder:
        """Make a decoder for the logits of any CTC model of transformers, such as Wav2Vec2, HuBERT or WavLM.

        Args:
            tokenizer: Its `Wav2Vec2CTCTokenizer`, or another one with a token for each character.
            options: The arguments of `BeamSearchDecoder` but `tokens`, `blank` and `word_delimiter`.
        """
        tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
        delimiter = getattr(tokenizer, "word_delimiter_token", WORD_DELIMITER)
        return cls(tokens, blank=tokenizer.pad_token_id, word_delimiter=delimiter, **options)

    def _index_words(self, spellings: dict[str, str], hot: dict[str, str], hot_word_score: float) -> None:
        """Make the trie of the words' spellings, and what is known of each of its nodes.

        `_word_ids` has the id in the language model of the word that ends at a node, or -1; `_bonus` its score as a hot
        word; `_ahead` the best score of a word with this beginning, of the unigrams and hot words alone.
        """
        words = sorted(spellings)
        encoded = [self._encode(spellings[word]) for word in words]
        lengths = np.array([len(each) for each in encoded], dtype=np.int64)
        sequences = np.zeros((len(words), max(lengths, default=0)), dtype=np.int64)
        sequences[np.arange(sequences.shape[1]) < lengths[:, None]] = [id for each in encoded for id in each]
        self._trie, ends = (
            Trie.of(sequences, lengths, len(self._tokens))
            if words
            else (Trie(np.zeros(0, dtype=np.int64), len(self._tokens)), np.zeros(0, dtype=np.int64))
        )
        scores = np.array([hot_word_score if same_form(word) in hot else 0.0 for word in words])
        ids, unigrams = np.zeros(len(words), dtype=np.int64), np.zeros(len(words))
        if self.lexicon is not None and self._model is not None:
            ids = self._model.ids(words)
            unigrams = self._lm_weight * self._model.advance(np.zeros(len(words), dtype=np.int64), ids)[1]
        self._word_ids = np.full(len(self._trie), -1)
        self._bonus = np.zeros(len(self._trie))
        self._ahead = np.full(len(self._trie), -np.inf)
        # Of words with the same spelling the most probable counts.
        order = np.argsort(unigrams + scores, kind="stable")
        self._word_ids[ends[order]], self._bonus[ends[order]] = ids[order], scores[order]
        self._ahead[ends[order]] = (unigrams + scores)[order]
        self._ahead = self._trie.highest_below(self._ahead)
        self._ahead[0] = 0.0
        if self.lexicon is None:
            self._ahead[:] = 0.0

    def decode(
        self, log_probs: LogProbs, *, seconds_per_frame: float, num_best: int = 1, rescorer: Rescorer | None = None
    ) -> list[Hypothesis]:
        """Decode one utterance.

        Args:
            log_probs: Natural logarithms of the tokens' probabilities `(frames, tokens)`.
            seconds_per_frame: Time from one frame to the next, such as 0.04.
            num_best: The number of different texts to return at most.
            rescorer: Adds to the scores of all texts in the final beam, before the best are chosen.

        Returns:
            At least one text, the best first. Their score is what this module maximizes, summed over the alignments in
            the beam.

        Raises:
            HFSpeechError: If these are not log-probabilities of the tokens.
        """
        log_probs = check_log_probs(log_probs, self._num_tokens)
        scores = self._search(log_probs)
        if rescorer is not None:
            added = rescorer([self._text(ids) for ids in scores])
            scores = {ids: score + float(more) for (ids, score), more in zip(scores.items(), added, strict=True)}
        best = sorted(scores.items(), key=lambda item: (-item[1], item[0]))[: max(1, num_best)]
        return [self._with_times(log_probs, ids, score, seconds_per_frame) for ids, score in best]

    def candidates(self, log_probs: LogProbs) -> dict[str, float]:
        """Return the texts in the final beam with their scores, from which `decode` chooses."""
        found = self._search(check_log_probs(log_probs, self._num_tokens))
        return {self._text(ids): score for ids, score in found.items()}

    def _search(self, log_probs: np.ndarray) -> dict[tuple[int, ...], float]:
        """The tokens of the texts in the final beam, without superfluous delimiters, and their scores."""
        columns = np.full((len(log_probs), len(self._tokens)), -np.inf)
        columns[:, : self._num_tokens] = log_probs
        start = 0 if self._model is None else self._model.start()
        beam = Beam.start(start, self._delimiter)
        history = History()
        for frame in columns:
            beam = self._step(beam, frame, history)
        return self._finish(beam, history)

    def _step(self, beam: Beam, frame: np.ndarray, history: History) -> Beam:
        """The beam after one more frame."""
        total = np.logaddexp(beam.blank, beam.token)
        # A delimiter behind a delimiter, or at the very beginning, leaves the text as it is.
        silent = beam.last == self._delimiter
        blank = total + frame[self._blank]
        token = np.where(silent, total, beam.token) + frame[beam.last]
        shorter = replace(beam, blank=blank, token=token)
        if frame[self._blank] > _CERTAINLY_BLANK:
            return shorter

        # All ways to make a hypothesis longer, of which the most probable by sound are looked at.
        sound = total[:, None] + frame
        sound[np.arange(len(total)), beam.last] = beam.blank + frame[beam.last]
        sound[:, self._blank] = -np.inf
        sound[silent, self._delimiter] = -np.inf
        ranks = (sound + beam.score[:, None]).ravel()
        limit = min(_LOOKED_UP * self._beam_size, ranks.size - 1)
        chosen = np.argpartition(-ranks, limit)[: limit + 1] if limit + 1 < ranks.size else np.arange(ranks.size)
        chosen = chosen[ranks[chosen] > -np.inf]
        parents, tokens = np.divmod(chosen, sound.shape[1])
        longer = self._extend(beam, parents, tokens, sound.ravel()[chosen])

        # A longer text that is in the beam already: its alignments are added to it.
        sorting = np.argsort(beam.hash)
        places = np.minimum(np.searchsorted(beam.hash, longer.hash, sorter=sorting), len(sorting) - 1)
        same = sorting[places]
        double = beam.hash[same] == longer.hash
        token[same[double]] = np.logaddexp(token[same[double]], longer.token[double])

        both = shorter.join(longer.take(~double))
        scores = np.logaddexp(both.blank, both.token) + both.score
        kept = np.flatnonzero(scores >= scores.max() - self._beam_threshold)
        if len(kept) > self._beam_size:
            kept = kept[np.argpartition(-scores[kept], self._beam_size - 1)[: self._beam_size]]
        kept.sort()
        beam = both.take(kept)
        new = np.flatnonzero(kept >= len(total))
        beam.entry[new] = history.add(beam.entry[new], beam.last[new])
        return beam

    def _extend(self, beam: Beam, parents: np.ndarray, tokens: np.ndarray, sound: np.ndarray) -> Beam:
        """Hypotheses with one more token, as far as the lexicon has them; their `entry` is that of the parent."""
        longer = replace(beam.take(parents), blank=np.full(len(parents), -np.inf), token=sound, last=tokens)
        longer.hash = (longer.hash + tokens.astype(np.uint64) + np.uint64(1)) * _HASH
        longer.hash ^= longer.hash >> np.uint64(29)
        ends = tokens == self._delimiter
        nodes = np.where(longer.node < 0, -1, self._trie.find(longer.node, tokens))
        if self.lexicon is not None:
            allowed = np.where(ends, self._word_ids[longer.node] >= 0, nodes > 0)
            longer, nodes, ends = longer.take(allowed), nodes[allowed], ends[allowed]
        else:  # a text that is not (part of) a hot word
            nodes[nodes == 0] = -1
        self._complete(longer, np.flatnonzero(ends))
        inside = np.flatnonzero(~ends)
        longer.score[inside] += self._ahead[nodes[inside]] - self._ahead[longer.node[inside]]
        if self._model is not None and self.lexicon is None:
            # A delimiter counts when the next word begins: at the end, it does not belong to the text.
            begun = (beam.last[parents] == self._delimiter) & (longer.entry >= 0) & ~ends
            self._advance(longer, np.flatnonzero(begun), np.repeat(self._token_ids[self._delimiter], begun.sum()))
            self._advance(longer, inside, self._token_ids[tokens[inside]])
        longer.node = np.where(ends, 0, nodes)
        return longer

    def _complete(self, beam: Beam, rows: np.ndarray) -> None:
        """Add the scores of the words that end here to some hypotheses."""
        nodes = beam.node[rows]
        known = nodes >= 0
        beam.score[rows] += self._word_score + np.where(known, self._bonus[nodes] - self._ahead[nodes], 0.0)
        if self._model is not None and self.lexicon is not None:
            self._advance(beam, rows, self._word_ids[nodes])

    def _advance(self, beam: Beam, rows: np.ndarray, words: np.ndarray) -> None:
        """Let the language model read a word in some hypotheses."""
        assert self._model is not None
        beam.context[rows], log_probs = self._model.advance(beam.context[rows], words)
        beam.score[rows] += self._lm_weight * log_probs

    def _finish(self, beam: Beam, history: History) -> dict[tuple[int, ...], float]:
        """The texts of the last beam: whole words only, if there are any."""
        unfinished = beam.last != self._delimiter
        if self.lexicon is not None:
            whole = ~unfinished | (self._word_ids[beam.node] >= 0)
            beam = beam.take(whole) if whole.any() else beam
            unfinished = (beam.last != self._delimiter) & (self._word_ids[beam.node] >= 0)
        self._complete(beam, np.flatnonzero(unfinished))
        if self._model is not None:
            self._advance(beam, np.arange(len(beam.node)), np.repeat(self._end_id, len(beam.node)))
        scores: dict[tuple[int, ...], float] = {}
        totals = np.logaddexp(beam.blank, beam.token) + beam.score
        for ids, score in zip(history.all_tokens(beam.entry), totals, strict=True):
            ids = ids[:-1] if ids[-1:] == (self._delimiter,) else ids
            scores[ids] = float(np.logaddexp(scores.get(ids, -math.inf), score))
        return scores

    def _text(self, ids: Iterable[int]) -> str:
        return "".join(" " if id == self._delimiter else self._tokens[id] for id in ids)

    def _with_times(
        self, log_probs: np.ndarray, ids: Sequence[int], score: float, seconds_per_frame: float
    ) -> Hypothesis:
        spans, _ = align(log_probs, ids, self._blank)
        return make_hypothesis(spans, score, self._tokens, seconds_per_frame, self._tokens[self._delimiter])

    def _encode(self, text: str) -> list[int]:
        return encode(text, self._tokens, self._tokens[self._delimiter])


def _load_language_model(path: PathLike) -> NgramModel:
    """A language model that the search can use."""
    model = NgramModel.load(path)
    if model.order < 2:
        raise HFSpeechError(f"{os.fspath(path)} is a language model of order 1: build one of order 2 or more.")
    return model
