"""One run of many: trained if it is missing, continued if it was interrupted, skipped if it is done; then read.

Records are read only from the files of a run, so that no number in a table is typed by hand.
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
        evaluations: The content of the evaluation file of each split, without its tables.
        seconds: Wall-clock time of the training.
        command: The command that trains it.
    """

    task: str
    evaluations: dict[str, dict[str, Any]]
    seconds: float
    command: str

    @property
    def metric(self) -> str:
        """The metric that matters most for the task: evaluations give it first."""
        return next(iter(next(iter(self.evaluations.values()))["metrics"]))

    @property
    def num_parameters(self) -> int:
        """Parameters of the model."""
        return int(next(iter(self.evaluations.values()))["num_parameters"])

    def value(self, split: str) -> float | None:
        """The main metric on a split, None where it was not evaluated."""
        return self.evaluations[split]["metrics"][self.metric] if split in self.evaluations else None

    def interval(self, split: str) -> tuple[float, float]:
        """The 95 % interval of the main metric."""
        low, high = self.evaluations[split]["confidence"][self.metric]
        return low, high

    def of_corpus(self, split: str, corpus: str) -> RunRecord:
        """The same with the figures of one corpus of a mixture as those of the split."""
        evaluation = self.evaluations[split]
        own = evaluation["per_corpus"][corpus]
        metrics = {metric: own[metric] for metric in evaluation["metrics"]}
        figures = {"num_utterances": own["num_utterances"], "metrics": metrics, "confidence": own["confidence"]}
        return dataclasses.replace(self, evaluations={**self.evaluations, split: evaluation | figures})

    def of_language_model(self) -> RunRecord:
        """The same with the figures of a search with the language model as those of the test split."""
        return dataclasses.replace(self, evaluations={**self.evaluations, "test": self.evaluations["test-lm"]})

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, from which `from_dict` makes an equal record."""
        return dict(vars(self))

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> RunRecord:
        """The record of `to_dict`."""
        return cls(**content)


# The keys of an evaluation file with the metrics, their data and their origin.
KEPT = (
    *("model_revision", "num_parameters", "corpus", "corpus_fingerprint", "split", "num_utterances", "num_skipped"),
    *("metrics", "confidence", "confidence_method", "per_corpus", "decoder", "command", "date", "versions"),
)


def read_run(run_dir: Path) -> RunRecord:
    """Reads the files of a run."""
    try:
        training = json.loads((run_dir / "training.json").read_text(encoding="utf-8"))
        reports = {
            split: json.loads(file.read_text(encoding="utf-8"))
            for split in READABLE
            if (file := run_dir / "evaluation" / f"{split}.json").is_file()
        }
    except FileNotFoundError as error:
        raise ModelError(f"{run_dir} is not a finished run: train it first.") from error
    if not reports:
        raise ModelError(f"{run_dir} has not been evaluated: run `hf-speech evaluate {run_dir}`.")
    evaluations = {split: {key: report.get(key) for key in KEPT} for split, report in reports.items()}
    for split, report in reports.items():
        conditions = report["real_time_factor_conditions"]
        evaluations[split]["machine"] = {key: conditions.get(key) for key in ("processor", "threads", "device")}
    task = next(iter(reports.values()))["task"]
    return RunRecord(task, evaluations, training["seconds"], training["command"])


def finish_run(
    recipe: Recipe,
    run_dir: Path,
    command: str,
    splits: Sequence[str] = SPLITS,
    callbacks: Sequence[TrainerCallback] = (),
) -> RunRecord:
    """Trains a run, or the missing part of it.

    Returns:
        What its files say.

    Raises:
        RecipeError: If the folder was made by another recipe.
        HFSpeechError: On whatever is wrong with recipe or corpus.
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
    return read_run(run_dir)


def is_finished(run_dir: Path, splits: Sequence[str] = SPLITS) -> bool:
    """Whether a run has been trained and evaluated on those of the splits that have utterances."""
    inspection = run_dir / "inspection.json"
    if not inspection.is_file() or not (run_dir / "training.json").is_file():
        return False
    there = json.loads(inspection.read_text(encoding="utf-8"))["splits"]
    wanted = [split for split in splits if there.get(split, {}).get("num_good")]
    return all((run_dir / "evaluation" / f"{split}.json").is_file() for split in wanted)


def _check_same(recipe: Recipe, written: Path) -> None:
    """Refuses a run of another recipe."""
    for key, (there, here) in differing_keys(recipe, written).items():
        raise RecipeError(
            f"{written.parent} was made by another recipe ({key} is {there!r} there and {here!r} here): remove it, or "
            "give another --output_dir."
        )
