"""What the files of a run folder say: all that a card may claim.

Nothing is measured or guessed here. An evaluation file counts only if it names what was measured, of which corpus and
split, by which command, and if the weights it names by their checksum are those beside it.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from safetensors import SafetensorError, safe_open

from hf_speech.errors import PublishError

EVALUATIONS = "evaluation"
# Without these, a figure has no origin.
_ORIGIN = (
    *("task", "model_revision", "num_parameters", "corpus", "corpus_fingerprint", "split", "num_utterances"),
    *("metrics", "confidence", "command", "date"),
)
# The same as yaml.safe_load, and faster where libyaml is there.
_SAFE = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_RANK = {"test": 0, "validation": 1}


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
        evaluations: The evaluation files, the test split first, then by name.
        weight_bytes: Size of all weight files.
        weight_dtypes: Number formats of the stored weights, `["float16"]`.
    """

    folder: Path
    config: dict[str, Any]
    extractor: dict[str, Any]
    vocabulary: dict[str, int]
    recipe: dict[str, Any]
    training: dict[str, Any]
    inspection: dict[str, Any]
    evaluations: list[Evaluation]
    weight_bytes: int
    weight_dtypes: list[str]

    @property
    def main(self) -> Evaluation:
        """The evaluation of which the card's first figure is: the test split, as the pipeline decodes."""
        return self.evaluations[0]

    @property
    def task(self) -> str:
        """The Hub's name of the task."""
        return str(self.main.task)


def read_facts(run_dir: Path) -> RunFacts:
    """Reads the run folder.

    Raises:
        PublishError: If a file that every model needs is missing or damaged, or an evaluation file is of other weights
            or does not say what it measured.
    """
    if not run_dir.is_dir():
        raise PublishError(f"There is no folder {run_dir}: give a run folder that `hf-speech train` wrote.")
    weights = weight_files(run_dir)
    return RunFacts(
        folder=run_dir,
        config=_read_json(run_dir / "config.json", needed=True),
        extractor=_read_json(run_dir / "preprocessor_config.json", needed=True),
        vocabulary=_read_json(run_dir / "vocab.json"),
        recipe=_read_yaml(run_dir / "recipe.yaml"),
        training=_read_json(run_dir / "training.json"),
        inspection=_read_json(run_dir / "inspection.json"),
        evaluations=_read_evaluations(run_dir, weights),
        weight_bytes=sum(path.stat().st_size for path in weights),
        weight_dtypes=_dtypes(weights),
    )


def weight_files(run_dir: Path) -> list[Path]:
    """The weights, sorted by name.

    Raises:
        PublishError: If there are none as safetensors.
    """
    found = sorted(run_dir.glob("*.safetensors"))
    if not found:
        others = sorted(path.name for path in run_dir.iterdir() if path.suffix in {".bin", ".pt", ".pth", ".ckpt"})
        have = f" ({others[0]} is a pickle, which is never published)" if others else ""
        raise PublishError(f"{run_dir} has no weights as safetensors{have}: save the model with save_pretrained.")
    return found


def _read_evaluations(run_dir: Path, weights: list[Path]) -> list[Evaluation]:
    paths = sorted((run_dir / EVALUATIONS).glob("*.json"))
    if not paths:
        raise PublishError(
            f"{run_dir} has no evaluation, and without one a card has no figures: run `hf-speech evaluate {run_dir}`."
        )
    revision = "sha256:" + ",".join(_digest(path) for path in weights)
    found = []
    for path in paths:
        evaluation = Evaluation(f"{EVALUATIONS}/{path.name}", _read_json(path, needed=True))
        _check_origin(evaluation, revision, run_dir)
        found.append(evaluation)
    tasks = {evaluation.task for evaluation in found}
    if len(tasks) > 1:
        raise PublishError(
            f"The evaluations in {run_dir} are of several tasks ({', '.join(sorted(tasks))}): keep those of one."
        )
    trained_on = _read_yaml(run_dir / "recipe.yaml").get("corpus", {}).get("name")
    return sorted(
        found,
        key=lambda entry: (
            trained_on is not None and entry.corpus != trained_on,
            _RANK.get(entry.split, len(_RANK)),
            entry.decoder is not None,
            entry.file,
        ),
    )


def _check_origin(evaluation: Evaluation, revision: str, run_dir: Path) -> None:
    again = f"run `hf-speech evaluate {run_dir}` again, or remove the file"
    missing = [key for key in _ORIGIN if evaluation.content.get(key) in (None, "", {})]
    if missing:
        raise PublishError(f"{evaluation.file} does not say {missing[0]}, so its figures have no origin: {again}.")
    if evaluation.model_revision != revision:
        raise PublishError(f"{evaluation.file} measured other weights than those in {run_dir}: {again}.")
    for name, value in evaluation.metrics.items():
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            raise PublishError(f"{evaluation.file} gives {value!r} as {name}, which is no figure: {again}.")


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _dtypes(weights: list[Path]) -> list[str]:
    """The number formats in the headers of the weights."""
    names = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
    found = set()
    for path in weights:
        try:
            with safe_open(path, framework="numpy") as file:
                found |= {file.get_slice(key).get_dtype() for key in file.keys()}  # noqa: SIM118 - it is no mapping
        except SafetensorError as error:
            raise PublishError(
                f"{path} is not a safetensors file ({error}): save the model with save_pretrained."
            ) from error
    return sorted(names[dtype] for dtype in found & set(names))


def _read_json(path: Path, needed: bool = False) -> dict[str, Any]:
    if not path.is_file():
        if needed:
            raise PublishError(f"{path.parent} has no {path.name}: give a run folder that `hf-speech train` wrote.")
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PublishError(f"{path} is not JSON ({error}): write it again.") from error
    if not isinstance(content, dict):
        raise PublishError(f"{path} is not a JSON object: write it again.")
    return content


def _read_yaml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_SAFE)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise PublishError(f"{path} is not plain YAML: write it again, without tags that make objects.") from error
    if not isinstance(content, dict):
        raise PublishError(f"{path} does not consist of sections: give a run folder that `hf-speech train` wrote.")
    return content


__all__ = ["EVALUATIONS", "Evaluation", "RunFacts", "read_facts", "weight_files"]
