"""From a recipe to everything that training needs, tried before the first step: corpus, extractor, model, datasets."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import PartialState
from datasets import DatasetDict
from huggingface_hub.errors import StrictDataclassError
from transformers import CONFIG_MAPPING, PreTrainedModel

from hf_speech.data.audio import read_audio
from hf_speech.data.copies import multiply
from hf_speech.data.corpora import RowStream
from hf_speech.data.dataset import SpeechDataset, count_variants
from hf_speech.data.inspection import InspectionReport, inspect_corpus
from hf_speech.data.stream import Admission, SpeechStream
from hf_speech.errors import RecipeError
from hf_speech.models import SpeechFeatureExtractor
from hf_speech.training.recipe import Recipe


def process_state() -> PartialState:
    """This process among those that were launched together; without accelerators they talk through gloo."""
    # Left to itself, accelerate takes processes without accelerators for strangers who each train alone.
    return PartialState(cpu=not torch.accelerator.is_available())


@dataclass
class Parts:
    """What a recipe is made into before training.

    Attributes:
        corpus: The inspected splits.
        extractor: The feature extractor, fitted where it has to be.
        tokenizer: What makes ids of text, for a task that has text.
        lexicon: How words are pronounced, where the recipe has a dictionary.
        model: The model, with fresh weights at first.
        datasets: The training split (augmented; maybe a stream) and, if there is one, the validation split (as it is).
    """

    corpus: DatasetDict
    extractor: SpeechFeatureExtractor
    tokenizer: Any
    lexicon: Any
    model: PreTrainedModel
    datasets: dict[str, SpeechDataset | SpeechStream]


def prepare(recipe: Recipe, state: PartialState | None = None) -> tuple[Parts, InspectionReport]:
    """Makes everything that training needs, and with it tries all that could go wrong.

    Args:
        recipe: A resolved recipe.
        state: This process among others.

    Returns:
        The parts, and what was found in the corpus.

    Raises:
        HFSpeechError: On whatever is wrong with recipe or corpus.
    """
    state = state or process_state()
    # The first process builds caches, the others find them.
    with state.main_process_first():
        corpus = recipe.corpus.load()
        recipe.task.check_columns(corpus)
        extractor = make_feature_extractor(recipe)
        corpus, report = inspect_corpus(corpus, recipe.corpus, extractor.sampling_rate)
    if not corpus["validation"]:
        recipe.training.check_without_validation()
    tokenizer = recipe.task.make_tokenizer(corpus, recipe.text)
    lexicon = recipe.task.load_lexicon(corpus, recipe.text, recipe.corpus.lexicon())
    model = make_model(recipe, extractor, corpus, tokenizer, lexicon)

    frames_of = functools.partial(_logit_frames, model, extractor)
    corpus = recipe.task.inspect_targets(
        corpus,
        report,
        bad_rows=recipe.corpus.bad_rows,
        frames_of=frames_of,
        tokenizer=tokenizer,
        options=recipe.text,
    )
    fit_feature_extractor(extractor, corpus)
    class_names = recipe.task.target_groups(corpus["train"])
    stream: SpeechStream | None = None
    if (source := recipe.corpus.train_stream(class_names)) is not None:
        stream = make_stream(recipe, source, extractor.sampling_rate, state, frames_of, tokenizer, lexicon)
        report.warnings.append(
            f"Training reads the whole split train from the stream, of which these {len(corpus['train']):,} utterances "
            "are a sample."
        )
    datasets = make_datasets(recipe, extractor, corpus, tokenizer, lexicon, stream)
    return Parts(corpus, extractor, tokenizer, lexicon, model, datasets), report


def make_feature_extractor(recipe: Recipe) -> SpeechFeatureExtractor:
    """Makes the recipe's feature extractor.

    Raises:
        RecipeError: If the extractor refuses the section's values.
    """
    try:
        return SpeechFeatureExtractor(**recipe.features)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"The recipe's section features: {error}") from error


def fit_feature_extractor(extractor: SpeechFeatureExtractor, corpus: DatasetDict) -> None:
    """Fits global statistics, where the extractor normalizes by them, on the training split alone."""
    if extractor.normalization == "global":
        rows = corpus["train"]["audio"]
        extractor.fit_global_statistics(read_audio(audio, extractor.sampling_rate) for audio in rows)


def make_model(
    recipe: Recipe,
    extractor: SpeechFeatureExtractor,
    corpus: DatasetDict,
    tokenizer: Any = None,
    lexicon: Any = None,
) -> PreTrainedModel:
    """Makes the recipe's model with fresh weights, fitted to the extractor's features and the corpus's targets.

    Raises:
        RecipeError: If the configuration refuses the section's values.
    """
    config_class = CONFIG_MAPPING[recipe.model_type]
    derived = {
        "input_size": extractor.feature_size,
        "hop_length": extractor.hop_length,
        "num_deltas": extractor.num_deltas,
    }
    if lexicon is not None:
        if not recipe.model.get("intermediate_ctc_weight"):
            raise RecipeError(
                "text.lexicon teaches the middle layer alone: set model.intermediate_ctc_weight, say to 0.3."
            )
        derived["num_phones"] = lexicon.num_ids
    fitting = {name: value for name, value in derived.items() if name in inspect.signature(config_class).parameters}
    try:
        config = config_class(**recipe.model, **recipe.task.config_arguments(corpus, tokenizer), **fitting)
    except (StrictDataclassError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise RecipeError(f"The recipe's section model: {reason}") from error
    config.task = recipe.task.name
    model: PreTrainedModel = recipe.task.auto_model_class.from_config(config)
    return model


def make_datasets(
    recipe: Recipe,
    extractor: SpeechFeatureExtractor,
    corpus: DatasetDict,
    tokenizer: Any = None,
    lexicon: Any = None,
    stream: SpeechStream | None = None,
) -> dict[str, SpeechDataset | SpeechStream]:
    """Makes the training split (with its copies, augmented; or a stream), and a validation split (as it is) if any."""
    if recipe.augmentation.joining and not recipe.task.can_join:
        raise RecipeError(
            f"Two utterances have no target together in {recipe.task.name}: set augmentation.joining to 0."
        )
    if recipe.training.cache_features:
        count_variants(recipe.augmentation)  # Refuses what cannot be kept, before copies are made.
    encode_target = functools.partial(recipe.task.encode_target, tokenizer=tokenizer)
    join_targets = functools.partial(recipe.task.join_targets, tokenizer=tokenizer)

    rows = {split: corpus[split] for split in ("train", "validation")}
    if (tempos := recipe.augmentation.tempo_copies) or recipe.augmentation.pitch_copies:
        pitches = recipe.augmentation.pitch_copies or [0.0]
        rows["train"] = multiply(rows["train"], extractor.sampling_rate, tempos or [1.0], pitches)
    datasets: dict[str, SpeechDataset | SpeechStream] = {}
    for split, augmentation in (("train", recipe.augmentation), ("validation", None)):
        if split == "train" and stream is not None:
            datasets[split] = stream
            continue
        if not rows[split]:
            continue
        datasets[split] = dataset = SpeechDataset(
            rows[split],
            extractor.sampling_rate,
            encode_target,
            augmentation,
            recipe.training.seed,
            encode_phones=(
                functools.partial(_encode_phones, recipe, lexicon) if lexicon is not None and split == "train" else None
            ),
            join_targets=join_targets,
        )
        if recipe.training.cache_features:
            dataset.cache_features(extractor, f"Computing the features of {split}")
        else:
            dataset.keep_decoded(f"Reading {split}")
    return datasets


def make_stream(
    recipe: Recipe,
    source: RowStream,
    sampling_rate: int,
    state: PartialState,
    frames_of: Callable[[float], int],
    tokenizer: Any = None,
    lexicon: Any = None,
) -> SpeechStream:
    """Makes this process's part of a training split that is read while training.

    Raises:
        RecipeError: If the recipe asks for what needs the whole split beforehand, or does not say when training ends.
    """
    options, corpus, augmentation = recipe.training, recipe.corpus, recipe.augmentation
    if options.max_steps <= 0:
        raise RecipeError("A stream has no last epoch: say after how many steps training ends, as training.max_steps.")
    for key, wanted in (
        ("augmentation.joining", augmentation.joining),
        ("augmentation.tempo_copies", augmentation.tempo_copies),
        ("augmentation.pitch_copies", augmentation.pitch_copies),
        ("training.cache_features", options.cache_features),
        ("training.max_batch_seconds", options.max_batch_seconds),
    ):
        if wanted:
            raise RecipeError(f"{key} needs all utterances beforehand, and a stream does not have them: leave it out.")
    task = recipe.task
    examine = functools.partial(task.examine_target, frames_of=frames_of, tokenizer=tokenizer, options=recipe.text)
    encode_phones = None if lexicon is None else functools.partial(_encode_phones, recipe, lexicon)
    return SpeechStream(
        source,
        sampling_rate,
        functools.partial(task.encode_target, tokenizer=tokenizer),
        Admission(corpus.min_duration, corpus.max_duration, corpus.bad_rows, examine),
        augmentation,
        options.seed,
        batch_size=options.per_device_train_batch_size,
        **({} if options.group_by_length else {"window": 1}),
        process=(state.process_index, state.num_processes),
        encode_phones=encode_phones,
    )


def _logit_frames(model: PreTrainedModel, extractor: SpeechFeatureExtractor, seconds: float) -> int:
    """The number of logit frames of so many seconds of sound."""
    return int(model.num_logit_frames(extractor.num_frames(round(seconds * extractor.sampling_rate))))


def _encode_phones(recipe: Recipe, lexicon: Any, row: Mapping[str, Any]) -> torch.Tensor:
    """The phone ids of a row's transcript."""
    phones: torch.Tensor = lexicon.encode(recipe.text.normalize(row[recipe.task.target_column]))
    return phones


__all__ = [
    "Parts",
    "fit_feature_extractor",
    "make_datasets",
    "make_feature_extractor",
    "make_model",
    "make_stream",
    "prepare",
    "process_state",
]
