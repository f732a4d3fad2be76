"""Steps that several commands share: the command as typed, the number of threads, measuring a model, a table's row."""

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
    """The command as typed, recorded in evaluation files and tables."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def prepare_inference() -> None:
    """Sets one thread, which is fastest for small recurrent networks, unless the user chose.

    PyTorch is not imported for it: it reads the variable when it is.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        os.environ["OMP_NUM_THREADS"] = "1"
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(1)


def metric_row(what: str, *reports: EvaluationReport) -> list[str]:
    """A row about reports on the same utterances: the task's main metric in each, and its interval in the last one."""
    from hf_speech.tasks import get_task

    task = get_task(reports[0].task)
    name, metric = task.best_metric, task.metrics[task.best_metric]
    values = [metric.format(report.metrics[name]) for report in reports]
    low, high = (metric.format(end) for end in reports[-1].confidence[name])
    return [f"{name} on {what}", f"{reports[0].num_utterances:,}", *values, f"{low} to {high}"]


def measure(
    loaded: LoadedModel, corpus: str | None, split: str, words: Sequence[str], **options: Any
) -> EvaluationReport:
    """Measures a model on a split of a corpus, by default of the one that it was trained on.

    Args:
        loaded: The model.
        corpus: Name of the corpus, None for that of the recipe.
        split: train, validation, test or all.
        words: Command-line words with keys of the corpus.
        **options: Further options of `evaluate_model`.
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
