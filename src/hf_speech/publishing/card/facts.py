"""Reads the facts that a card may claim from the files of a run folder.

An evaluation file must name its model, corpus, split and command, and must have measured the weights in the folder. If
it recorded a fingerprint, the configuration, feature extractor, vocabulary and language model must match as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from hf_speech.common.fingerprint import differences, fingerprint, weights_revision
from hf_speech.errors import PublishError
from hf_speech.publishing.checks.structure import check_schema, read_mapping

EVALUATIONS = "evaluation"
# Keys that every evaluation file must have, so that its metrics are traceable.
_ORIGIN = (
    *("task", "model_revision", "num_parameters", "corpus", "corpus_fingerprint", "split", "num_utterances"),
    *("metrics", "confidence", "command", "date"),
)
_NUMBER = (int, float)
_GROUPS = {...: {"num_utterances?": int, "confidence?": {...: [_NUMBER]}, ...: _NUMBER}}
_DETECTION = {
    "threshold?": _NUMBER,
    "clips": int,
    "miss_rate": _NUMBER,
    "false_alarms_per_hour?": _NUMBER,
    "delay_median?": _NUMBER,
    "delay_95?": _NUMBER,
}
_SCHEMAS: dict[str, Any] = {
    "config.json": {"id2label?": dict, "architectures?": [str], "model_type?": str},
    "preprocessor_config.json": {
        "sampling_rate": int,
        "win_length?": int,
        "hop_length?": int,
        "feature_size?": int,
        "feature_type?": str,
        "normalization?": str,
    },
    "vocab.json": {...: int},
    "recipe.yaml": {
        "task?": str,
        "corpus?": {"name?": str, "corpora?": [{"name": str}]},
        "augmentation?": dict,
        "model?": dict,
        "training?": dict,
    },
    "training.json": {
        "command?": str,
        "seconds?": _NUMBER,
        "machine?": {"processor": str, "device": str, "threads": int},
        "versions?": {...: str},
        "log?": [dict],
    },
    "base_model.json": {"name": str, "repo_id?": str, "revision?": str, "taken": str, "new": str},
    "inspection.json": {"splits?": {...: {"num_good": int, "hours": _NUMBER}}},
}
_EVALUATION = {
    "task": str,
    "model_revision": str,
    "model_fingerprint?": {...: str},
    "num_parameters": int,
    "corpus": str,
    "split": str,
    "num_utterances": int,
    "metrics": dict,
    "confidence": {...: [_NUMBER]},
    "confidence_method?": str,
    "real_time_factor?": _NUMBER,
    "real_time_factor_conditions?": {"processor": str, "threads": int, "batch_size": int},
    "decoder?": dict,
    "reverberation?": _NUMBER,
    "noise?": {"folder": str, "snr": _NUMBER},
    "telephone?": bool,
    "detector?": {"negative_hours": _NUMBER, "keywords": {...: _DETECTION}},
    "per_class?": _GROUPS,
    "per_corpus?": _GROUPS,
    "per_speaker?": _GROUPS,
    "versions?": {...: str},
}
_RANK = {"test": 0, "validation": 1}
_PARTS = {
    "configuration": "configuration (config.json: labels, sizes)",
    "feature_extractor": "feature extractor (preprocessor_config.json)",
    "vocabulary": "vocabulary or tokenizer",
    "language_model": "language model",
    "lexicon": "lexicon",
}


@dataclass(frozen=True)
class Evaluation:
    """One evaluation file.

    Attributes:
        file: Its path relative to the run folder, such as `evaluation/test.json`.
        content: Its content, whose keys are also attributes.
    """

    file: str
    content: dict[str, Any] = field(repr=False)

    def __getattr__(self, name: str) -> Any:
        try:
            return self.content[name]
        except KeyError:
            raise AttributeError(f"{self.file} has no {name!r}") from None

    @property
    def decoder(self) -> dict[str, Any] | None:
        """The settings of the beam search, or None for greedy decoding."""
        return self.content.get("decoder") or None

    @property
    def breakdowns(self) -> dict[str, dict[str, dict[str, Any]]]:
        """The tables of metrics by class, speaker and so on; each maps the names of rows to their columns."""
        return {name: rows for name, rows in self.content.items() if name.startswith("per_") and isinstance(rows, dict)}


@dataclass(frozen=True)
class RunFacts:
    """The contents of the files of a run folder.

    Attributes:
        folder: The run folder.
        config: The configuration of the model.
        extractor: The configuration of the feature extractor.
        vocabulary: Tokens and their ids; empty for models without text output.
        recipe: The resolved recipe; empty if missing.
        training: The training log and conditions; empty if missing.
        inspection: The inspection of the corpus; empty if missing.
        base_model: The model that training started from; empty for random weights.
        evaluations: The evaluation files, the test split first, then by name.
        weight_bytes: The size of all weight files.
        weight_dtypes: The number formats of the stored weights, such as `["float16"]`.
        notes: Messages for the user, one sentence each.
        dataset_metadata: The metadata of the corpus' card, if the corpus is a dataset on the Hub that can be read.
    """

    folder: Path
    config: dict[str, Any]
    extractor: dict[str, Any]
    vocabulary: dict[str, int]
    recipe: dict[str, Any]
    training: dict[str, Any]
    inspection: dict[str, Any]
    base_model: dict[str, Any]
    evaluations: list[Evaluation]
    weight_bytes: int
    weight_dtypes: list[str]
    notes: tuple[str, ...] = ()
    dataset_metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def main(self) -> Evaluation:
        """The evaluation of the card's first metric: the test split, with the pipeline's decoding."""
        return self.evaluations[0]

    @property
    def task(self) -> str:
        """The name of the task on the Hub."""
        return str(self.main.task)


def read_facts(run_dir: Path, dataset_metadata: dict[str, Any] | None = None) -> RunFacts:
    """Reads the files of a run folder.

    Args:
        run_dir: The run folder.
        dataset_metadata: The metadata of the corpus' card, if the corpus is a dataset on the Hub.

    Raises:
        PublishError: If a required file is missing or damaged, or an evaluation file is incomplete or of another model.
    """
    if not run_dir.is_dir():
        raise PublishError(f"There is no folder {run_dir}: give a run folder that `hf-speech train` wrote.")
    weights = weight_files(run_dir)
    contents = {}
    for name, schema in _SCHEMAS.items():
        contents[name] = read_mapping(run_dir / name, required=name in ("config.json", "preprocessor_config.json"))
        if contents[name]:
            check_schema(contents[name], schema, name)
    recipe = contents["recipe.yaml"]
    evaluations, notes = _read_evaluations(run_dir, recipe)
    return RunFacts(
        folder=run_dir,
        config=contents["config.json"],
        extractor=contents["preprocessor_config.json"],
        vocabulary=contents["vocab.json"],
        recipe=recipe,
        training=contents["training.json"],
        inspection=contents["inspection.json"],
        base_model=contents["base_model.json"],
        evaluations=evaluations,
        weight_bytes=sum(path.stat().st_size for path in weights),
        weight_dtypes=_dtypes(weights),
        notes=notes,
        dataset_metadata=dataset_metadata or {},
    )


def weight_files(run_dir: Path) -> list[Path]:
    """Returns the files of weights, sorted by name."""
    found = sorted(run_dir.glob("*.safetensors"))
    if not found:
        others = sorted(path.name for path in run_dir.iterdir() if path.suffix in {".bin", ".pt", ".pth", ".ckpt"})
        pickled = f" ({others[0]} is a pickle, which is never published)" if others else ""
        raise PublishError(f"{run_dir} has no safetensors weights{pickled}: save the model with save_pretrained.")
    return found


def _read_evaluations(run_dir: Path, recipe: dict[str, Any]) -> tuple[list[Evaluation], tuple[str, ...]]:
    """Reads the evaluation files in the order of the card; also returns notes for the user."""
    paths = sorted((run_dir / EVALUATIONS).glob("*.json"))
    if not paths:
        raise PublishError(
            f"{run_dir} has no evaluation, so the card would have no metrics: run `hf-speech evaluate {run_dir}`."
        )
    revision = weights_revision(run_dir, None)
    current = fingerprint(run_dir)
    found, outdated = [], []
    for path in paths:
        evaluation = Evaluation(f"{EVALUATIONS}/{path.name}", read_mapping(path, required=True))
        _check_origin(evaluation, revision, run_dir)
        found.append(evaluation)
        outdated += _check_fingerprint(evaluation, current, run_dir)
    tasks = {evaluation.task for evaluation in found}
    if len(tasks) > 1:
        raise PublishError(
            f"The evaluations in {run_dir} are of several tasks ({', '.join(sorted(tasks))}): keep those of one task."
        )
    task = recipe.get("task")
    if task is not None and task not in tasks:
        raise PublishError(
            f"recipe.yaml is for the task {task}, but the evaluations are of {tasks.pop()}: restore the recipe that "
            "the model was trained with."
        )
    notes = (
        f"Measured with the code of another version: {', '.join(outdated)}. Run `hf-speech evaluate` again to confirm "
        "the metrics.",
    )
    trained_on = (recipe.get("corpus") or {}).get("name")
    return sorted(
        found,
        key=lambda entry: (
            trained_on is not None and entry.corpus != trained_on,
            _RANK.get(entry.split, len(_RANK)),
            entry.decoder is not None,
            entry.file,
        ),
    ), notes if outdated else ()


def _check_origin(evaluation: Evaluation, revision: str, run_dir: Path) -> None:
    remedy = f"run `hf-speech evaluate {run_dir}` again, or remove the file"
    missing = [key for key in _ORIGIN if evaluation.content.get(key) in (None, "", {})]
    if missing:
        raise PublishError(f"{evaluation.file} lacks {missing[0]}, so its metrics have no origin: {remedy}.")
    check_schema(evaluation.content, _EVALUATION, evaluation.file)
    if evaluation.model_revision != revision:
        raise PublishError(f"{evaluation.file} measured other weights than those in {run_dir}: {remedy}.")
    for name, value in evaluation.metrics.items():
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            raise PublishError(f"{evaluation.file} gives {value!r} as {name}, which is not a finite number: {remedy}.")
    for name, bounds in evaluation.confidence.items():
        if len(bounds) != 2:
            raise PublishError(
                f"{evaluation.file} gives {len(bounds)} bounds for the interval of {name}, not 2: {remedy}."
            )


def _check_fingerprint(evaluation: Evaluation, current: dict[str, str], run_dir: Path) -> list[str]:
    """Rejects an evaluation of another model; returns its file if only the code has changed."""
    recorded = evaluation.content.get("model_fingerprint") or {}
    # `_check_origin` has compared the weights.
    changed = differences(recorded, current, ignore=("code", "weights"))
    if changed:
        part = _PARTS.get(changed[0], changed[0])
        raise PublishError(
            f"The {part} of {run_dir} differs from the one that {evaluation.file} measured: restore it, or run "
            f"`hf-speech evaluate {run_dir}` again."
        )
    return [evaluation.file] if differences(recorded, current, ignore=("weights",)) else []


def _dtypes(weights: list[Path]) -> list[str]:
    """Reads the number formats from the headers of the weights."""
    names = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
    found = set()
    for path in weights:
        try:
            with safe_open(path, framework="numpy") as file:
                found |= {file.get_slice(key).get_dtype() for key in file.keys()}  # noqa: SIM118 - not a mapping
        except SafetensorError as error:
            raise PublishError(
                f"{path} is not a safetensors file ({error}): save the model with save_pretrained."
            ) from error
    return sorted(names[dtype] for dtype in found & set(names))
