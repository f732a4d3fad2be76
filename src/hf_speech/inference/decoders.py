"""Ways from a recognizer's log-probabilities to text, as `transcribe` and `evaluate` use them.

The best path needs nothing but the model. Beam search prefers what a language model, an ARPA file, and hot words make
likely, and asks the phones of a recognizer that writes them. Its weights are those that `hf-speech tune-decoder` finds
on the validation split and writes beside the language model: `lm.arpa` has them in `lm.decoder.json`. Without a
language model it is still the way to hot words and to more than one hypothesis.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from tqdm.auto import tqdm

from hf_speech.decoding import BeamSearchDecoder, Hypothesis, Tuning, greedy_decode, phone_scores, tune_decoder
from hf_speech.errors import CorpusError, ModelError
from hf_speech.inference.recognizer import Recognizer, log_softmax

if TYPE_CHECKING:
    from datasets import Dataset

    from hf_speech.inference.loading import LoadedModel
    from hf_speech.inference.prediction import Prediction
    from hf_speech.tasks.lexicon import Lexicon

LANGUAGE_MODEL = "language_model.arpa"
"""The name under which a model folder holds its language model."""

LEXICON = "lexicon.txt"
"""The name under which a model folder holds the dictionary of the phones that it writes."""


PHONE_WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0)
"""Those that are tried with every pair of the other weights, which costs next to nothing."""


class Decoder(Protocol):
    """From log-probabilities and seconds a frame to at least one hypothesis, the best first."""

    def __call__(self, log_probs: np.ndarray, frame: float, num_best: int = 1) -> list[Hypothesis]:
        """Decodes what a recognizer heard of one utterance, `(frames, tokens + phones)`; the phones may be missing."""
        ...


@dataclass(frozen=True)
class BeamOptions:
    """A beam search.

    Attributes:
        language_model: The ARPA file; its words are the lexicon. Without one any sequence of characters is.
        lm_weight: Weight of the language model's log-probability.
        word_score: Added for every word.
        phone_weight: Weight of the log-probability of a text's phones, by which hypotheses are ordered anew where the
            recognizer writes phones and brings its dictionary.
        beam_size: Hypotheses kept at every frame.
        hot_words: Words to prefer, in upper or lower case.
        hot_word_weight: Added for every hot word, a natural logarithm: 5 makes one 150 times as likely.
    """

    language_model: Path | None = None
    lm_weight: float = 0.5
    word_score: float = 0.0
    phone_weight: float = 0.0
    beam_size: int = 100
    hot_words: tuple[str, ...] = ()
    hot_word_weight: float = 5.0

    @staticmethod
    def file(language_model: Path) -> Path:
        """Where the tuned weights of a language model lie."""
        return language_model.with_suffix(".decoder.json")

    @classmethod
    def beside(cls, language_model: Path | None, **given: Any) -> BeamOptions:
        """The options tuned for a language model, where they lie beside it, and those that are given instead.

        Args:
            language_model: The ARPA file, or None for a search without one.
            given: Options by their names; those that are None are not given.

        Raises:
            ModelError: If the language model does not exist, or what lies beside it are no options.
        """
        chosen = {name: value for name, value in given.items() if value is not None}
        if language_model is None:
            if "lm_weight" in chosen:
                raise ModelError("There is no language model that lm_weight could weigh: give one as language_model.")
            return cls(None, **chosen)
        if not language_model.is_file():
            raise ModelError(f"There is no language model {language_model}: make one with hf-speech build-lm.")
        tuned: dict[str, Any] = {}
        if (path := cls.file(language_model)).is_file():
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
                tuned = {name: content[name] for name in ("lm_weight", "word_score", "beam_size")}
                tuned["phone_weight"] = content.get("phone_weight", 0.0)
            except (ValueError, KeyError, TypeError) as error:
                raise ModelError(
                    f"{path} has no weights of a beam search: run hf-speech tune-decoder again."
                ) from error
        return cls(language_model, **(tuned | chosen))

    def save(self, **origin: str) -> Path:
        """Writes the options beside the language model, with what they come from, and returns the file."""
        if self.language_model is None:
            raise ModelError("A search without a language model has no place to be saved: give a language model.")
        path = self.file(self.language_model)
        path.write_text(json.dumps(self.describe() | origin, indent=2) + "\n", encoding="utf-8")
        return path

    def describe(self) -> dict[str, Any]:
        """The options as plain data, with the language model's name for its path, hot words if there are any."""
        options = dataclasses.asdict(self)
        if not self.hot_words:
            del options["hot_words"], options["hot_word_weight"]
        if not self.phone_weight:
            del options["phone_weight"]
        return options | {"language_model": None if self.language_model is None else self.language_model.name}


