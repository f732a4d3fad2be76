"""Ways from a recogniser's log-probabilities to text, as `transcribe` and `evaluate` use them.

The best path needs nothing but the model. Beam search needs a language model, an ARPA file, and two weights, which
`hf-speech tune-decoder` finds on the validation split and writes beside it: `lm.arpa` has them in `lm.decoder.json`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from tqdm.auto import tqdm

from hf_speech.decoding import BeamSearchDecoder, Hypothesis, Tuning, greedy_decode, tune_decoder
from hf_speech.errors import ModelError
from hf_speech.evaluation.inference import predict
from hf_speech.evaluation.loading import LoadedModel

Decoder = Callable[[np.ndarray, float], Hypothesis]
"""From log-probabilities `(frames, vocabulary)` and seconds a frame to a hypothesis."""


@dataclass(frozen=True)
class BeamOptions:
    """A beam search with a language model.

    Attributes:
        language_model: The ARPA file; its words are the lexicon.
        lm_weight: Weight of the language model's log-probability.
        word_score: Added for every word.
        beam_size: Hypotheses kept at every frame.
    """

    language_model: Path
    lm_weight: float = 0.5
    word_score: float = 0.0
    beam_size: int = 100

    @staticmethod
    def file(language_model: Path) -> Path:
        """Where the tuned weights of a language model lie."""
        return language_model.with_suffix(".decoder.json")

    @classmethod
    def beside(cls, language_model: Path, **given: Any) -> BeamOptions:
        """The options tuned for a language model, where they lie beside it, and those that are given instead.

        Raises:
            ModelError: If the language model does not exist, or what lies beside it are no options.
        """
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
        chosen = {name: value for name, value in given.items() if value is not None}
        return cls(language_model, **(tuned | chosen))

    def save(self, **origin: str) -> Path:
        """Writes the options beside the language model, with what they come from, and returns the file."""
        path = self.file(self.language_model)
        path.write_text(json.dumps(self.describe() | origin, indent=2) + "\n", encoding="utf-8")
        return path

    def describe(self) -> dict[str, Any]:
        """The options as plain data, with the language model's name for its path."""
        return dataclasses.asdict(self) | {"language_model": self.language_model.name}


def seconds_per_frame(loaded: LoadedModel) -> float:
    """Seconds that a logit frame of the model spans."""
    return float(loaded.model.config.inputs_to_logits_ratio / loaded.sampling_rate)


def vocabulary(loaded: LoadedModel) -> list[str]:
    """The model's tokens in the order of their ids.

    Raises:
        ModelError: If the model is no recogniser.
    """
    if loaded.tokenizer is None:
        raise ModelError(f"{loaded.name} is a model for {loaded.task.name}: give one for speech recognition.")
    return list(loaded.tokenizer.convert_ids_to_tokens(range(loaded.model.config.vocab_size)))


def greedy_decoder(loaded: LoadedModel) -> Decoder:
    """Decoding along the best path, with the model's own tokens."""
    tokens, blank = vocabulary(loaded), loaded.model.config.pad_token_id

    def decode(log_probs: np.ndarray, frame: float) -> Hypothesis:
        return greedy_decode(log_probs, tokens, seconds_per_frame=frame, blank=blank)

    return decode


def beam_decoder(loaded: LoadedModel, options: BeamOptions) -> Decoder:
    """Beam search with an n-gram language model; see `BeamSearchDecoder`."""
    search = BeamSearchDecoder(
        vocabulary(loaded),
        language_model=options.language_model,
        beam_size=options.beam_size,
        lm_weight=options.lm_weight,
        word_score=options.word_score,
        blank=loaded.model.config.pad_token_id,
    )

    def decode(log_probs: np.ndarray, frame: float) -> Hypothesis:
        return search.decode(log_probs, seconds_per_frame=frame)[0]

    return decode


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Logits to log-probabilities, float32."""
    log_probs: np.ndarray = torch.from_numpy(logits).float().log_softmax(dim=-1).numpy()
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
    references = loaded.task.references(rows, loaded.model.config, loaded.tokenizer)
    frame = seconds_per_frame(loaded)
    predictions = predict(loaded, rows["audio"], progress=progress)
    heard = [log_softmax(prediction.logits) for prediction in predictions if prediction.logits is not None]
    bar = tqdm(desc="Tuning", unit="pair of weights", disable=not progress, leave=False)

    def measure(lm_weight: float, word_score: float) -> float:
        decode = beam_decoder(loaded, dataclasses.replace(options, lm_weight=lm_weight, word_score=word_score))
        records = [
            loaded.task.score(reference, {"prediction": decode(log_probs, frame).text, "probability": 1.0})
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
    "BeamOptions",
    "Decoder",
    "beam_decoder",
    "greedy_decoder",
    "log_softmax",
    "seconds_per_frame",
    "tune_beam",
    "vocabulary",
]
