"""Ways from a recogniser's log-probabilities to text, as `transcribe` and `evaluate` use them.

The best path needs nothing but the model. Beam search prefers what a language model, an ARPA file, and hot words make
likely. Its two weights are those that `hf-speech tune-decoder` finds on the validation split and writes beside the
language model: `lm.arpa` has them in `lm.decoder.json`. Without a language model it is still the way to hot words and
to more than one hypothesis.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from tqdm.auto import tqdm

from hf_speech.decoding import BeamSearchDecoder, Hypothesis, Tuning, greedy_decode, tune_decoder
from hf_speech.errors import ModelError
from hf_speech.evaluation.recogniser import Recogniser

if TYPE_CHECKING:
    from datasets import Dataset

    from hf_speech.evaluation.loading import LoadedModel

LANGUAGE_MODEL = "language_model.arpa"
"""The name under which a model folder holds its language model."""


class Decoder(Protocol):
    """From log-probabilities `(frames, vocabulary)` and seconds a frame to at least one hypothesis, the best first."""

    def __call__(self, log_probs: np.ndarray, frame: float, num_best: int = 1) -> list[Hypothesis]:
        """Decodes the log-probabilities of one utterance."""
        ...


@dataclass(frozen=True)
class BeamOptions:
    """A beam search.

    Attributes:
        language_model: The ARPA file; its words are the lexicon. Without one any sequence of characters is.
        lm_weight: Weight of the language model's log-probability.
        word_score: Added for every word.
        beam_size: Hypotheses kept at every frame.
        hot_words: Words to prefer, in upper or lower case.
        hot_word_weight: Added for every hot word, a natural logarithm: 5 makes one 150 times as likely.
    """

    language_model: Path | None = None
    lm_weight: float = 0.5
    word_score: float = 0.0
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
        return options | {"language_model": None if self.language_model is None else self.language_model.name}


def find_language_model(recogniser: Recogniser) -> Path | None:
    """The language model that a model brings, if there is one: in its folder, or in its repository on the Hub.

    The weights tuned for it are fetched along with it.
    """
    found = [recogniser.find_file(name) for name in (LANGUAGE_MODEL, BeamOptions.file(Path(LANGUAGE_MODEL)).name)]
    return found[0]


def choose_decoder(
    recogniser: Recogniser,
    language_model: Path | None = None,
    hot_words: str | None = None,
    num_best: int = 1,
    **given: Any,
) -> Decoder:
    """The decoder that the options of a command line ask for: the best path if there are none.

    Args:
        recogniser: A recogniser.
        language_model: An ARPA file, or `auto` for the one that the model brings.
        hot_words: Words to prefer, separated by commas.
        num_best: How many hypotheses are wanted: more than one takes a search.
        given: Further `BeamOptions`; those that are None are not given.

    Raises:
        ModelError: If the model brings no language model, or the options contradict each other.
    """
    given = {name: value for name, value in given.items() if value is not None}
    if language_model is not None and str(language_model) == "auto":
        language_model = find_language_model(recogniser)
        if language_model is None:
            raise ModelError(
                f"{recogniser.name} brings no {LANGUAGE_MODEL}: make one with hf-speech build-lm, and give its path."
            )
    if hot_words is not None:
        given["hot_words"] = tuple(word.strip() for word in hot_words.split(",") if word.strip())
        if not given["hot_words"]:
            raise ModelError("There is no word among the hot words: separate them by commas, as in 'MARY,ZIP'.")
    elif "hot_word_weight" in given:
        raise ModelError("There are no hot words for the hot_word_weight: give some as hot_words.")
    if language_model is None and not given and num_best == 1:
        return greedy_decoder(recogniser)
    return beam_decoder(recogniser, BeamOptions.beside(language_model, **given))


def seconds_per_frame(recogniser: Recogniser) -> float:
    """Seconds that a logit frame of the model spans."""
    return recogniser.samples_per_frame / recogniser.sampling_rate


def vocabulary(recogniser: Recogniser) -> list[str]:
    """The model's tokens in the order of their ids.

    Raises:
        ModelError: If the model is no recogniser.
    """
    return recogniser.tokens


def greedy_decoder(recogniser: Recogniser) -> Decoder:
    """Decoding along the best path, with the model's own tokens."""
    tokens, blank = recogniser.tokens, recogniser.blank

    def decode(log_probs: np.ndarray, frame: float, num_best: int = 1) -> list[Hypothesis]:
        return [greedy_decode(log_probs, tokens, seconds_per_frame=frame, blank=blank)]

    return decode


def beam_decoder(recogniser: Recogniser, options: BeamOptions) -> Decoder:
    """Beam search; see `BeamSearchDecoder`."""
    tokens = recogniser.tokens
    search = BeamSearchDecoder(
        tokens,
        language_model=options.language_model,
        beam_size=options.beam_size,
        lm_weight=options.lm_weight,
        word_score=options.word_score,
        hot_words=[_as_written(word, tokens, recogniser) for word in options.hot_words],
        hot_word_score=options.hot_word_weight,
        blank=recogniser.blank,
    )

    def decode(log_probs: np.ndarray, frame: float, num_best: int = 1) -> list[Hypothesis]:
        return search.decode(log_probs, seconds_per_frame=frame, num_best=num_best)

    return decode


def _as_written(word: str, tokens: list[str], recogniser: Recogniser) -> str:
    """A word as the model writes it: by its normaliser, and in the case of its letters."""
    written = recogniser.normalize(word)
    cases = (written, written.upper(), written.lower())
    return next((case for case in cases if set(case) <= set(tokens)), written)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Logits to log-probabilities, float32."""
    shifted = logits.astype(np.float32) - logits.max(axis=-1, keepdims=True)
    log_probs: np.ndarray = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return log_probs


def tune_beam(
    loaded: LoadedModel, rows: Dataset, options: BeamOptions, progress: bool = True
) -> tuple[BeamOptions, Tuning]:
    """Finds the weights of a beam search with the lowest word error rate on a split, which must not be the test split.

    Args:
        loaded: A recogniser.
        rows: The validation split.
        options: The language model and the beam's size.
        progress: Whether to show a progress bar.

    Returns:
        The options with the best weights, and all that were tried.
    """
    from hf_speech.evaluation.inference import predict

    references = loaded.task.references(rows, loaded.model.config, loaded.tokenizer)
    frame = seconds_per_frame(loaded)
    predictions = predict(loaded, rows["audio"], progress=progress)
    heard = [log_softmax(prediction.logits) for prediction in predictions if prediction.logits is not None]
    bar = tqdm(desc="Tuning", unit="pair of weights", disable=not progress, leave=False)

    def measure(lm_weight: float, word_score: float) -> float:
        decode = beam_decoder(loaded, dataclasses.replace(options, lm_weight=lm_weight, word_score=word_score))
        records = [
            loaded.task.score(reference, {"prediction": decode(log_probs, frame)[0].text, "probability": 1.0})
            for reference, log_probs in zip(references, heard, strict=True)
        ]
        error = float(loaded.task.metrics_from_counts(loaded.task.tally(records).sum(axis=0))["wer"])
        bar.update()
        bar.set_postfix(lm_weight=lm_weight, word_score=word_score, wer=f"{error:.2%}")
        return error

    with bar:
        tuning = tune_decoder(measure)
    best = dataclasses.replace(options, lm_weight=tuning.best.lm_weight, word_score=tuning.best.word_score)
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
