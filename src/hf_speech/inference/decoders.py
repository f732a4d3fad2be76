"""From a recognizer's log-probabilities to text, as `transcribe` and `evaluate` do it.

Greedy decoding needs only the model. Beam search adds a language model of n-grams, hot words, and, for a recognizer
that predicts phones, the pronunciations of the hypotheses; it is also the way to more than one hypothesis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from hf_speech.decoding import BeamSearchDecoder, Hypothesis, align_text, greedy_decode, min_frames, phone_scores
from hf_speech.decoding.hypothesis import encode
from hf_speech.decoding.phone_search import PhoneSearch
from hf_speech.decoding.words import spell
from hf_speech.errors import ModelError
from hf_speech.inference.beam_options import LANGUAGE_MODEL, BeamOptions, find_language_model
from hf_speech.inference.recognizer import Recognizer, log_softmax
from hf_speech.tasks.lexicon import Lexicon

if TYPE_CHECKING:
    from hf_speech.inference.prediction import Prediction

LEXICON = "lexicon.txt"
"""The name of the pronouncing dictionary in a model folder."""


class Decoder(Protocol):
    """From log-probabilities and seconds per frame to at least one hypothesis, the best first."""

    def __call__(self, log_probs: np.ndarray, frame: float, num_best: int = 1) -> list[Hypothesis]:
        """Decode the log-probabilities of one utterance `(frames, tokens + phones)`; the phones may be missing."""


def choose_decoder(
    recognizer: Recognizer,
    language_model: Path | None = None,
    hot_words: str | None = None,
    num_best: int = 1,
    **given: Any,
) -> Decoder:
    """Return the decoder for the options of a command line: greedy if there are none.

    Args:
        recognizer: A recognizer.
        language_model: A file of n-grams, or `auto` for the one in the model's folder.
        hot_words: Words to prefer, separated by commas.
        num_best: The number of hypotheses; more than one needs a beam search.
        given: Further `BeamOptions`; those that are None are not given.

    Raises:
        ModelError: If the model has no language model, or the options contradict each other.
        HFSpeechError: If a number is out of its range.
    """
    given = {name: value for name, value in given.items() if value is not None}
    if language_model is not None and str(language_model) == "auto":
        language_model = find_language_model(recognizer)
        if language_model is None:
            raise ModelError(
                f"{recognizer.name} has no {LANGUAGE_MODEL}: build one with hf-speech build-lm, and give its path."
            )
    if hot_words is not None:
        given["hot_words"] = tuple(word.strip() for word in hot_words.split(",") if word.strip())
        if not given["hot_words"]:
            raise ModelError("There is no word among the hot words: separate them by commas, as in 'MARY,ZIP'.")
    elif "hot_word_weight" in given:
        raise ModelError("There are no hot words for the hot_word_weight: give some as hot_words.")
    if given.get("phone_weight"):
        check_phones(recognizer)
    if language_model is None and not given and num_best == 1:
        return greedy_decoder(recognizer)
    return beam_decoder(recognizer, BeamOptions.beside(language_model, **given))


def greedy_decoder(recognizer: Recognizer) -> Decoder:
    """Return a decoder that takes the most probable token of each frame."""
    tokens, blank, delimiter = recognizer.tokens, recognizer.blank, recognizer.word_delimiter

    def decode(log_probs: np.ndarray, frame: float, num_best: int = 1) -> list[Hypothesis]:
        log_probs = log_probs[:, : len(tokens)]
        return [greedy_decode(log_probs, tokens, seconds_per_frame=frame, blank=blank, word_delimiter=delimiter)]

    return decode


def beam_decoder(recognizer: Recognizer, options: BeamOptions) -> Decoder:
    """Return a decoder that searches by letters or, with `options.phones`, by phones.

    A recognizer without phones, or without its dictionary, is searched by letters.
    """
    lexicon = load_lexicon(recognizer) if options.uses_lexicon else None
    if lexicon is None:
        options = replace(options, phones=None)
    search, tokens, delimiter = make_search(recognizer, options, lexicon), recognizer.tokens, recognizer.word_delimiter

    def decode(log_probs: np.ndarray, frame: float, num_best: int = 1) -> list[Hypothesis]:
        letters, phones = np.split(log_probs, [len(tokens)], axis=1)

        def rescore(texts: Sequence[str]) -> np.ndarray:
            assert lexicon is not None
            return options.phone_weight * pronounced(lexicon, phones, texts)

        if options.phones is None:
            rescorer = rescore if lexicon is not None and phones.shape[1] else None
            return search.decode(letters, seconds_per_frame=frame, num_best=num_best, rescorer=rescorer)
        if not phones.shape[1]:
            raise ModelError("These log-probabilities have no phones to search by: decode those of the model itself.")
        found = search.candidates(phones)
        texts = [text for text in found if min_frames(encode(text, tokens, delimiter)) <= len(letters)] or [""]
        scores = options.phones.letter_weight * spelled(recognizer, letters, texts)
        scores += [found.get(text, 0.0) for text in texts]
        # Times and confidences of words come from the letters, as in all other decoders.
        given: dict[str, Any] = {"seconds_per_frame": frame, "blank": recognizer.blank, "word_delimiter": delimiter}
        return [
            replace(align_text(letters, texts[index], tokens, **given), score=float(scores[index]))
            for index in np.argsort(-scores, kind="stable")[:num_best]
        ]

    return decode


def spelled(recognizer: Recognizer, log_probs: np.ndarray, texts: Sequence[str]) -> np.ndarray:
    """Return the log-probabilities of the texts' letters, `(texts,)`."""
    ids = [encode(text, recognizer.tokens, recognizer.word_delimiter) for text in texts]
    return phone_scores(log_probs, ids, recognizer.blank)


