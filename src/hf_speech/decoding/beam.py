"""Beam search over CTC log-probabilities with a language model and a lexicon, by flashlight-text.

The search is `torchaudio.models.decoder.ctc_decoder`, which runs flashlight's decoders (Kahn et al. 2022, ICML). What
is maximized, in natural logarithms, so that no weight hides a change of base:

    log P(text | sound) + lm_weight * log P(text) + word_score * words + hot_word_score * hot words

to which a second opinion may add something once the search is over.

Four things it does not do by itself, done here, each with a test:

* Given the path of a language model, it ties the ids of its words to the order of a hash table. With a lexicon that is
  harmless; without one, tokens are scored as other tokens. So the model is opened here, with the words in their order.
* With a lexicon, a word is complete only at a word delimiter, but utterances end without one: a last frame that is
  certainly a delimiter is added.
* Without a lexicon there is no word score, and hypotheses that differ in superfluous delimiters alone are kept apart:
  the latter are added up, and the hypotheses that survived the beam are ordered again by the former.
* Neither times nor confidences: they come from aligning each text to the log-probabilities.

Hot words with a lexicon: each hot word completed inside the beam earns its score at once, so that it pulls
hypotheses through; those not in the lexicon enter it, with the language model's probability of an unknown word.
Without a lexicon the score only orders the surviving hypotheses again: a hot word must have been heard to win.
"""

from __future__ import annotations

import math
import os
import tempfile
import warnings
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from hf_speech.decoding.alignment import align
from hf_speech.decoding.flashlight import boost, import_library, load_kenlm
from hf_speech.decoding.hypothesis import (
    BLANK,
    FLOOR,
    WORD_DELIMITER,
    Hypothesis,
    LogProbs,
    check_log_probs,
    encode,
    make_hypothesis,
    shorten,
)
from hf_speech.decoding.ngram import UNKNOWN, ArpaModel
from hf_speech.errors import HFSpeechError

PathLike = str | os.PathLike[str]
SecondOpinion = Callable[[Sequence[str]], Iterable[float]]


