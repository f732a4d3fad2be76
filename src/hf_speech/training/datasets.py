"""Creates the datasets of a recipe: the augmented training split or stream, and the validation split."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import torch
from accelerate import PartialState
from datasets import Dataset, DatasetDict

from hf_speech.data.copies import multiply
from hf_speech.data.corpora import Corpus, Mixture, RowStream
from hf_speech.data.dataset import SpeechDataset, count_variants
from hf_speech.data.first_pass import FirstPass
from hf_speech.data.shares import ShareDraw
from hf_speech.data.stream import Admission, SpeechStream
from hf_speech.errors import RecipeError
from hf_speech.models import SpeechFeatureExtractor
from hf_speech.training.recipe import Recipe


def make_datasets(
    recipe: Recipe,
    extractor: SpeechFeatureExtractor,
    corpus: DatasetDict,
    tokenizer: Any = None,
    lexicon: Any = None,
    stream: SpeechStream | None = None,
    first_pass: FirstPass | None = None,
) -> dict[str, SpeechDataset | SpeechStream]:
    """Creates the training split (augmented, with its copies, or a stream) and, if there is one, the validation split.

    Raises:
        RecipeError: If options of the recipe contradict each other or the corpus.
    """
    if recipe.augmentation.joining and not recipe.task.can_join:
        raise RecipeError(f"Joined utterances have no target in {recipe.task.name}: set augmentation.joining to 0.")
    if recipe.training.cache_features:
        count_variants(recipe.augmentation)  # Raises an error for augmentation that cannot be cached.
    train, validation = corpus["train"], corpus["validation"]
    if (tempos := recipe.augmentation.tempo_copies) or recipe.augmentation.pitch_copies:
        pitches = recipe.augmentation.pitch_copies or [0.0]
        train = multiply(train, extractor.sampling_rate, tempos or [1.0], pitches, first_pass)
    shares = shares_of(recipe.corpus, train)
    if shares is not None and recipe.training.max_batch_seconds is not None:
        raise RecipeError(
            "training.max_batch_seconds composes batches once, but corpora with weights draw other utterances in every "
            "epoch: omit the weights (and temperature), or set training.per_device_train_batch_size instead."
        )

    seed = recipe.training.seed
    make = functools.partial(
        SpeechDataset,
        sampling_rate=extractor.sampling_rate,
        encode_target=functools.partial(recipe.task.encode_target, tokenizer=tokenizer),
        seed=seed,
        join_targets=functools.partial(recipe.task.join_targets, tokenizer=tokenizer),
        min_samples=extractor.min_samples,
        first_pass=first_pass,
    )
    datasets: dict[str, SpeechDataset] = {}
    if stream is None and len(train):
        datasets["train"] = make(
            train,
            augmentation=recipe.augmentation,
            encode_phones=None if lexicon is None else functools.partial(_encode_phones, recipe, lexicon),
            draw=None if shares is None else ShareDraw(train["corpus"], shares, seed),
        )
        if recipe.augmentation.joining and not datasets["train"].can_join:
            raise RecipeError(
                "augmentation.joining needs speakers with at least two utterances, and the corpus has none: add the "
                "speakers to the corpus, or set augmentation.joining to 0."
            )
    if len(validation):
        datasets["validation"] = make(validation)
    for split, dataset in datasets.items():
        if recipe.training.cache_features:
            dataset.cache_features(extractor, f"Computing the features of {split}")
        else:
            dataset.keep_decoded(f"Reading {split}")
    return dict(datasets) if stream is None else {"train": stream, **datasets}


def shares_of(corpus: Corpus, rows: Dataset) -> dict[str, float] | None:
    """Returns the share of an epoch of each corpus in a mixture, or None if every row occurs once."""
    if not isinstance(corpus, Mixture):
        return None
    return corpus.shares(Counter(rows["corpus"]))


def make_stream(
    recipe: Recipe,
    source: RowStream,
    extractor: SpeechFeatureExtractor,
    state: PartialState,
    frames_of: Callable[[float], int],
    tokenizer: Any = None,
    lexicon: Any = None,
) -> SpeechStream:
    """Creates this process's part of a training split that is streamed.

    Raises:
        RecipeError: If an option needs the whole split in advance, or `training.max_steps` is not set.
    """
    options, corpus, augmentation = recipe.training, recipe.corpus, recipe.augmentation
    if options.max_steps <= 0:
        raise RecipeError("A stream has no epochs: set training.max_steps to the number of steps.")
    for key, value in (
        ("augmentation.joining", augmentation.joining),
        ("augmentation.tempo_copies", augmentation.tempo_copies),
        ("augmentation.pitch_copies", augmentation.pitch_copies),
        ("training.cache_features", options.cache_features),
        ("training.teacher", options.encoder_teacher()),
        ("training.max_batch_seconds", options.max_batch_seconds),
        ("training.unfreeze_every", options.unfreeze_every),
    ):
        if value:
            raise RecipeError(f"{key} needs all utterances in advance, which a stream cannot provide: omit it.")
    task = recipe.task
    examine = functools.partial(task.examine_target, frames_of=frames_of, tokenizer=tokenizer, options=recipe.text)
    encode_phones = None if lexicon is None else functools.partial(_encode_phones, recipe, lexicon)
    return SpeechStream(
        source,
        extractor.sampling_rate,
        functools.partial(task.encode_target, tokenizer=tokenizer),
        Admission(corpus.limits, corpus.bad_rows, examine),
        augmentation,
        options.seed,
        batch_size=options.per_device_train_batch_size,
        **({} if options.group_by_length else {"window": 1}),
        process=(state.process_index, state.num_processes),
        encode_phones=encode_phones,
        min_samples=extractor.min_samples,
    )


def _encode_phones(recipe: Recipe, lexicon: Any, row: Mapping[str, Any]) -> torch.Tensor:
    """Returns the phone ids of a row's transcript."""
    phones: torch.Tensor = lexicon.encode(recipe.text.normalize(row[recipe.task.target_column]))
    return phones
