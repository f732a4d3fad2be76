"""The facts of a run folder, read from its files: everything that a card may claim.

Nothing is measured or guessed here. An evaluation file counts only if it names what was measured, of which corpus and
split, by which command, and if it measured what is in the folder: the weights by their checksum, and if
the evaluation recorded a fingerprint, the configuration, feature extractor, vocabulary and language model as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from hf_speech.common.digests import digest_file
from hf_speech.common.fingerprint import differences, fingerprint
from hf_speech.errors import PublishError
from hf_speech.publishing.checks.structure import check_form, read_mapping

EVALUATIONS = "evaluation"
# Without these, a figure has no origin.
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
_FORMS: dict[str, Any] = {
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
_WHAT = {
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
        file: Its name relative to the run folder, `evaluation/test.json`.
        content: What it says.
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
        """The beam search that was used, None for the model's own decoding."""
        return self.content.get("decoder") or None

    @property
    def breakdowns(self) -> dict[str, dict[str, dict[str, Any]]]:
        """The tables by class, by speaker and the like: a row's name, then its columns."""
        return {name: rows for name, rows in self.content.items() if name.startswith("per_") and isinstance(rows, dict)}


@dataclass(frozen=True)
class RunFacts:
    """The files of a run folder, read.

    Attributes:
        folder: The run folder.
        config: The model's configuration.
        extractor: The feature extractor's.
        vocabulary: Tokens and their ids, of a model that writes.
        recipe: The resolved recipe; empty where there is none.
        training: How training went; empty where it was not kept.
        inspection: What was found in the corpus; empty where it was not kept.
        base_model: The model that training started from; empty for random weights.
        evaluations: The evaluation files, the test split first, then by name.
        weight_bytes: Size of all weight files.
        weight_dtypes: Number formats of the stored weights, `["float16"]`.
        notes: What the user should know about the files, one sentence each.
        dataset_metadata: Metadata of the card of the corpus, if that is a dataset of the Hub and could be asked.
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
        """The evaluation of the card's first figure: the test split, decoded as by the pipeline."""
        return self.evaluations[0]

    @property
    def task(self) -> str:
        """The Hub's name of the task."""
        return str(self.main.task)


def read_facts(run_dir: Path, dataset_metadata: dict[str, Any] | None = None) -> RunFacts:
    """Reads the run folder.

    Args:
        run_dir: The run folder.
        dataset_metadata: Metadata of the card of the corpus, if that is a dataset of the Hub.

    Raises:
        PublishError: If a file that every model needs is missing or damaged, or an evaluation file is of another model
            or does not say what it measured.
    """
    if not run_dir.is_dir():
        raise PublishError(f"There is no folder {run_dir}: give a run folder that `hf-speech train` wrote.")
    weights = weight_files(run_dir)
    contents = {}
    for name, form in _FORMS.items():
        contents[name] = read_mapping(run_dir / name, needed=name in ("config.json", "preprocessor_config.json"))
        if contents[name]:
            check_form(contents[name], form, name)
    recipe = contents["recipe.yaml"]
    evaluations, notes = _read_evaluations(run_dir, weights, recipe)
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
    """The weights, sorted by name."""
    found = sorted(run_dir.glob("*.safetensors"))
    if not found:
        others = sorted(path.name for path in run_dir.iterdir() if path.suffix in {".bin", ".pt", ".pth", ".ckpt"})
        have = f" ({others[0]} is a pickle, which is never published)" if others else ""
        raise PublishError(f"{run_dir} has no weights as safetensors{have}: save the model with save_pretrained.")
    return found


def _read_evaluations(
    run_dir: Path, weights: list[Path], recipe: dict[str, Any]
) -> tuple[list[Evaluation], tuple[str, ...]]:
    """The evaluation files in the order of the card, and what the user should know about them."""
    paths = sorted((run_dir / EVALUATIONS).glob("*.json"))
    if not paths:
        raise PublishError(
            f"{run_dir} has no evaluation, and without one a card has no figures: run `hf-speech evaluate {run_dir}`."
        )
    revision = "sha256:" + ",".join(digest_file(path) for path in weights)
    now = fingerprint(run_dir)
    found, older = [], []
    for path in paths:
        evaluation = Evaluation(f"{EVALUATIONS}/{path.name}", read_mapping(path, needed=True))
        _check_origin(evaluation, revision, run_dir)
        found.append(evaluation)
        older += _check_fingerprint(evaluation, now, run_dir)
    tasks = {evaluation.task for evaluation in found}
    if len(tasks) > 1:
        raise PublishError(
            f"The evaluations in {run_dir} are of several tasks ({', '.join(sorted(tasks))}): keep those of one."
        )
    task = recipe.get("task")
    if task is not None and task not in tasks:
        raise PublishError(
            f"recipe.yaml is of the task {task}, and the evaluations are of {tasks.pop()}: put the recipe there that "
            "the model was trained with."
        )
    notes = (
        f"Measured with other code than that of this version: {', '.join(older)}. Run `hf-speech evaluate` again to be "
        "sure of the figures.",
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
    ), notes if older else ()


def _check_origin(evaluation: Evaluation, revision: str, run_dir: Path) -> None:
    again = f"run `hf-speech evaluate {run_dir}` again, or remove the file"
    missing = [key for key in _ORIGIN if evaluation.content.get(key) in (None, "", {})]
    if missing:
        raise PublishError(f"{evaluation.file} does not say {missing[0]}, so its figures have no origin: {again}.")
    check_form(evaluation.content, _EVALUATION, evaluation.file)
    if evaluation.model_revision != revision:
        raise PublishError(f"{evaluation.file} measured other weights than those in {run_dir}: {again}.")
    for name, value in evaluation.metrics.items():
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            raise PublishError(f"{evaluation.file} gives {value!r} as {name}, which is not a figure: {again}.")
    for name, ends in evaluation.confidence.items():
        if len(ends) != 2:
            raise PublishError(f"{evaluation.file} gives {len(ends)} ends of the interval of {name}: {again}.")


def _check_fingerprint(evaluation: Evaluation, now: dict[str, str], run_dir: Path) -> list[str]:
    """Refuses an evaluation of something else; gives its file if only the code has changed."""
    recorded = evaluation.content.get("model_fingerprint") or {}
    # The weights have been compared by the revision.
    changed = differences(recorded, now, ignore=("code", "weights"))
    if changed:
        what = _WHAT.get(changed[0], changed[0])
        raise PublishError(
            f"The {what} of {run_dir} is not the one that {evaluation.file} measured: put that one there, or run "
            f"`hf-speech evaluate {run_dir}` again."
        )
    return [evaluation.file] if differences(recorded, now, ignore=("weights",)) else []


def _dtypes(weights: list[Path]) -> list[str]:
    """The number formats in the headers of the weights."""
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