class BeamSearchDecoder:
    """Decodes with a language model.

    Args:
        tokens: The string of each token id of the acoustic model.
        language_model: An ARPA file of order 2 or more, of words or of characters; none at all is allowed.
        lexicon: The words that can be recognized: words, or a file with one a line. If None, the words of a language
            model of words, and any sequence of tokens otherwise.
        beam_size: Hypotheses kept at every frame.
        beam_threshold: How far below the best a hypothesis may fall before it is dropped.
        lm_weight: Weight of the language model's log-probability.
        word_score: Added for every word; positive against deleted words, negative against inserted ones.
        hot_words: Words to prefer, such as names.
        hot_word_score: Added for every hot word.
        blank: The id of the CTC blank.
        word_delimiter: The token between words; a model without it recognizes single words.

    Attributes:
        lexicon: The words that can be recognized, or None for any sequence of tokens.
        unspellable: Words left out of the lexicon because the acoustic model has no tokens for their characters;
            there is a warning if there are any.

    Raises:
        HFSpeechError: If flashlight-text or torchaudio is missing, the language model cannot be used, or a hot word
            or all of the lexicon cannot be spelled.
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
        spaced = [token for token in tokens if token != "".join(token.split())]
        if spaced:
            raise HFSpeechError(f"The token {spaced[0]!r} has white space in it: name it otherwise, such as '|'.")
        self._num_tokens = len(tokens)
        # flashlight needs a delimiter even for a model without one, which then never emits it.
        self._tokens = [*tokens] if word_delimiter in tokens else [*tokens, word_delimiter]
        self._delimiter = self._tokens.index(word_delimiter)
        self._blank = blank
        self._word_score = word_score
        self._hot_words = frozenset(hot_words)
        self._hot_word_score = hot_word_score
        self._check_hot_words()

        arpa = None if language_model is None else _check_language_model(language_model)
        self.lexicon: tuple[str, ...] | None = None
        self.unspellable: tuple[str, ...] = ()
        words = _lexicon_words(lexicon, arpa, self._tokens)
        if words is not None:
            self.lexicon, self.unspellable = self._spellable(words)
        self._search = self._build_search(language_model, beam_size, beam_threshold, lm_weight)

    def decode(
        self,
        log_probs: LogProbs,
        *,
        seconds_per_frame: float,
        num_best: int = 1,
        second_opinion: SecondOpinion | None = None,
    ) -> list[Hypothesis]:
        """Decode one utterance.

        Args:
            log_probs: Logarithms of the tokens' probabilities `(frames, tokens)`.
            seconds_per_frame: Time from a frame to the next, such as 0.04.
            num_best: How many different texts to give at most.
            second_opinion: Adds to the scores of all texts that survived the search, before the best are chosen: from
                texts to what to add to each.

        Returns:
            At least one text, the best first; their score is what this module maximizes, summed over the alignments
            in the beam.

        Raises:
            HFSpeechError: If they are not log-probabilities of these tokens.
        """
        log_probs = check_log_probs(log_probs, self._num_tokens)
        scores = self._candidates(log_probs)
        if second_opinion is not None:
            added = second_opinion([self._text(ids) for ids in scores])
            scores = {ids: score + float(more) for (ids, score), more in zip(scores.items(), added, strict=True)}
        best = sorted(scores.items(), key=lambda item: (-item[1], item[0]))[:num_best]
        return [self._in_time(log_probs, ids, score, seconds_per_frame) for ids, score in best]

    def candidates(self, log_probs: LogProbs) -> dict[str, float]:
        """The texts that survive the search, and their scores; what `decode` chooses from."""
        found = self._candidates(check_log_probs(log_probs, self._num_tokens))
        return {self._text(ids): score for ids, score in found.items()}

    def _candidates(self, log_probs: np.ndarray) -> dict[tuple[int, ...], float]:
        import torch  # Not before it is needed: other decoders do without.

        scores: dict[tuple[int, ...], float] = {}
        for result in self._search(torch.from_numpy(self._emissions(log_probs))[None])[0]:
            ids = self._ids(result)
            scores[ids] = float(np.logaddexp(scores.get(ids, -math.inf), result.score))
        if self.lexicon is None:
            scores = {ids: score + self._bonus(ids) for ids, score in scores.items()}
        return scores

    def _emissions(self, log_probs: np.ndarray) -> np.ndarray:
        """What flashlight is given `(frames, tokens)`: a column for a delimiter, a frame to complete the last word."""
        num_frames = len(log_probs)
        extra = self.lexicon is not None
        emissions = np.full((num_frames + extra, len(self._tokens)), FLOOR, dtype=np.float32)
        emissions[:num_frames, : self._num_tokens] = log_probs
        emissions[num_frames:, self._delimiter] = 0.0
        return emissions

    def _ids(self, result: Any) -> tuple[int, ...]:
        """The tokens of a hypothesis, with one delimiter between words and none around them."""
        if self.lexicon is not None:
            return tuple(self._spell(" ".join(result.words)))
        words = self._split(result.tokens.tolist())
        return tuple(token for word in words for token in (self._delimiter, *word))[1:]

    def _split(self, ids: Iterable[int]) -> list[list[int]]:
        groups = groupby(ids, key=lambda token: token == self._delimiter)
        return [list(group) for is_delimiter, group in groups if not is_delimiter]

    def _text(self, ids: Sequence[int]) -> str:
        return " ".join("".join(self._tokens[token] for token in word) for word in self._split(ids))

    def _bonus(self, ids: Sequence[int]) -> float:
        """What the words of a text earn in a search that knows no words."""
        words = ["".join(self._tokens[token] for token in word) for word in self._split(ids)]
        num_hot = sum(word in self._hot_words for word in words)
        return len(words) * self._word_score + num_hot * self._hot_word_score

    def _in_time(self, log_probs: np.ndarray, ids: Sequence[int], score: float, seconds_per_frame: float) -> Hypothesis:
        spans, _ = align(log_probs, ids, self._blank)
        return make_hypothesis(spans, score, self._tokens, seconds_per_frame, self._tokens[self._delimiter])

    def _spell(self, text: str) -> list[int]:
        return encode(text, self._tokens, self._tokens[self._delimiter])

    def _letters(self) -> set[str]:
        """The tokens that words are made of."""
        letters = {token for token in self._tokens[: self._num_tokens] if len(token) == 1}
        return letters - {self._tokens[self._blank], self._tokens[self._delimiter]}

    def _check_hot_words(self) -> None:
        letters = self._letters()
        wrong = sorted(word for word in self._hot_words if not word or not letters.issuperset(word))
        if wrong:
            raise HFSpeechError(
                f"The hot word {wrong[0]!r} cannot be spelled with the model's tokens: give single words, written as "
                "the model's training transcripts are."
            )

    def _spellable(self, words: set[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The words that the tokens can spell, hot words among them, and those that they cannot."""
        letters = self._letters()
        spellable = {word for word in words if letters.issuperset(word)}
        unspellable = sorted(words - spellable)
        if not spellable:
            raise HFSpeechError(
                f"No word of the lexicon (such as {shorten(min(words))!r}) can be spelled with the model's tokens: "
                "write it as the model's training transcripts are, upper or lower case as they are."
            )
        if unspellable:
            warnings.warn(
                f"{len(unspellable)} of {len(words)} words of the lexicon, such as {unspellable[0]!r}, have characters "
                "that are not among the model's tokens and cannot be recognized.",
                stacklevel=3,
            )
        return tuple(sorted(spellable | self._hot_words)), tuple(unspellable)

    def _build_search(
        self, language_model: PathLike | None, beam_size: int, beam_threshold: float, lm_weight: float
    ) -> Any:
        """flashlight's decoder, as torchaudio wraps it."""
        library = import_library()
        with tempfile.TemporaryDirectory() as folder:
            # By this file, the n-th word of the language model is the n-th word or token here.
            order = Path(folder, "order.txt")
            order.write_text("\n".join(self._tokens if self.lexicon is None else [*self.lexicon, UNKNOWN]), "utf-8")
            lexicon = None
            if self.lexicon is not None:
                lexicon = Path(folder, "lexicon.txt")
                with lexicon.open("w", encoding="utf-8") as stream:
                    for word in self.lexicon:
                        spelling = [self._tokens[token] for token in (*self._spell(word), self._delimiter)]
                        stream.write(f"{word}\t{' '.join(spelling)}\n")

            if language_model is None or not lm_weight:
                model, weight = library.ZeroLM(), 1.0
            else:
                # KenLM gives logarithms to base 10.
                model, weight = load_kenlm(library, language_model, order), lm_weight * math.log(10)
            if self.lexicon is not None and self._hot_words:
                hot = {index for index, word in enumerate(self.lexicon) if word in self._hot_words}
                model = boost(library, model, hot, self._hot_word_score / weight)
            return library.ctc_decoder(
                lexicon=None if lexicon is None else str(lexicon),
                tokens=self._tokens,
                lm=model,
                lm_dict=str(order),
                nbest=beam_size,
                beam_size=beam_size,
                beam_threshold=beam_threshold,
                lm_weight=weight,
                word_score=self._word_score,
                log_add=True,
                blank_token=self._tokens[self._blank],
                sil_token=self._tokens[self._delimiter],
                unk_word=UNKNOWN,
            )


