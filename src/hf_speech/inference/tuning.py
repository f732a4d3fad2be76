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
from hf_speech.inference.beam_options import BeamOptions, PhoneOptions
from hf_speech.inference.decoders import LEXICON, joint_log_probs, load_lexicon, make_search, pronounced, spelled
from hf_speech.inference.prediction import predict
from hf_speech.inference.pytorch import LoadedModel
from hf_speech.tasks.lexicon import Lexicon
from hf_speech.tasks.pronunciation import english_pronunciations

RESCORING_WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0)
"""Rescoring weights to try with each pair of the other weights; this costs almost nothing."""


def tune_beam(loaded: LoadedModel, rows: Dataset, options: BeamOptions) -> tuple[BeamOptions, Tuning]:
    """Finds the weights of a beam search with the lowest word error rate on the validation split.

    For a recognizer that predicts phones, the search over letters and the search over phones are tuned, and the better
    one is chosen.

    Args:
        loaded: A recognizer.
        rows: The validation split.
        options: The language model and the beam size.

    Returns:
        The options with the best weights, and all trials.

    Raises:
        CorpusError: If the split is empty.
    """
    if not rows:
        raise CorpusError(
            "There is no validation split to find the weights on: add one to the corpus, for example with "
            "--validation_fraction 0.1, or set the weights yourself."
        )
    references = loaded.task.references(rows, loaded.model.config, loaded.tokenizer)
    utterances = [
        np.split(joint_log_probs(prediction), [len(loaded.tokens)], axis=1)
        for prediction in predict(loaded, rows["audio"])
    ]
    lexicon = load_lexicon(loaded)
    best, tuning = _tune(loaded, options, lexicon, False, references, utterances)
    if lexicon is not None:
        by_phones, other = _tune(loaded, best, lexicon, True, references, utterances)
        if other.best.error < tuning.best.error:
            return by_phones, other
    return best, tuning


def _tune(
    loaded: LoadedModel,
    options: BeamOptions,
    lexicon: Lexicon | None,
    by_phones: bool,
    references: list[str],
    utterances: list[list[np.ndarray]],
) -> tuple[BeamOptions, Tuning]:
    """Tunes a search over letters rescored with phones, or a search over phones rescored with letters."""
    rescoring = RESCORING_WEIGHTS if lexicon is not None else (0.0,)
    best_rescoring: dict[tuple[float, float], float] = {}  # The best rescoring weight for each pair of other weights.
    bar = progress_bar(desc="Tuning", unit="pair of weights", leave=False)

    def with_weights(lm_weight: float, word_score: float, weight: float) -> BeamOptions:
        if by_phones:
            return dataclasses.replace(options, phones=PhoneOptions(lm_weight, word_score, weight))
        return dataclasses.replace(options, lm_weight=lm_weight, word_score=word_score, phone_weight=weight)

    unweighted = make_search(loaded, with_weights(0.0, 0.0, 0.0), lexicon)

    def measure(lm_weight: float, word_score: float) -> float:
        search = unweighted.with_weights(lm_weight, word_score)
        records: dict[float, list[Any]] = {weight: [] for weight in rescoring}
        for reference, (letters, phones) in zip(references, utterances, strict=True):
            candidates = search.candidates(phones if by_phones else letters)
            texts, scores = list(candidates), np.array(list(candidates.values()))
            added: Any = 0.0
            if by_phones:
                added = spelled(loaded, letters, texts)
            elif lexicon is not None:
                added = pronounced(lexicon, phones, texts)
            for weight in rescoring:
                text = texts[int(np.argmax(scores + weight * added))]
                records[weight].append(loaded.task.score(reference, {"prediction": text, "probability": 1.0}))
        errors = [
            float(loaded.task.metrics_from_counts(loaded.task.tally(records[weight]).sum(axis=0))["wer"])
            for weight in rescoring
        ]
        lowest = [weight for weight, error in zip(rescoring, errors, strict=True) if error == min(errors)]
        best_rescoring[lm_weight, word_score] = lowest[len(lowest) // 2]
        # Without refreshing, because a line for each pair would fill a log.
        bar.set_postfix(lm_weight=lm_weight, word_score=word_score, wer=f"{min(errors):.2%}", refresh=False)
        bar.update()
        return min(errors)

    with bar:
        tuning = tune_decoder(measure)
    pair = (tuning.best.lm_weight, tuning.best.word_score)
    return with_weights(*pair, best_rescoring[pair]), tuning


def add_pronunciations(loaded: LoadedModel, language_model: Path) -> int:
    """Adds the words of a language model to the dictionary of a model that was trained with CMUdict.

    Texts with words that the dictionary lacks cannot be rescored by phones.

    Returns:
        The number of new words in the dictionary.

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
    missing = [word for word in vocabulary if letters.issuperset(word) and not lexicon.covers(word)]
    added = lexicon.extend(english_pronunciations(missing))
    if added:
        lexicon.save(path)
    return added
