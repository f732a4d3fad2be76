"""The options of a beam search, and the file that stores them next to a language model.

`hf-speech tune-decoder` tunes the weights for `lm.arpa` on the validation split and writes them to `lm.decoder.json`.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_speech.common.files import write_json
from hf_speech.common.fingerprint import LANGUAGE_MODELS
from hf_speech.decoding.beam import check_settings
from hf_speech.errors import ModelError
from hf_speech.inference.recognizer import Recognizer


@dataclass(frozen=True)
class PhoneOptions:
    """Options of a beam search over phones that rescores hypotheses with the letters.

    Attributes:
        lm_weight: Weight of the language model's log probability.
        word_score: Bonus for each word.
        letter_weight: Weight of the log probability of a text's letters.

    Raises:
        HFSpeechError: If a number is out of range.
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
    """Options of a beam search.

    Attributes:
        language_model: An n-gram file, whose words limit the search; None allows any sequence of characters.
        lm_weight: Weight of the language model's log probability.
        word_score: Bonus for each word.
        phone_weight: Weight of the log probability of a text's phones, for rescoring hypotheses if the recognizer
            predicts phones and has a dictionary.
        beam_size: Number of hypotheses to keep at each frame.
        hot_words: Words to favor, in upper or lower case.
        hot_word_weight: Bonus for each hot word, a natural logarithm: 5 makes a word 150 times as likely.
        phones: Options for searching over phones instead of letters.

    Raises:
        HFSpeechError: If a number is out of range.
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
        """Returns the path of the file with the tuned weights of a language model."""
        return language_model.with_suffix(".decoder.json")

    @classmethod
    def beside(cls, language_model: Path | None, **given: Any) -> BeamOptions:
        """Returns the tuned options of a language model, if any, overridden by the given options.

        Giving a weight selects the search over letters.

        Raises:
            ModelError: If the language model does not exist, or the file next to it has no weights.
            HFSpeechError: If a given number is out of range.
        """
        overrides = {name: value for name, value in given.items() if value is not None}
        if language_model is None:
            if "lm_weight" in overrides:
                raise ModelError("lm_weight needs a language model: set language_model.")
            return cls(None, **overrides)
        if not language_model.is_file():
            raise ModelError(f"There is no language model {language_model}: build one with hf-speech build-lm.")
        tuned = cls(language_model)
        if (path := cls.file(language_model)).is_file():
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
                weights = {name: content[name] for name in ("lm_weight", "word_score", "beam_size")}
                phones = PhoneOptions(**content["phones"]) if content.get("phones") else None
                tuned = cls(language_model, phone_weight=content.get("phone_weight", 0.0), phones=phones, **weights)
            except (ValueError, KeyError, TypeError) as error:
                raise ModelError(
                    f"{path} has no weights of a beam search: run hf-speech tune-decoder again."
                ) from error
        if not overrides.keys().isdisjoint(("lm_weight", "word_score", "phone_weight")):
            tuned = dataclasses.replace(tuned, phones=None)
        return dataclasses.replace(tuned, **overrides)

    def save(self, **origin: str) -> Path:
        """Writes the options and their origin next to the language model.

        Args:
            **origin: Further entries of the file, such as the corpus.

        Returns:
            The written file.

        Raises:
            ModelError: If there is no language model.
            FileError: If the file cannot be written.
        """
        if self.language_model is None:
            raise ModelError("Options are saved next to a language model, but there is none: set language_model.")
        path = self.file(self.language_model)
        write_json(path, self.describe() | origin)
        return path

    def describe(self) -> dict[str, Any]:
        """Returns the options in use as plain data, with the file name of the language model."""
        options = dataclasses.asdict(self)
        if not self.hot_words:
            del options["hot_words"], options["hot_word_weight"]
        if not self.phone_weight:
            del options["phone_weight"]
        if self.phones is None:
            del options["phones"]
        return options | {"language_model": None if self.language_model is None else self.language_model.name}


def find_language_model(recognizer: Recognizer) -> Path | None:
    """Returns the language model in a model's folder or repository, or None. Also downloads its tuned weights."""
    path = next(filter(None, map(recognizer.find_file, LANGUAGE_MODELS)), None)
    if path is not None:
        recognizer.find_file(BeamOptions.file(path).name)
    return path
