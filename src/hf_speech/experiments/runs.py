"""Trains the runs of comparisons, searches and experiments, and reads their results.

A finished run is not repeated, and an interrupted one continues. Results come only from the files of a run.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from hf_speech.errors import ModelError, RecipeError
from hf_speech.training import Recipe, train
from hf_speech.training.checkpoints import find_fault, list_checkpoints
from hf_speech.training.run_folder import differing_keys

SPLITS = ("validation", "test")
READABLE = ("train", *SPLITS, "test-lm")


@dataclass(frozen=True)
class RunRecord:
    """The results in the files of a run.

    Attributes:
        task: Name of the task.
        evaluations: The content of the evaluation file of each split, without its tables; empty for a model that has
            not learned labels.
        num_parameters: Number of parameters of the model.
        seconds: Wall-clock time of the training.
        command: The command that trains it.
    """

    task: str
    evaluations: dict[str, dict[str, Any]]
    num_parameters: int
    seconds: float
    command: str

    @property
    def metric(self) -> str:
        """The main metric of the task, which evaluations list first."""
        return next(iter(next(iter(self.evaluations.values()))["metrics"]))

    def value(self, split: str) -> float | None:
        """Returns the main metric on a split, None if the split was not evaluated."""
        return self.evaluations[split]["metrics"][self.metric] if split in self.evaluations else None

    def interval(self, split: str) -> tuple[float, float]:
        """Returns the ends of the main metric's 95% confidence interval."""
        low, high = self.evaluations[split]["confidence"][self.metric]
        return low, high

    def for_corpus(self, split: str, corpus: str) -> RunRecord:
        """Returns a record whose split is restricted to one corpus of a mixture."""
        evaluation = self.evaluations[split]
        own = evaluation["per_corpus"][corpus]
        metrics = {metric: own[metric] for metric in evaluation["metrics"]}
        results = {"num_utterances": own["num_utterances"], "metrics": metrics, "confidence": own["confidence"]}
        return dataclasses.replace(self, evaluations={**self.evaluations, split: evaluation | results})

    def with_language_model(self) -> RunRecord:
        """Returns a record whose test results are those of beam search with the language model."""
        return dataclasses.replace(self, evaluations={**self.evaluations, "test": self.evaluations["test-lm"]})

    def to_dict(self) -> dict[str, Any]:
        """Returns data for JSON, the inverse of `from_dict`."""
        return dict(vars(self))

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> RunRecord:
        """Returns the record that `to_dict` was called on."""
        # Older records have the number of parameters only in their evaluations.
        first: dict[str, Any] = next(iter(content["evaluations"].values()), {})
        return cls(**{"num_parameters": first.get("num_parameters"), **content})


# Keys of an evaluation file that are recorded: the metrics, the data and their origin.
EVALUATION_KEYS = (
    *("model_revision", "num_parameters", "corpus", "corpus_fingerprint", "split", "num_utterances", "num_skipped"),
    *("metrics", "confidence", "confidence_method", "per_corpus", "decoder", "command", "date", "versions"),
)


def read_run(run_dir: Path, is_evaluated: bool = True) -> RunRecord:
    """Reads the results of a run.

    Args:
        run_dir: The run folder.
        is_evaluated: Whether the run must have been evaluated.

    Raises:
        ModelError: If the run is not finished or has not been evaluated.
    """
    try:
        training = json.loads((run_dir / "training.json").read_text(encoding="utf-8"))
        reports = {
            split: json.loads(file.read_text(encoding="utf-8"))
            for split in READABLE
            if (file := run_dir / "evaluation" / f"{split}.json").is_file()
        }
    except FileNotFoundError as error:
        raise ModelError(f"{run_dir} is not a finished run: train it first.") from error
    if is_evaluated and not reports:
        raise ModelError(f"{run_dir} has not been evaluated: run `hf-speech evaluate {run_dir}`.")
    evaluations = {split: {key: report.get(key) for key in EVALUATION_KEYS} for split, report in reports.items()}
    for split, report in reports.items():
        conditions = report["real_time_factor_conditions"]
        evaluations[split]["machine"] = {key: conditions.get(key) for key in ("processor", "threads", "device")}
    first = next(iter(reports.values()), training)
    return RunRecord(first["task"], evaluations, first["num_parameters"], training["seconds"], training["command"])


def finish_run(
    recipe: Recipe,
    run_dir: Path,
    command: str,
    splits: Sequence[str] = SPLITS,
    callbacks: Sequence[TrainerCallback] = (),
) -> RunRecord:
    """Trains a run, unless it is finished, and reads its results; without `splits`, it is not evaluated.

    Raises:
        RecipeError: If the folder has a run of another recipe.
        HFSpeechError: If the recipe or the corpus is invalid.
    """
    written = run_dir / "recipe.yaml"
    if written.is_file():
        _check_same(recipe, written)
    if not is_finished(run_dir, splits):
        resume = any(find_fault(checkpoint) is None for checkpoint in list_checkpoints(run_dir))
        train(
            recipe,
            run_dir,
            resume=resume,
            overwrite=written.is_file() and not resume,
            command=command,
            splits=splits,
            callbacks=callbacks,
        )
    return read_run(run_dir, is_evaluated=bool(splits))


def is_finished(run_dir: Path, splits: Sequence[str] = SPLITS) -> bool:
    """Returns whether a run has been trained, and evaluated on all non-empty splits."""
    inspection = run_dir / "inspection.json"
    if not inspection.is_file() or not (run_dir / "training.json").is_file():
        return False
    inspected = json.loads(inspection.read_text(encoding="utf-8"))["splits"]
    non_empty = [split for split in splits if inspected.get(split, {}).get("num_good")]
    return all((run_dir / "evaluation" / f"{split}.json").is_file() for split in non_empty)


def _check_same(recipe: Recipe, written: Path) -> None:
    """Raises RecipeError if the run was trained with another recipe."""
    for key, (old, new) in differing_keys(recipe, written).items():
        raise RecipeError(
            f"{written.parent} has a run of another recipe ({key} is {old!r} there and {new!r} here): remove the "
            "folder, or choose another --output_dir."
        )