def make_search(recognizer: Recognizer, options: BeamOptions, lexicon: Lexicon | None = None) -> BeamSearchDecoder:
    """Return the beam search over a recognizer's tokens, or with `options.phones` over the phones of its lexicon."""
    tokens = recognizer.tokens
    if options.phones is not None:
        assert lexicon is not None
        letters = frozenset(tokens)
        return PhoneSearch(
            lexicon.num_ids,
            lambda word: lexicon.phone_ids(word) if lexicon.knows(word) and spell(word, letters) == word else [],
            language_model=options.language_model,
            beam_size=options.beam_size,
            lm_weight=options.phones.lm_weight,
            word_score=options.phones.word_score,
            hot_words=[_written(word, tokens, recognizer) for word in options.hot_words],
            hot_word_score=options.hot_word_weight,
        )
    return BeamSearchDecoder(
        tokens,
        language_model=options.language_model,
        beam_size=options.beam_size,
        lm_weight=options.lm_weight,
        word_score=options.word_score,
        hot_words=[_written(word, tokens, recognizer) for word in options.hot_words],
        hot_word_score=options.hot_word_weight,
        blank=recognizer.blank,
        word_delimiter=recognizer.word_delimiter,
    )


def _written(word: str, tokens: Sequence[str], recognizer: Recognizer) -> str:
    """A hot word as the model writes it: normalized, and in the case and Unicode form of its letters."""
    written = recognizer.normalize(word)
    letters = frozenset(tokens)
    spellings = (spell(form, letters) for form in (written, written.upper(), written.lower()))
    return next((spelling for spelling in spellings if spelling is not None), written)


def load_lexicon(recognizer: Recognizer) -> Lexicon | None:
    """Return the pronouncing dictionary of a recognizer; None if it predicts no phones, or has lost the dictionary."""
    if not recognizer.num_phones:
        return None
    path = recognizer.find_file(LEXICON)
    if path is None:
        return None
    lexicon = Lexicon.load(path)
    if lexicon.num_ids != recognizer.num_phones:
        raise ModelError(
            f"{path} has {lexicon.num_ids - 1} phones and {recognizer.name} writes {recognizer.num_phones - 1}: put "
            "the dictionary there with which it was trained."
        )
    return lexicon


def check_phones(recognizer: Recognizer) -> None:
    """Check that a phone_weight has an effect."""
    if load_lexicon(recognizer) is None:
        lacks = f"has lost its {LEXICON}" if recognizer.num_phones else "writes no phones"
        raise ModelError(
            f"{recognizer.name} {lacks}, so that phone_weight has no effect: leave it out, or take a model trained "
            "with text.lexicon, as training left it."
        )


def pronounced(lexicon: Lexicon, log_probs: np.ndarray, texts: Sequence[str]) -> np.ndarray:
    """Return the log-probabilities of the texts' pronunciations, `(texts,)`.

    If a text has a word without a pronunciation, such as a hot word, the texts cannot be compared: all get 0.
    """
    if not all(lexicon.knows(text) for text in texts):
        return np.zeros(len(texts))
    return phone_scores(log_probs, list(map(lexicon.phone_ids, texts)))


def seconds_per_frame(recognizer: Recognizer) -> float:
    """Return the seconds of sound in one logit frame of a recognizer."""
    return recognizer.samples_per_frame / recognizer.sampling_rate


def joint_log_probs(prediction: Prediction) -> np.ndarray:
    """Return the log-probabilities of an utterance that was not skipped, `(frames, tokens + phones)`."""
    both = (prediction.logits, prediction.phone_logits)
    return np.concatenate([log_softmax(logits) for logits in both if logits is not None], axis=1)


__all__ = [
    "LANGUAGE_MODEL",
    "LEXICON",
    "BeamOptions",
    "Decoder",
    "beam_decoder",
    "check_phones",
    "choose_decoder",
    "find_language_model",
    "greedy_decoder",
    "joint_log_probs",
    "load_lexicon",
    "make_search",
    "pronounced",
    "seconds_per_frame",
]
