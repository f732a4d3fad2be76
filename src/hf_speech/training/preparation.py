"""Prepares and checks everything that training needs before the first step."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import Any

from accelerate import PartialState
from datasets import DatasetDict
from transformers import PreTrainedModel

from hf_speech.data.dataset import SpeechDataset
from hf_speech.data.first_pass import FirstPass
from hf_speech.data.inspection import check_classes, inspect_corpus
from hf_speech.data.reports import InspectionReport
from hf_speech.data.stream import SpeechStream
from hf_speech.models import SpeechFeatureExtractor
from hf_speech.training.building import count_logit_frames, make_feature_extractor, make_model
from hf_speech.training.datasets import make_datasets, make_stream, shares_of
from hf_speech.training.distillation import Distillation, StateDistillation, make_distillation
from hf_speech.training.processes import check_same_corpus, process_state
from hf_speech.training.recipe import Recipe
from hf_speech.training.teacher_states import TeacherEncoder
from hf_speech.training.warm_start import BaseModel


@dataclass
class Parts:
    """The objects that a recipe describes.

    Attributes:
        corpus: The inspected splits.
        extractor: The feature extractor, with global statistics if it needs them.
        tokenizer: The tokenizer, for a task with transcripts.
        lexicon: The pronouncing dictionary, if the recipe has one.
        model: The model, with random weights or those of the model to start from.
        datasets: The augmented training split or stream and, if there is one, the validation split.
        base: The record of the model to start from, if any.
        distillation: The loss of the recipe's teacher, if any.
    """

    corpus: DatasetDict
    extractor: SpeechFeatureExtractor
    tokenizer: Any
    lexicon: Any
    model: PreTrainedModel
    datasets: dict[str, SpeechDataset | SpeechStream]
    base: dict[str, Any] | None = None
    distillation: Distillation | StateDistillation | None = None


def prepare(recipe: Recipe, state: PartialState | None = None) -> tuple[Parts, InspectionReport]:
    """Creates everything that training needs, so that errors occur before the first step.

    Returns:
        The parts, and the report of the corpus inspection.
    """
    state = state or process_state()
    base = None if recipe.warm_start.init_from is None else BaseModel.open(recipe.warm_start.init_from)
    if base is not None:
        base.check(recipe)
    # The first process fills the caches for the others.
    with state.main_process_first():
        corpus = recipe.corpus.load()
        recipe.task.check_columns(corpus)
        extractor = make_feature_extractor(recipe)
        if base is not None and recipe.warm_start.init_statistics == "source":
            base.take_statistics(extractor)
        first_pass = FirstPass(extractor)
        corpus, report = inspect_corpus(corpus, recipe.corpus, extractor.sampling_rate, first_pass)
    check_same_corpus(state, corpus, report)
    if recipe.training.learns_labels:
        check_classes(corpus["train"], report.corpus)
    if not corpus["validation"]:
        recipe.training.check_without_validation()
    if base is not None and recipe.warm_start.init_outputs == "keep":
        corpus, text = base.keep_outputs(recipe.task, corpus, recipe.text)
        recipe = dataclasses.replace(recipe, text=text)
    tokenizer = recipe.task.make_tokenizer(corpus, recipe.text)
    lexicon = recipe.task.load_lexicon(corpus, recipe.text, recipe.corpus.lexicon())
    model = make_model(recipe, extractor, corpus, tokenizer, lexicon)
    record = None if base is None else base.start(model, recipe.task, tokenizer, lexicon)

    frames_of = functools.partial(count_logit_frames, model, extractor)
    corpus = recipe.task.inspect_targets(
        corpus,
        report,
        bad_rows=recipe.corpus.bad_rows,
        frames_of=frames_of,
        tokenizer=tokenizer,
        options=recipe.text,
    )
    report.shares = shares_of(recipe.corpus, corpus["train"])
    first_pass.fit(corpus["train"]["audio"])
    distillation: Distillation | StateDistillation | None
    distillation = make_distillation(recipe.training, model, extractor, tokenizer)
    class_names = recipe.task.target_groups(corpus["train"])
    stream: SpeechStream | None = None
    if (source := recipe.corpus.train_stream(class_names)) is not None:
        stream = make_stream(recipe, source, extractor, state, frames_of, tokenizer, lexicon)
        report.warnings.append(
            f"Training reads the whole split train from the stream; the {len(corpus['train']):,} inspected utterances "
            "are a sample."
        )
    if (options := recipe.training.encoder_teacher()) is not None:
        teacher = TeacherEncoder(options, state.device)
        distillation = StateDistillation(options, teacher, model, extractor)
    datasets = make_datasets(recipe, extractor, corpus, tokenizer, lexicon, stream, first_pass)
    if options is not None and isinstance(distillation, StateDistillation):
        distillation.read(teacher, datasets)
    return Parts(corpus, extractor, tokenizer, lexicon, model, datasets, record, distillation), report
