"""Helpers shared by several commands: the command line, the number of threads, measuring a model, table rows."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hf_speech.evaluation import EvaluationReport
    from hf_speech.inference import LoadedModel


def command_line() -> str:
    """Returns the command as typed, for evaluation files and tables."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def prepare_inference() -> None:
    """Sets one thread, the fastest choice for small recurrent networks, unless OMP_NUM_THREADS is set.

    This does not import PyTorch, which reads the variable on import.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        os.environ["OMP_NUM_THREADS"] = "1"
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(1)


def metric_row(description: str, *reports: EvaluationReport) -> list[str]:
    """Returns a table row with the task's main metric of each report, and the interval of the last.

    Args:
        description: A description of the utterances.
        reports: The reports, all on the same utterances.
    """
    from hf_speech.tasks import get_task

    task = get_task(reports[0].task)
    name, metric = task.best_metric, task.metrics[task.best_metric]
    values = [metric.format(report.metrics[name]) for report in reports]
    low, high = (metric.format(end) for end in reports[-1].confidence[name])
    return [f"{name} on {description}", f"{reports[0].num_utterances:,}", *values, f"{low} to {high}"]


def measure(
    loaded: LoadedModel, corpus: str | None, split: str, words: Sequence[str], **options: Any
) -> EvaluationReport:
    """Measures a model on a split of a corpus.

    Args:
        loaded: The model.
        corpus: Name of the corpus, or None for the corpus of the model's recipe.
        split: train, validation, test or all.
        words: Command-line arguments that set keys of the corpus.
        **options: Further arguments of `evaluate_model`.
    """
    from hf_speech.evaluation import evaluate_model
    from hf_speech.training import load_rows

    source, selection = load_rows(loaded, corpus, split, words)
    return evaluate_model(
        loaded,
        selection.rows,
        corpus=source.name,
        split=split,
        command=command_line(),
        bad_rows=source.bad_rows,
        left_out=selection.left_out,
        **options,
    )