def find_language_model(recognizer: Recognizer) -> Path | None:
    """The language model that a model brings, if there is one: in its folder, or in its repository on the Hub.

    The weights tuned for it are fetched along with it.
    """
    found = [recognizer.find_file(name) for name in (LANGUAGE_MODEL, BeamOptions.file(Path(LANGUAGE_MODEL)).name)]
    return found[0]


def choose_decoder(
    recognizer: Recognizer,
    language_model: Path | None = None,
    hot_words: str | None = None,
    num_best: int = 1,
    **given: Any,
) -> Decoder:
    """The decoder that the options of a command line ask for: the best path if there are none.

    Args:
        recognizer: A recognizer.
        language_model: An ARPA file, or `auto` for the one that the model brings.
        hot_words: Words to prefer, separated by commas.
        num_best: How many hypotheses are wanted: more than one takes a search.
        given: Further `BeamOptions`; those that are None are not given.

    Raises:
        ModelError: If the model brings no language model, or the options contradict each other.
    """
    given = {name: value for name, value in given.items() if value is not None}
    if language_model is not None and str(language_model) == "auto":
        language_model = find_language_model(recognizer)
        if language_model is None:
            raise ModelError(
                f"{recognizer.name} brings no {LANGUAGE_MODEL}: make one with hf-speech build-lm, and give its path."
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


def seconds_per_frame(recognizer: Recognizer) -> float:
    """Seconds that a logit frame of the model spans."""
    return recognizer.samples_per_frame / recognizer.sampling_rate


def vocabulary(recognizer: Recognizer) -> list[str]:
    """The model's tokens in the order of their ids.

    Raises:
        ModelError: If the model is no recognizer.
    """
    return recognizer.tokens


def greedy_decoder(recognizer: Recognizer) -> Decoder:
    """Decoding along the best path, with the model's own tokens."""
    tokens, blank = recognizer.tokens, recognizer.blank

    def decode(log_probs: np.ndarray, frame: float, num_best: int = 1) -> list[Hypothesis]:
        return [greedy_decode(log_probs[:, : len(tokens)], tokens, seconds_per_frame=frame, blank=blank)]

    return decode


def beam_decoder(recognizer: Recognizer, options: BeamOptions) -> Decoder:
    """Beam search; see `BeamSearchDecoder`."""
    search, num_tokens = _beam_search(recognizer, options), len(recognizer.tokens)
    lexicon = load_lexicon(recognizer) if options.phone_weight else None

    def decode(log_probs: np.ndarray, frame: float, num_best: int = 1) -> list[Hypothesis]:
        letters, phones = np.split(log_probs, [num_tokens], axis=1)
        opinion: Callable[[Sequence[str]], np.ndarray] | None = None
        if lexicon is not None and phones.shape[1]:

            def opinion(texts: Sequence[str]) -> np.ndarray:
                return options.phone_weight * pronounced(lexicon, phones, texts)

        return search.decode(letters, seconds_per_frame=frame, num_best=num_best, second_opinion=opinion)

    return decode


def load_lexicon(recognizer: Recognizer) -> Lexicon | None:
    """The dictionary of the phones that a recognizer writes, or None if it writes none or has lost it.

    Raises:
        ModelError: If it has other phones than the recognizer.
    """
    if not recognizer.num_phones:
        return None
    from hf_speech.tasks.lexicon import Lexicon  # It needs PyTorch, and transcribing does not.

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
    """Makes sure that a weight of phones has something to weigh.

    Raises:
        ModelError: If the recognizer writes none, or its dictionary is lost.
    """
    if load_lexicon(recognizer) is None:
        lacks = f"has lost its {LEXICON}" if recognizer.num_phones else "writes no phones"
        raise ModelError(
            f"{recognizer.name} {lacks}, so that phone_weight weighs nothing: leave it out, or take a model trained "
            "with text.lexicon, as training left it."
        )


def pronounced(lexicon: Lexicon, log_probs: np.ndarray, texts: Sequence[str]) -> np.ndarray:
    """How probable the pronunciations of some texts are, `(texts,)`: what can be added to the scores of a search.

    Where one has a word of unknown pronunciation, such as a hot word, nothing can be compared, and all get 0.
    """
    if not all(lexicon.knows(text) for text in texts):
        return np.zeros(len(texts))
    return phone_scores(log_probs, [lexicon.encode(text).tolist() for text in texts])


def _beam_search(recognizer: Recognizer, options: BeamOptions) -> BeamSearchDecoder:
    tokens = recognizer.tokens
    return BeamSearchDecoder(
        tokens,
        language_model=options.language_model,
        beam_size=options.beam_size,
        lm_weight=options.lm_weight,
        word_score=options.word_score,
        hot_words=[_as_written(word, tokens, recognizer) for word in options.hot_words],
        hot_word_score=options.hot_word_weight,
        blank=recognizer.blank,
    )


def _as_written(word: str, tokens: list[str], recognizer: Recognizer) -> str:
    """A word as the model writes it: by its normalizer, and in the case of its letters."""
    written = recognizer.normalize(word)
    cases = (written, written.upper(), written.lower())
    return next((case for case in cases if set(case) <= set(tokens)), written)


def heard_in(prediction: Prediction) -> np.ndarray:
    """What a recognizer heard of an utterance that was not skipped, as `Recognizer.hear` gives it."""
    heard = (prediction.logits, prediction.phone_logits)
    return np.concatenate([log_softmax(logits) for logits in heard if logits is not None], axis=1)


def tune_beam(
    loaded: LoadedModel, rows: Dataset, options: BeamOptions, progress: bool = True
) -> tuple[BeamOptions, Tuning]:
    """Finds the weights of a beam search with the lowest word error rate on a split, which must not be the test split.

    Args:
        loaded: A recognizer.
        rows: The validation split.
        options: The language model and the beam's size.
        progress: Whether to show a progress bar.

    Returns:
        The options with the best weights, and all that were tried.

    Raises:
        CorpusError: If the split is empty.
    """
    from hf_speech.inference.prediction import predict

    if not rows:
        raise CorpusError(
            "There is no validation split to find the weights on: give the corpus one, such as by "
            "--validation_fraction 0.1, or give the weights yourself."
        )
    references = loaded.task.references(rows, loaded.model.config, loaded.tokenizer)
    num_tokens, lexicon = len(loaded.tokens), load_lexicon(loaded)
    heard = [
        np.split(heard_in(prediction), [num_tokens], axis=1)
        for prediction in predict(loaded, rows["audio"], progress=progress)
    ]
    phone_weights = PHONE_WEIGHTS if lexicon is not None else (0.0,)
    chosen: dict[tuple[float, float], float] = {}  # the best phone weight of each pair of the others
    bar = tqdm(desc="Tuning", unit="pair of weights", disable=not progress, leave=False)

    def measure(lm_weight: float, word_score: float) -> float:
        search = _beam_search(loaded, dataclasses.replace(options, lm_weight=lm_weight, word_score=word_score))
        records: dict[float, list[Any]] = {weight: [] for weight in phone_weights}
        for reference, (letters, phones) in zip(references, heard, strict=True):
            candidates = search.candidates(letters)
            texts, scores = list(candidates), np.array(list(candidates.values()))
            second = pronounced(lexicon, phones, texts) if lexicon is not None else 0.0
            for weight in phone_weights:
                text = texts[int(np.argmax(scores + weight * second))]
                records[weight].append(loaded.task.score(reference, {"prediction": text, "probability": 1.0}))
        errors = [
            float(loaded.task.metrics_from_counts(loaded.task.tally(records[weight]).sum(axis=0))["wer"])
            for weight in phone_weights
        ]
        lowest = [weight for weight, error in zip(phone_weights, errors, strict=True) if error == min(errors)]
        chosen[lm_weight, word_score] = lowest[len(lowest) // 2]
        bar.update()
        bar.set_postfix(lm_weight=lm_weight, word_score=word_score, wer=f"{min(errors):.2%}")
        return min(errors)

    with bar:
        tuning = tune_decoder(measure)
    pair = (tuning.best.lm_weight, tuning.best.word_score)
    best = dataclasses.replace(options, lm_weight=pair[0], word_score=pair[1], phone_weight=chosen[pair])
    return best, tuning


__all__ = [
    "LANGUAGE_MODEL",
    "BeamOptions",
    "Decoder",
    "beam_decoder",
    "choose_decoder",
    "find_language_model",
    "greedy_decoder",
    "log_softmax",
    "seconds_per_frame",
    "tune_beam",
    "vocabulary",
]