def _check_language_model(path: PathLike) -> ArpaModel:
    """The unigrams of a language model that the search can use."""
    arpa = ArpaModel.load(path, max_order=1)
    if arpa.order < 2:
        raise HFSpeechError(f"{os.fspath(path)} is a language model of order 1: build one of order 2 or more.")
    return arpa


def _lexicon_words(
    lexicon: PathLike | Iterable[str] | None, arpa: ArpaModel | None, tokens: Sequence[str]
) -> set[str] | None:
    """The words of a lexicon, or None if any sequence of tokens is to be allowed."""
    if lexicon is None:
        is_of_words = arpa is not None and not arpa.vocabulary.issubset(tokens)
        return set(arpa.vocabulary) if arpa is not None and is_of_words else None
    source = ""
    if isinstance(lexicon, str | os.PathLike):
        source = f" {os.fspath(lexicon)}"
        try:
            lexicon = Path(lexicon).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise HFSpeechError(f"The lexicon{source} cannot be read ({error}): give a text file in UTF-8.") from error
    words = {word.strip() for word in lexicon} - {""}
    if not words:
        raise HFSpeechError(f"The lexicon{source} has no words: give one word a line.")
    if arpa is not None and arpa.vocabulary.isdisjoint(words):
        raise HFSpeechError(
            f"The language model knows none of the words of the lexicon{source}, such as {min(words)!r}: a model of "
            "characters goes without a lexicon, and a model of words is written as its lexicon is."
        )
    return words
