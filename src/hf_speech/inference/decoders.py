"""Decoders from the log probabilities of a recognizer to text, used by `transcribe` and `evaluate`.

Greedy decoding needs only the model. Beam search supports n-gram language models, hot words, several hypotheses and,
for a recognizer that predicts phones, the pronunciations of the hypotheses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from hf_speech.common.fingerprint import LANGUAGE_MODEL
from hf_speech.decoding import BeamSearchDecoder, Hypothesis, align_text, greedy_decode, min_frames, phone_scores
from hf_speech.decoding.hypothesis import encode
from hf_speech.decoding.phone_search import PhoneSearch
from hf_speech.decoding.words import spell
from hf_speech.errors import ModelError
from hf_speech.inference.beam_options import BeamOptions, find_language_model
from hf_speech.inference.recognizer import Recognizer, log_softmax
from hf_speech.tasks.lexicon import Lexicon

if TYPE_CHECKING:
    from hf_speech.inference.prediction import Prediction

LEXICON = "lexicon.txt"
"""The name of the pronouncing dictionary in a model folder."""


class Decoder(Protocol):
    """A function from log probabilities to hypotheses."""

    def __call__(self, log_probs: np.ndarray, frame: float, num_best: int = 1) -> list[Hypothesis]:
        """Decodes an utterance.

        Args:
            log_probs: Log probabilities `(frames, tokens + phones)`; the phones are optional.
            frame: Seconds per frame.
            num_best: Maximum number of hypotheses.

        Returns:
            At least one hypothesis, the best first.
        """


def choose_decoder(
    recognizer: Recognizer,
    language_model: Path | None = None,
    hot_words: str | None = None,
    num_best: int = 1,
    **given: Any,
) -> Decoder:
    """Returns the decoder for command-line options: greedy decoding if there are none.

    Args:
        recognizer: A recognizer.
        language_model: An n-gram file, or `auto` for the one in the model's folder.
        hot_words: Words to favor, separated by commas.
        num_best: Number of hypotheses; more than one requires a beam search.
        given: Further `BeamOptions`; None stands for the default.

    Raises:
        ModelError: If the model has no language model, or the options contradict each other.
        HFSpeechError: If a number is out of range.
    """
    given = {name: value for name, value in given.items() if value is not None}
    if language_model is not None and str(language_model) == "auto":
        language_model = find_language_model(recognizer)
        if language_model is None:
            raise ModelError(
                f"{recognizer.name} has no {LANGUAGE_MODEL}: build one with hf-speech build-lm and give its path."
            )
    if hot_words is not None:
        given["hot_words"] = tuple(word.strip() for word in hot_words.split(",") if word.strip())
        if not given["hot_words"]:
            raise ModelError("hot_words contains no words: separate words by commas, as in 'MARY,ZIP'.")
    elif "hot_word_weight" in given:
        raise ModelError("hot_word_weight needs hot words: set hot_words.")
    if given.get("phone_weight"):
        check_phones(recognizer)
    if language_model is None and not given and num_best == 1:
        return greedy_decoder(recognizer)
    return beam_decoder(recognizer, BeamOptions.beside(language_model, **given))


def greedy_decoder(recognizer: Recognizer) -> Decoder:
    """Returns a decoder that takes the most probable token of each frame."""
    tokens, blank, delimiter = recognizer.tokens, recognizer.blank, recognizer.word_delimiter

    def decode(log_probs: np.ndarray, frame: float, num_best: int = 1) -> list[Hypothesis]:
        log_probs = log_probs[:, : len(tokens)]
        return [greedy_decode(log_probs, tokens, seconds_per_frame=frame, blank=blank, word_delimiter=delimiter)]

    return decode


def beam_decoder(recognizer: Recognizer, options: BeamOptions) -> Decoder:
    """Returns a decoder that searches over letters or, with `options.phones`, over phones.

    For a recognizer without phones or without a dictionary, it searches over letters.
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
            raise ModelError("A search over phones needs log probabilities of phones: use those of the model itself.")
        candidates = search.candidates(phones)
        texts = [text for text in candidates if min_frames(encode(text, tokens, delimiter)) <= len(letters)] or [""]
        scores = options.phones.letter_weight * spelled(recognizer, letters, texts)
        scores += [candidates.get(text, 0.0) for text in texts]
        # Times and confidences of words come from the letters, as in the other decoders.
        given: dict[str, Any] = {"seconds_per_frame": frame, "blank": recognizer.blank, "word_delimiter": delimiter}
        return [
            replace(align_text(letters, texts[index], tokens, **given), score=float(scores[index]))
            for index in np.argsort(-scores, kind="stable")[:num_best]
        ]

    return decode


