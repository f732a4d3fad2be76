"""Selects the rows to evaluate with the same checks as training.

Every sound of the split is decoded and inspected, and the task inspects the targets, so `hf-speech train` and
`hf-speech evaluate` measure the same rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from datasets import Dataset, DatasetDict, concatenate_datasets

from hf_speech.data.corpora import Corpus
from hf_speech.data.inspection import survey_corpus
from hf_speech.data.reports import Finding
from hf_speech.errors import CorpusError, RecipeError, nearest
from hf_speech.inference import LoadedModel

ALL = "all"
"""The name of all splits together."""


@dataclass(frozen=True)
class Selection:
    """The usable rows of a split.

    Attributes:
        rows: The usable rows.
        left_out: Findings about the other rows.
    """

    rows: Dataset
    left_out: tuple[Finding, ...] = ()


def select_rows(
    loaded: LoadedModel,
    splits: Mapping[str, Dataset],
    split: str,
    corpus: Corpus,
    *,
    trained_on: bool = True,
    options: Any = None,
) -> Selection:
    """Selects the rows of a split as training does.

    Args:
        loaded: The model.
        splits: The splits, from `corpus.load()`.
        split: The name of a split, or "all" for all of them together.
        corpus: The corpus; its options define bad rows and how to handle them.
        trained_on: Whether the model was trained on this corpus; then the training split determines the classes,
            otherwise the model does.
        options: The section `text` of the recipe, for a task that has one.

    Raises:
        RecipeError: If there is no such split, or the corpus is for another task.
        CorpusError: If there are bad rows and `corpus.bad_rows` is "refuse".
    """
    if split != ALL and split not in splits:
        raise RecipeError(f"The corpus {corpus.name} has no split {split!r}: {nearest(split, [*splits, ALL])}")
    names = list(splits) if split == ALL else [split]
    parts = dict(splits)
    if not trained_on:
        parts = {split: concatenate_datasets([splits[name] for name in names])}
        names = [split]
    loaded.task.check_columns(DatasetDict({name: parts[name] for name in names}))
    min_samples = getattr(loaded.feature_extractor, "min_samples", 1)
    report = survey_corpus(DatasetDict(parts), corpus, loaded.sampling_rate, only=names, min_samples=min_samples)
    if report.num_bad and corpus.bad_rows == "refuse":
        raise CorpusError(report.refusal())
    good = loaded.task.inspect_targets(
        DatasetDict({name: parts[name].select(report.splits[name].good_indices) for name in names}),
        report,
        bad_rows=corpus.bad_rows,
        frames_of=loaded.num_logit_frames,
        tokenizer=loaded.tokenizer,
        options=options,
    )
    return Selection(
        rows=concatenate_datasets([good[name] for name in names]),
        left_out=tuple(finding for name in names for finding in report.splits[name].bad.values()),
    )
