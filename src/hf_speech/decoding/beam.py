"""Beam search over CTC log probabilities with a language model, a lexicon and hot words.

This is the prefix search of Graves & Jaitly (2014, ICML; also Hannun et al., arXiv 1408.2873): a hypothesis is a text,
and its probability is summed over all alignments in the beam. The search maximizes, in natural logarithms:

    log P(text | audio) + lm_weight * log P(text) + word_score * num_words + hot_word_score * num_hot_words

A rescorer may then add to the scores of the final hypotheses. Leading, trailing and repeated delimiters belong to the
alignment, not to the text.

With a lexicon, hypotheses consist of its words. An incomplete word is scored in advance with the best unigram score of
all words with this prefix (as in flashlight: Kahn et al. 2022, ICML). Hot words that are not in the lexicon are added
to it, with the language model's probability of an unknown word.

Most frames are almost certainly blank. No hypothesis is extended in a frame whose blank probability exceeds 0.999 (as
in Jung et al., arXiv 2210.17017). The search loop is in `search` and compiled by numba, which is imported only when a
decoder is made.
"""

from __future__ import annotations

import copy
import math
import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from hf_speech.common.text import nfc
from hf_speech.decoding.alignment import align
from hf_speech.decoding.hypothesis import (
    BLANK,
    WORD_DELIMITER,
    Hypothesis,
    LogProbs,
    check_log_probs,
    make_hypothesis,
    number_tokens,
)
from hf_speech.decoding.ngram import END, NgramModel
from hf_speech.decoding.trie import Trie
from hf_speech.decoding.words import PathLike, choose_words, spell_hot_words, spell_lexicon
from hf_speech.errors import HFSpeechError

if TYPE_CHECKING:
    from hf_speech.decoding.search import Words

Rescorer = Callable[[Sequence[str]], Iterable[float]]
"""Takes texts and returns the amount to add to the score of each."""

MAX_BEAM_SIZE = 100_000