def spelled(recognizer: Recognizer, log_probs: np.ndarray, texts: Sequence[str]) -> np.ndarray:
    """Returns the log probabilities of the texts' letters, `(texts,)`."""
    ids = [encode(text, recognizer.tokens, recognizer.word_delimiter) for text in texts]
    return phone_scores(log_probs, ids, recognizer.blank)


def make_search(recognizer: Recognizer, options: BeamOptions, lexicon: Lexicon | None = None) -> BeamSearchDecoder:
    """Returns the beam search over a recognizer's tokens or, with `options.phones`, over the phones of its lexicon."""
    tokens = recognizer.tokens
    if options.phones is not None:
        assert lexicon is not None
        letters = frozenset(tokens)
        return PhoneSearch(
            lexicon.num_ids,
            lambda word: lexicon.phone_ids(word) if lexicon.covers(word) and spell(word, letters) == word else [],
            language_model=options.language_model,
            beam_size=options.beam_size,
            lm_weight=options.phones.lm_weight,
            word_score=options.phones.word_score,
            hot_words=[_match_spelling(word, tokens, recognizer) for word in options.hot_words],
            hot_word_score=options.hot_word_weight,
        )
    return BeamSearchDecoder(
        tokens,
        language_model=options.language_model,
        beam_size=options.beam_size,
        lm_weight=options.lm_weight,
        word_score=options.word_score,
        hot_words=[_match_spelling(word, tokens, recognizer) for word in options.hot_words],
        hot_word_score=options.hot_word_weight,
        blank=recognizer.blank,
        word_delimiter=recognizer.word_delimiter,
    )


def _match_spelling(word: str, tokens: Sequence[str], recognizer: Recognizer) -> str:
    """Normalizes a hot word, and matches the case and Unicode form of the model's letters."""
    normalized = recognizer.normalize(word)
    letters = frozenset(tokens)
    spellings = (spell(form, letters) for form in (normalized, normalized.upper(), normalized.lower()))
    return next((spelling for spelling in spellings if spelling is not None), normalized)


def load_lexicon(recognizer: Recognizer) -> Lexicon | None:
    """Returns the pronouncing dictionary of a recognizer, or None if it predicts no phones or the file is missing."""
    if not recognizer.num_phones:
        return None
    path = recognizer.find_file(LEXICON)
    if path is None:
        return None
    lexicon = Lexicon.load(path)
    if lexicon.num_ids != recognizer.num_phones:
        raise ModelError(
            f"{path} has {lexicon.num_ids - 1} phones and {recognizer.name} predicts {recognizer.num_phones - 1}: "
            "restore the dictionary that the model was trained with."
        )
    return lexicon


def check_phones(recognizer: Recognizer) -> None:
    """Raises ModelError if a phone_weight would have no effect."""
    if load_lexicon(recognizer) is None:
        problem = f"has no {LEXICON}" if recognizer.num_phones else "predicts no phones"
        raise ModelError(
            f"{recognizer.name} {problem}, so phone_weight has no effect: omit it, or use a model trained with "
            "text.lexicon."
        )


def pronounced(lexicon: Lexicon, log_probs: np.ndarray, texts: Sequence[str]) -> np.ndarray:
    """Returns the log probabilities of the texts' pronunciations, `(texts,)`.

    If a text has a word without a pronunciation, such as a hot word, texts cannot be compared and all get 0.
    """
    if not all(lexicon.covers(text) for text in texts):
        return np.zeros(len(texts))
    return phone_scores(log_probs, list(map(lexicon.phone_ids, texts)))


def seconds_per_frame(recognizer: Recognizer) -> float:
    """Returns the length of a logit frame in seconds."""
    return recognizer.samples_per_frame / recognizer.sampling_rate


def joint_log_probs(prediction: Prediction) -> np.ndarray:
    """Returns the log probabilities of an utterance that was not skipped, `(frames, tokens + phones)`."""
    both = (prediction.logits, prediction.phone_logits)
    return np.concatenate([log_softmax(logits) for logits in both if logits is not None], axis=1)
