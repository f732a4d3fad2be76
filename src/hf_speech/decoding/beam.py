"""Beam search over CTC log-probabilities with a language model and a lexicon, by flashlight-text.

The search is `torchaudio.models.decoder.ctc_decoder`, which runs flashlight's decoders (Kahn et al. 2022, ICML). It
maximizes, in natural logarithms:

    log P(text | sound) + lm_weight * log P(text) + word_score * words + hot_word_score * hot words

and a rescorer may then add to the scores of the texts that were found.

Four things are added to flashlight, each with a test:

* Given the path of a language model, flashlight ties the ids of its words to the order of a hash table. That is
  harmless with a lexicon; without one, tokens get the scores of other tokens. So the language model is opened here,
  with its words in order.
* With a lexicon, a word is complete only at a word delimiter, but utterances end without one: a last frame that is
  certainly a delimiter is appended.
* Without a lexicon there is no word score, and hypotheses that differ only in superfluous delimiters are kept apart:
  their probabilities are added, and the hypotheses in the final beam are reordered with the word score.
* Flashlight gives neither times nor confidences: they come from aligning each text to the log-probabilities.

With a lexicon, each hot word earns its score in the beam as soon as it is complete; hot words that are not in the
lexicon are added, with the language model's probability of an unknown word. Without a lexicon the score only reorders
the final beam: a hot word must be in it to win.
"""

from __future__ import annotations

import math
import os
import tempfile
import warnings
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from hf_speech.common.text import same_form
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
)
from hf_speech.decoding.ngram import UNKNOWN, ArpaModel
from hf_speech.decoding.words import PathLike, choose_words, spell_hot_words, spell_lexicon
from hf_speech.errors import HFSpeechError

Rescorer = Callable[[Sequence[str]], Iterable[float]]
"""From texts to what to add to the score of each."""

MAX_BEAM_SIZE = 100_000