def check_settings(*, beam_size: int, beam_threshold: float = 1.0, lm_weight: float = 0.0, **scores: float) -> None:
    """Raises HFSpeechError if a setting is out of range."""
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
    """CTC beam search with an optional language model, lexicon and hot words.

    It decodes the log probabilities of any CTC model whose tokens are characters. For models of transformers, see
    `for_tokenizer`.

    Args:
        tokens: The string of each token id of the acoustic model.
        language_model: An n-gram model of words or characters, of order 2 or higher: an ARPA file, or an .ngram file
            from `hf-speech build-lm`, which loads faster.
        lexicon: The words that can be recognized, or a file with one word per line. By default, the words of a word
            language model; without one, any sequence of tokens can be recognized.
        beam_size: Maximum number of hypotheses after each frame.
        beam_threshold: Hypotheses whose score is lower than the best by more than this are dropped.
        lm_weight: Weight of the language model's log probability.
        word_score: Added for each word. A positive value reduces deletions, a negative one insertions.
        hot_words: Words to prefer, such as names.
        hot_word_score: Added for each hot word.
        blank: The id of the CTC blank.
        word_delimiter: The token between words. A model without it recognizes single words.
        special: Ids of tokens that are never part of a text, such as `<s>` and `</s>`.

    Attributes:
        lexicon: The words that can be recognized, or None for any sequence of tokens.
        hot_words: The words to prefer, as the model spells them.
        unspellable: Words left out of the lexicon, with a warning, because the model has no tokens for their
            characters.

    Raises:
        HFSpeechError: If a setting is out of range, the language model cannot be used, or a hot word or the whole
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
        special: Iterable[int] = (),
    ) -> None:
        check_settings(
            beam_size=beam_size,
            beam_threshold=beam_threshold,
            lm_weight=lm_weight,
            word_score=word_score,
            hot_word_score=hot_word_score,
        )
        with_whitespace = [token for token in tokens if token != "".join(token.split())]
        if with_whitespace:
            raise HFSpeechError(f"The token {with_whitespace[0]!r} contains whitespace: use another one, such as '|'.")
        self._num_tokens = len(tokens)
        # A model without a delimiter gets one with zero probability.
        self._tokens = [*tokens] if word_delimiter in tokens else [*tokens, word_delimiter]
        self._delimiter = self._tokens.index(word_delimiter)
        self._special = sorted({*special} - {blank, self._delimiter})
        letters = {token for token in tokens if len(token) == 1} - {self._tokens[blank], word_delimiter}
        hot = self._spell_hot_words(hot_words, letters)
        self.hot_words = tuple(hot.values())

        model = None if language_model is None else _load_language_model(language_model)
        self.lexicon: tuple[str, ...] | None = None
        self.unspellable: tuple[str, ...] = ()
        words = choose_words(lexicon, model, tokens, word_delimiter)
        spellings = dict(hot)
        if words is not None:
            spellings, self.unspellable = self._spell(words, letters)
            if hot:
                known = {nfc(word) for word in spellings}
                spellings |= {word: spelling for word, spelling in hot.items() if word not in known}
            self.lexicon = tuple(sorted(spellings))
            if self.unspellable:
                warnings.warn(
                    f"{len(self.unspellable)} of {len(words)} words in the lexicon, such as {self.unspellable[0]!r}, "
                    "cannot be recognized: the model has no tokens for some of their characters.",
                    stacklevel=2,
                )
        self._fixed_options = (self._num_sounds(), blank, self._delimiter, int(beam_size), float(beam_threshold))
        self._model = model
        self._spelled_words = sorted(spellings)
        self._hot_scores = np.zeros(len(self._spelled_words))
        if hot:
            self._hot_scores[[nfc(word) in hot for word in self._spelled_words]] = hot_word_score
        self._trie, self._nodes = self._index([spellings[word] for word in self._spelled_words])
        self._set_weights(lm_weight, word_score)

    def with_weights(self, lm_weight: float, word_score: float) -> Self:
        """Returns a decoder with other weights that shares everything else with this one."""
        check_settings(beam_size=self._options.beam_size, lm_weight=lm_weight, word_score=word_score)
        other = copy.copy(self)
        other._set_weights(lm_weight, word_score)
        return other

    def _set_weights(self, lm_weight: float, word_score: float) -> None:
        """Sets the weights and the arrays that depend on them."""
        from hf_speech.decoding.search import Ngrams, Options

        model = self._model if lm_weight else None
        none, no_logs = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
        self._ngrams = Ngrams(none, 0, no_logs, no_logs, none.astype(np.int32))
        lm_ids = (0, none, 0)
        if model is not None:
            self._ngrams = model.packed
            lm_ids = (model.start(), model.ids(self._tokens), int(model.ids([END])[0]))
        weight = float(lm_weight) if model is not None else 0.0
        self._options = Options(*self._fixed_options, weight, float(word_score), *lm_ids)
        self._words = self._score_words(model)

    def _spell_hot_words(self, words: Iterable[str], letters: set[str]) -> dict[str, str]:
        """Returns the spelling of each hot word, by its NFC form."""
        return spell_hot_words(words, letters)

    def _spell(self, words: set[str], letters: set[str]) -> tuple[dict[str, str], tuple[str, ...]]:
        """Returns the spelling of each word, and the words that cannot be spelled."""
        return spell_lexicon(words, letters)

    def _num_sounds(self) -> int:
        """Returns the number of acoustically different tokens; see `hf_speech.decoding.search.Options`."""
        return len(self._tokens)

    @classmethod
    def for_tokenizer(cls, tokenizer: Any, **options: Any) -> BeamSearchDecoder:
        """Makes a decoder for the logits of a CTC model of transformers, such as Wav2Vec2, HuBERT or WavLM.

        Special tokens, such as `<s>` and `<unk>`, are never part of a text.

        Args:
            tokenizer: Its `Wav2Vec2CTCTokenizer`, or another tokenizer with a token for each character.
            **options: The arguments of `BeamSearchDecoder`, except `tokens`, `blank`, `word_delimiter` and `special`.
        """
        tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
        delimiter = getattr(tokenizer, "word_delimiter_token", WORD_DELIMITER)
        special = tokenizer.all_special_ids
        return cls(tokens, blank=tokenizer.pad_token_id, word_delimiter=delimiter, special=special, **options)

    def _index(self, spellings: Sequence[str]) -> tuple[Trie, np.ndarray]:
        """Returns a trie of spellings, and the node at which each of them ends."""
        token_ids = number_tokens(self._tokens)
        lengths = np.array([len(spelling) for spelling in spellings], dtype=np.int64)
        sequences = np.zeros((len(spellings), max(lengths, default=0)), dtype=np.int64)
        sequences[np.arange(sequences.shape[1]) < lengths[:, None]] = [token_ids[c] for c in "".join(spellings)]
        return Trie.of(sequences, lengths, len(self._tokens))

    def _score_words(self, model: NgramModel | None) -> Words:
        """Returns the trie of the words with their scores."""
        from hf_speech.decoding.search import Words

        trie, scores = self._trie, self._hot_scores
        word_ids, unigrams = np.zeros(len(scores), dtype=np.int64), np.zeros(len(scores))
        if self.lexicon is not None and model is not None:
            word_ids = model.ids(self._spelled_words)
            unigrams = self._options.lm_weight * model.unigrams(word_ids)
        ids, bonus, ahead = np.full(len(trie), -1), np.zeros(len(trie)), np.full(len(trie), -np.inf)
        # Of words with the same spelling, the most probable one counts.
        order = np.argsort(unigrams + scores, kind="stable")
        nodes = self._nodes[order]
        ids[nodes], bonus[nodes], ahead[nodes] = word_ids[order], scores[order], (unigrams + scores)[order]
        ahead = trie.highest_below(ahead) if self.lexicon is not None else np.zeros(len(trie))
        ahead[0] = 0.0
        return Words(trie.keys, trie.num_symbols, ids, bonus, ahead, self.lexicon is not None)

    def decode(
        self, log_probs: LogProbs, *, seconds_per_frame: float, num_best: int = 1, rescorer: Rescorer | None = None
    ) -> list[Hypothesis]:
        """Decodes one utterance.

        Args:
            log_probs: Natural logarithms of the token probabilities `(frames, tokens)`.
            seconds_per_frame: Time from one frame to the next, such as 0.04.
            num_best: Maximum number of different texts to return.
            rescorer: Adds to the scores of all texts in the final beam before the best are chosen.

        Returns:
            At least one hypothesis, the best first. The score is the sum that the search maximizes.

        Raises:
            HFSpeechError: If `log_probs` are not log probabilities of the tokens.
        """
        log_probs = check_log_probs(log_probs, self._num_tokens)
        scores = self._search(log_probs)
        if rescorer is not None:
            added = rescorer([self._text(ids) for ids in scores])
            scores = {ids: score + float(more) for (ids, score), more in zip(scores.items(), added, strict=True)}
        best = sorted(scores.items(), key=lambda item: (-item[1], item[0]))[: max(1, num_best)]
        return [self._make_hypothesis(log_probs, ids, score, seconds_per_frame) for ids, score in best]

    def candidates(self, log_probs: LogProbs) -> dict[str, float]:
        """Returns all texts in the final beam with their scores."""
        found = self._search(check_log_probs(log_probs, self._num_tokens))
        return {self._text(ids): score for ids, score in found.items()}

    def _search(self, log_probs: np.ndarray) -> dict[tuple[int, ...], float]:
        """Returns the token ids of the texts in the final beam, without superfluous delimiters, and their scores."""
        from hf_speech.decoding.search import search

        columns = np.full((len(log_probs), len(self._tokens)), -np.inf)
        columns[:, : self._num_tokens] = log_probs
        columns[:, self._special] = -np.inf
        last_entries, totals, entries = search(columns, self._options, self._words, self._ngrams)
        scores: dict[tuple[int, ...], float] = {}
        for entry, score in zip(last_entries.tolist(), totals.tolist(), strict=True):
            ids: list[int] = []
            while entry >= 0:
                token, entry = entries[entry].tolist()
                ids.append(token)
            text = tuple(reversed(ids[1:] if ids[:1] == [self._delimiter] else ids))
            scores[text] = float(np.logaddexp(scores.get(text, -math.inf), score))
        return scores

    def _text(self, ids: Iterable[int]) -> str:
        return "".join(" " if id == self._delimiter else self._tokens[id] for id in ids)

    def _make_hypothesis(
        self, log_probs: np.ndarray, ids: Sequence[int], score: float, seconds_per_frame: float
    ) -> Hypothesis:
        spans, _ = align(log_probs, ids, self._options.blank)
        return make_hypothesis(spans, score, self._tokens, seconds_per_frame, self._tokens[self._delimiter])


def _load_language_model(path: PathLike) -> NgramModel:
    """Loads a language model; raises HFSpeechError if its order is 1."""
    model = NgramModel.load(path)
    if model.order < 2:
        raise HFSpeechError(f"{os.fspath(path)} is a language model of order 1: build one of order 2 or higher.")
    return model
