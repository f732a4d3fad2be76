"""Finds the beam search weights with the lowest word error rate on the validation split."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from datasets import Dataset

from hf_speech.common.progress import progress_bar
from hf_speech.decoding import Tuning, tune_decoder
from hf_speech.decoding.ngram import NgramModel
from hf_speech.errors import CorpusError
from hf_speech.inference.beam_options import BeamOptions
from hf_speech.inference.decoders import LEXICON, joint_log_probs, load_lexicon, make_search, pronounced
from hf_speech.inference.prediction import predict
from hf_speech.inference.pytorch import LoadedModel
from hf_speech.tasks.pronunciation import english_pronunciations

PHONE_WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0)
"""All of them are tried with each pair of the other weights, at almost no cost."""


def tune_beam(
    loaded: LoadedModel, rows: Dataset, options: BeamOptions, progress: bool = True
) -> tuple[BeamOptions, Tuning]:
    """Find the weights of a beam search with the lowest word error rate on a split, which must not be the test split.

    Args:
        loaded: A recognizer.
        rows: The validation split.
        options: The language model and the size of the beam.
        progress: Whether to show a progress bar.

    Returns:
        The options with the best weights, and all trials.

    Raises:
        CorpusError: If the split is empty.
    """
    if not rows:
        raise CorpusError(
            "There is no validation split to find the weights on: give the corpus one, such as by "
            "--validation_fraction 0.1, or give the weights yourself."
        )
    references = loaded.task.references(rows, loaded.model.config, loaded.tokenizer)
    num_tokens, lexicon = len(loaded.tokens), load_lexicon(loaded)
    utterances = [
        np.split(joint_log_probs(prediction), [num_tokens], axis=1)
        for prediction in predict(loaded, rows["audio"], progress=progress)
    ]
    phone_weights = PHONE_WEIGHTS if lexicon is not None else (0.0,)
    chosen: dict[tuple[float, float], float] = {}  # the best phone weight for each pair of the others
    bar = progress_bar(desc="Tuning", unit="pair of weights", disable=not progress, leave=False)

    def measure(lm_weight: float, word_score: float) -> float:
        search = make_search(loaded, dataclasses.replace(options, lm_weight=lm_weight, word_score=word_score))
        records: dict[float, list[Any]] = {weight: [] for weight in phone_weights}
        for reference, (letters, phones) in zip(references, utterances, strict=True):
            candidates = search.candidates(letters)
            texts, scores = list(candidates), np.array(list(candidates.values()))
            added = pronounced(lexicon, phones, texts) if lexicon is not None else 0.0
            for weight in phone_weights:
                text = texts[int(np.argmax(scores + weight * added))]
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


def add_pronunciations(loaded: LoadedModel, language_model: Path) -> int:
    """Add the words of a language model to the dictionary in the folder of a model that was trained with CMUdict.

    A text with a word that the dictionary lacks cannot be rescored by its phones.

    Returns:
        The number of words that are new in the dictionary.

    Raises:
        RecipeError: If the packages of English pronunciations are not installed.
    """
    lexicon, recipe, path = load_lexicon(loaded), loaded.find_file("recipe.yaml"), loaded.find_file(LEXICON)
    if lexicon is None or recipe is None or path is None:
        return 0
    if (yaml.safe_load(recipe.read_text(encoding="utf-8")).get("text") or {}).get("lexicon") != "cmudict":
        return 0
    letters = set(loaded.tokens)
    vocabulary = NgramModel.load(language_model, max_order=1).vocabulary
    missing = [word for word in vocabulary if letters.issuperset(word) and not lexicon.knows(word)]
    added = lexicon.extend(english_pronunciations(missing))
    if added:
        lexicon.save(path)
    return added