def check_settings(*, beam_size: int, beam_threshold: float = 1.0, lm_weight: float = 0.0, **scores: float) -> None:
    """Refuse settings with which a search finds nothing.

    Args:
        beam_size: Hypotheses kept at each frame.
        beam_threshold: How far below the best a hypothesis may fall.
        lm_weight: Weight of the language model.
        scores: Other weights and scores by name.

    Raises:
        HFSpeechError: If a setting is not a number in its range.
    """
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

    Args:
        tokens: The string of each token id of the acoustic model.
        language_model: An ARPA file of order 2 or more, of words or of characters.
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
        unspellable: Words left out of the lexicon because the acoustic model has no tokens for their characters. There
            is a warning if there are any.

    Raises:
        HFSpeechError: If flashlight-text or torchaudio is missing, a setting is out of range, the language model cannot
            be used, or a hot word or all of the lexicon cannot be spelled.
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
        # flashlight needs a delimiter even for a model without one, which then never emits it.
        self._tokens = [*tokens] if word_delimiter in tokens else [*tokens, word_delimiter]
        self._delimiter = self._tokens.index(word_delimiter)
        self._blank = blank
        self._word_score = word_score
        self._hot_word_score = hot_word_score
        letters = {token for token in tokens if len(token) == 1} - {self._tokens[blank], word_delimiter}
        self._hot_words = spell_hot_words(hot_words, letters)

        arpa = None if language_model is None else _check_language_model(language_model)
        self.lexicon: tuple[str, ...] | None = None
        self.unspellable: tuple[str, ...] = ()
        words = choose_words(lexicon, arpa, tokens, word_delimiter)
        if words is not None:
            self._spellings, self.unspellable = spell_lexicon(words, letters)
            known = {same_form(word) for word in self._spellings}
            self._spellings |= {word: spelling for word, spelling in self._hot_words.items() if word not in known}
            self.lexicon = tuple(sorted(self._spellings))
            if self.unspellable:
                warnings.warn(
                    f"{len(self.unspellable)} of {len(words)} words of the lexicon, such as {self.unspellable[0]!r}, "
                    "have characters that are not among the model's tokens and cannot be recognized.",
                    stacklevel=2,
                )
        self._search = self._build_search(language_model, beam_size, beam_threshold, lm_weight)

    def decode(
        self,
        log_probs: LogProbs,
        *,
        seconds_per_frame: float,
        num_best: int = 1,
        rescorer: Rescorer | None = None,
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
        scores = self._candidates(log_probs)
        if rescorer is not None:
            added = rescorer([self._text(ids) for ids in scores])
            scores = {ids: score + float(more) for (ids, score), more in zip(scores.items(), added, strict=True)}
        best = sorted(scores.items(), key=lambda item: (-item[1], item[0]))[: max(1, num_best)]
        return [self._with_times(log_probs, ids, score, seconds_per_frame) for ids, score in best]

    def candidates(self, log_probs: LogProbs) -> dict[str, float]:
        """Return the texts in the final beam with their scores, from which `decode` chooses."""
        found = self._candidates(check_log_probs(log_probs, self._num_tokens))
        return {self._text(ids): score for ids, score in found.items()}

    def _candidates(self, log_probs: np.ndarray) -> dict[tuple[int, ...], float]:
        import torch  # imported late: other decoders run without PyTorch

        scores: dict[tuple[int, ...], float] = {}
        for result in self._search(torch.from_numpy(self._emissions(log_probs))[None])[0]:
            ids = self._ids(result)
            scores[ids] = float(np.logaddexp(scores.get(ids, -math.inf), result.score))
        if self.lexicon is None:
            scores = {ids: score + self._bonus(ids) for ids, score in scores.items()}
        return scores

    def _emissions(self, log_probs: np.ndarray) -> np.ndarray:
        """Flashlight's input `(frames, tokens)`, with a column for a delimiter and a frame to end the last word."""
        num_frames = len(log_probs)
        extra = self.lexicon is not None
        emissions = np.full((num_frames + extra, len(self._tokens)), FLOOR, dtype=np.float32)
        emissions[:num_frames, : self._num_tokens] = log_probs
        emissions[num_frames:, self._delimiter] = 0.0
        return emissions

    def _ids(self, result: Any) -> tuple[int, ...]:
        """The tokens of a hypothesis, with one delimiter between words and none around them."""
        if self.lexicon is not None:
            return tuple(self._encode(" ".join(self._spellings[word] for word in result.words)))
        words = self._split(result.tokens.tolist())
        return tuple(token for word in words for token in (self._delimiter, *word))[1:]

    def _split(self, ids: Iterable[int]) -> list[list[int]]:
        groups = groupby(ids, key=lambda token: token == self._delimiter)
        return [list(group) for is_delimiter, group in groups if not is_delimiter]

    def _words(self, ids: Iterable[int]) -> list[str]:
        return ["".join(self._tokens[token] for token in word) for word in self._split(ids)]

    def _text(self, ids: Iterable[int]) -> str:
        return " ".join(self._words(ids))

    def _bonus(self, ids: Iterable[int]) -> float:
        """The score for the words of a text, where the search has no lexicon."""
        words = self._words(ids)
        num_hot = sum(same_form(word) in self._hot_words for word in words)
        return len(words) * self._word_score + num_hot * self._hot_word_score

    def _with_times(
        self, log_probs: np.ndarray, ids: Sequence[int], score: float, seconds_per_frame: float
    ) -> Hypothesis:
        spans, _ = align(log_probs, ids, self._blank)
        return make_hypothesis(spans, score, self._tokens, seconds_per_frame, self._tokens[self._delimiter])

    def _encode(self, text: str) -> list[int]:
        return encode(text, self._tokens, self._tokens[self._delimiter])

    def _build_search(
        self, language_model: PathLike | None, beam_size: int, beam_threshold: float, lm_weight: float
    ) -> Any:
        """Flashlight's decoder, as wrapped by torchaudio."""
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
                        ids = (*self._encode(self._spellings[word]), self._delimiter)
                        stream.write(f"{word}\t{' '.join(self._tokens[token] for token in ids)}\n")

            if language_model is None or not lm_weight:
                model, weight = library.ZeroLM(), 1.0
            else:
                # KenLM gives logarithms to base 10.
                model, weight = load_kenlm(library, language_model, order), lm_weight * math.log(10)
            if self.lexicon is not None and self._hot_words:
                hot = {index for index, word in enumerate(self.lexicon) if same_form(word) in self._hot_words}
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
