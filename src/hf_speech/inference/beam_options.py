"""The options of a beam search, and the file that keeps them next to a language model.

`hf-speech tune-decoder` finds the weights for `lm.arpa` on the validation split and writes them to `lm.decoder.json`.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_speech.common.files import write_json
from hf_speech.common.fingerprint import LANGUAGE_MODEL, LANGUAGE_MODELS
from hf_speech.decoding.beam import check_settings
from hf_speech.errors import ModelError
from hf_speech.inference.recognizer import Recognizer


@dataclass(frozen=True)
class PhoneOptions:
    """A beam search over phones, whose texts are rescored with the letters.

    Attributes:
        lm_weight: Weight of the language model's log-probability.
        word_score: Added for each word.
        letter_weight: Weight of the log-probability of a text's letters.

    Raises:
        HFSpeechError: If a number is out of its range.
    """

    lm_weight: float
    word_score: float
    letter_weight: float

    def __post_init__(self) -> None:
        check_settings(
            beam_size=1, lm_weight=self.lm_weight, word_score=self.word_score, letter_weight=self.letter_weight
        )


@dataclass(frozen=True)
class BeamOptions:
    """A beam search.

    Attributes:
        language_model: A file of n-grams, the words of which can be recognized; None for any sequence of characters.
        lm_weight: Weight of the language model's log-probability.
        word_score: Added for each word.
        phone_weight: Weight of the log-probability of a text's phones, with which hypotheses are rescored if the
            recognizer predicts phones and has its dictionary.
        beam_size: Hypotheses kept at each frame.
        hot_words: Words to prefer, in upper or lower case.
        hot_word_weight: Added for each hot word, a natural logarithm: 5 makes a word 150 times as likely.
        phones: Searches by phones instead of letters, with weights of its own.

    Raises:
        HFSpeechError: If a number is out of its range.
    """

    language_model: Path | None = None
    lm_weight: float = 0.5
    word_score: float = 0.0
    phone_weight: float = 0.0
    beam_size: int = 100
    hot_words: tuple[str, ...] = ()
    hot_word_weight: float = 5.0
    phones: PhoneOptions | None = None

    def __post_init__(self) -> None:
        check_settings(
            beam_size=self.beam_size,
            lm_weight=self.lm_weight,
            word_score=self.word_score,
            phone_weight=self.phone_weight,
            hot_word_weight=self.hot_word_weight,
        )

    @property
    def uses_lexicon(self) -> bool:
        """Whether texts depend on the pronouncing dictionary."""
        return self.phone_weight != 0 or self.phones is not None

    @staticmethod
    def file(language_model: Path) -> Path:
        """Return the file with the tuned weights of a language model."""
        return language_model.with_suffix(".decoder.json")

    @classmethod
    def beside(cls, language_model: Path | None, **given: Any) -> BeamOptions:
        """Return the options that were tuned for a language model, if there are any, except for those that are given.

        Weights that are given are those of a search by letters, and choose it.

        Raises:
            ModelError: If the language model does not exist, or the file next to it does not have weights.
            HFSpeechError: If a given number is out of its range.
        """
        chosen = {name: value for name, value in given.items() if value is not None}
        if language_model is None:
            if "lm_weight" in chosen:
                raise ModelError("There is no language model that lm_weight could weigh: give one as language_model.")
            return cls(None, **chosen)
        if not language_model.is_file():
            raise ModelError(f"There is no language model {language_model}: make one with hf-speech build-lm.")
        tuned = cls(language_model)
        if (path := cls.file(language_model)).is_file():
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
                weights = {name: content[name] for name in ("lm_weight", "word_score", "beam_size")}
                phones = PhoneOptions(**content["phones"]) if content.get("phones") else None
                tuned = cls(language_model, phone_weight=content.get("phone_weight", 0.0), phones=phones, **weights)
            except (ValueError, KeyError, TypeError) as error:
                raise ModelError(
                    f"{path} does not have the weights of a beam search: run hf-speech tune-decoder again."
                ) from error
        if not chosen.keys().isdisjoint(("lm_weight", "word_score", "phone_weight")):
            tuned = dataclasses.replace(tuned, phones=None)
        return dataclasses.replace(tuned, **chosen)

    def save(self, **origin: str) -> Path:
        """Write the options, and where they come from, next to the language model; return the file.

        Raises:
            ModelError: If there is no language model.
            FileError: If the file cannot be written.
        """
        if self.language_model is None:
            raise ModelError("A search without a language model has no place to be saved: give a language model.")
        path = self.file(self.language_model)
        write_json(path, self.describe() | origin)
        return path

    def describe(self) -> dict[str, Any]:
        """Return the options as plain data: the language model by its name, and only what is in use."""
        options = dataclasses.asdict(self)
        if not self.hot_words:
            del options["hot_words"], options["hot_word_weight"]
        if not self.phone_weight:
            del options["phone_weight"]
        if self.phones is None:
            del options["phones"]
        return options | {"language_model": None if self.language_model is None else self.language_model.name}


def find_language_model(recognizer: Recognizer) -> Path | None:
    """Return the language model in a model's folder or repository, or None; its weights are downloaded with it."""
    found = next(filter(None, map(recognizer.find_file, LANGUAGE_MODELS)), None)
    if found is not None:
        recognizer.find_file(BeamOptions.file(found).name)
    return found


__all__ = ["LANGUAGE_MODEL", "BeamOptions", "PhoneOptions", "find_language_model"]
