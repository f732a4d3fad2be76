"""Warm start: training that starts with the weights of another model, the base model.

* The recipe and the base model must have the same features and encoder, because weights for others would be
  meaningless. The base model determines keys that are missing in the recipe.
* Tensors are copied by name and shape. Classifiers are copied row by row: characters, phones and classes that both
  models have keep their weights; the others start with random weights.
* The base model is loaded like any other (`inference.loading`), without running remote code.
* A revision on the Hub is resolved to its commit, also in the recipe in the run folder.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from hf_speech.common.fingerprint import LEXICON
from hf_speech.errors import RecipeError
from hf_speech.inference import LoadedModel, load_model
from hf_speech.tasks.lexicon import Lexicon
from hf_speech.training.freezing import layer_of

if TYPE_CHECKING:
    from datasets import DatasetDict
    from transformers import PreTrainedModel

    from hf_speech.tasks import Task

BASE_MODEL = "base_model.json"
# Options of a configuration that determine the encoder and must not change.
ENCODER_OPTIONS = (
    *("features_as_steps", "projection_size", "frontend", "subsampling", "num_convolutions", "channels"),
    *("stem_channels", "kernel_size", "hidden_size", "bidirectional", "causal", "recurrent_norm", "layer_norm"),
)
# Lists with an entry for each class of the base model.
_PER_CLASS_OPTIONS = frozenset({"class_weights"})
CLASSIFIER, PHONES = "classifier", "phone_classifier"
MAX_SHOWN = 12


@dataclass(frozen=True)
class WarmStart:
    """Options for starting from another model.

    Args:
        init_from: The model to start from: a run folder, another model folder, or a Hub id with or without @REVISION;
            null for random weights.
        init_statistics: The statistics of `features.normalization: global`: "source" for those of the model to start
            from, "refit" to compute them from the training split.
        init_outputs: The characters or classes of the new model: "corpus" for those of the training split, "keep" for
            those of the model to start from, followed by further ones of the training split.
    """

    init_from: str | None = None
    init_statistics: Literal["source", "refit"] = "source"
    init_outputs: Literal["corpus", "keep"] = "corpus"


KEYS = tuple(field.name for field in dataclasses.fields(WarmStart))


@dataclass(frozen=True)
class BaseModel:
    """A model to start from.

    Attributes:
        loaded: The model, on the CPU.
        name: Folder or Hub id.
        commit: Commit on the Hub; None for a folder.
    """

    loaded: LoadedModel
    name: str
    commit: str | None

    @classmethod
    def open(cls, init_from: str) -> BaseModel:
        """Loads a model from a folder, or from a Hub id with or without `@REVISION`.

        Raises:
            ModelError: If the model does not exist or is damaged.
        """
        name, at, revision = init_from.rpartition("@")
        if not at or Path(init_from).expanduser().is_dir():
            name, revision = init_from, ""
        loaded = load_model(name, device="cpu", revision=revision or None)
        return cls(loaded, name, None if Path(name).expanduser().is_dir() else loaded.revision)

    @property
    def source(self) -> str:
        """The value of `init_from` in a recipe: the folder, or the Hub id with the commit."""
        return self.name if self.commit is None else f"{self.name}@{self.commit}"

    @property
    def folder(self) -> Path | None:
        """The folder, or None for a model on the Hub."""
        return Path(self.name).expanduser() if self.commit is None else None

    def is_folder(self, folder: Path) -> bool:
        """Returns whether the model is in this folder."""
        return self.folder is not None and self.folder.resolve() == folder.resolve()

    def defaults(self, task: Task, model_type: str, keys: Collection[str]) -> dict[str, dict[str, Any]]:
        """Returns the values of this model for the recipe sections features, text and model.

        Args:
            task: The task of the recipe.
            model_type: The model family of the recipe.
            keys: The valid keys of the recipe, such as `features.num_mel_bins`.
        """
        config, extractor = self.loaded.model.config, self.loaded.feature_extractor
        values = {"features": vars(extractor), "text": {}, "model": {}}
        if task.name == self.loaded.task.name:
            values["text"] = task.text_of(self.loaded.tokenizer)
        if model_type == config.model_type:
            values["model"] = {key: value for key, value in config.to_dict().items() if key not in _PER_CLASS_OPTIONS}
        return {
            section: {key: value for key, value in content.items() if f"{section}.{key}" in keys}
            for section, content in values.items()
        }

    def check(self, recipe: Any) -> None:
        """Checks that the model of a `Recipe` can use these weights.

        Raises:
            RecipeError: If the model family, the features or the encoder differ; the message lists matching options.
        """
        config, extractor = self.loaded.model.config, self.loaded.feature_extractor
        if config.model_type != recipe.model_type:
            raise RecipeError(
                f"{self.source} is a {config.model_type} model, but the recipe trains a {recipe.model_type} model "
                f"(families for {recipe.task.name}: {', '.join(recipe.task.model_types)}): start from a model of the "
                "same family, or omit init_from."
            )
        differences = [
            (f"{section}.{key}", getattr(base, key), values[key])
            for section, base, values, keys in (
                ("features", extractor, recipe.features, recipe.features),
                ("model", config, recipe.model, ENCODER_OPTIONS),
            )
            for key in keys
            if key in values and getattr(base, key) != values[key]
        ]
        if differences:
            listed = ", ".join(f"{key} ({new} instead of {old})" for key, old, new in differences)
            options = " ".join(f"--{key} {_as_word(old)}" for key, old, _ in differences)
            raise RecipeError(
                f"The weights of {self.source} do not fit the recipe, which differs in {listed}: add {options}, omit "
                "these keys in the recipe, or omit init_from."
            )

    def take_statistics(self, extractor: Any) -> None:
        """Copies the statistics of this model to a feature extractor."""
        extractor.feature_mean = self.loaded.feature_extractor.feature_mean
        extractor.feature_std = self.loaded.feature_extractor.feature_std

    def keep_outputs(self, task: Task, corpus: DatasetDict, options: Any) -> tuple[DatasetDict, Any]:
        """Returns the corpus and the section `text` for a model that keeps all outputs of this one.

        Raises:
            RecipeError: If this model is for another task.
        """
        if task.name != self.loaded.task.name:
            raise RecipeError(
                f"{self.source} is a model for {self.loaded.task.name}, whose outputs a model for {task.name} cannot "
                "keep: omit model.init_outputs."
            )
        return task.keep_outputs(corpus, options, self.loaded.labels)

    def start(self, model: PreTrainedModel, task: Task, tokenizer: Any = None, lexicon: Any = None) -> dict[str, Any]:
        """Copies the matching weights to a new model.

        Args:
            model: The new model, with random weights; changed in place.
            task: The task of the new model.
            tokenizer: The tokenizer of the new model, if any.
            lexicon: The lexicon of the new model, if any.

        Returns:
            The record of the base model for the run folder; see `record`.

        Raises:
            RecipeError: If no layer of the encoder matches.
        """
        outputs: dict[str, tuple[Sequence[str], Sequence[str]]] = {}
        if task.name == self.loaded.task.name:
            labels = task.describe_outputs(model.config, tokenizer)["labels"]
            outputs[CLASSIFIER] = (self.loaded.labels, labels)
        if lexicon is not None and (file := self.loaded.find_file(LEXICON)) is not None:
            outputs[PHONES] = (("<blank>", *Lexicon.load(file).phones), ("<blank>", *lexicon.phones))
        taken, new = copy_weights(self.loaded.model, model, outputs)
        if not any(not name.startswith((CLASSIFIER, PHONES)) for name in taken):
            raise RecipeError(
                f"No layer of {self.source} fits the recipe's model: start from a model with the same encoder, or "
                "omit init_from."
            )
        return self.record(_describe(taken), _describe(new))

    def record(self, taken: str, new: str) -> dict[str, Any]:
        """Returns the record for the run folder: name, Hub id, commit and weights of the model, and what was copied.

        The Hub id of a folder is that of the model on the Hub that it was itself trained from, if any.
        """
        record: dict[str, Any] = {"name": self.name, "repo_id": self.name, "revision": self.commit}
        if self.folder is not None:
            earlier = read_record(self.folder) or {}
            record = {"name": self.folder.resolve().name}
            record |= {key: earlier.get(key) for key in ("repo_id", "revision")}
        return {**record, "weights": self.commit or self.loaded.revision, "taken": taken, "new": new}


def read_record(folder: Path) -> dict[str, Any] | None:
    """Returns the record of the base model in a run folder, or None if training started from random weights."""
    try:
        content = json.loads((folder / BASE_MODEL).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


@torch.no_grad()
def copy_weights(
    source: PreTrainedModel, model: PreTrainedModel, outputs: Mapping[str, tuple[Sequence[str], Sequence[str]]]
) -> tuple[dict[str, str], dict[str, str]]:
    """Copies tensors from one model to another by name and shape.

    Args:
        source: The model to copy from.
        model: The model to copy to.
        outputs: For each classifier, by module name, the labels of its rows in `source` and in `model`. Other
            classifiers are not copied.

    Returns:
        The copied and the new parts of the model, each with a remark.
    """
    source_tensors = source.state_dict()
    taken: dict[str, str] = {}
    new: dict[str, str] = {}
    for name, tensor in model.state_dict().items():
        part = _part(name)
        base = source_tensors.get(name)
        if part not in (CLASSIFIER, PHONES):
            fits = base is not None and base.shape == tensor.shape
            if fits:
                tensor.copy_(base)
            (taken if fits else new)[part] = ""
            continue
        base_labels, labels = outputs.get(part, ((), ()))
        common = [label for label in labels if label in set(base_labels)]
        if base is None or base.shape[1:] != tensor.shape[1:] or not common:
            new[part] = ""
            continue
        rows = {label: index for index, label in enumerate(base_labels)}
        tensor[[labels.index(label) for label in common]] = base[[rows[label] for label in common]]
        dropped = [label for label in base_labels if label not in set(labels)]
        without = f", without {_join_labels(dropped)}" if dropped else ""
        taken[part] = f" ({len(common)} of {len(base_labels)} rows{without})"
        if added := [label for label in labels if label not in rows]:
            new[part] = f" ({len(added)} of {len(labels)} rows: {_join_labels(added)})"
    return taken, new


def _part(name: str) -> str:
    """Returns the part of a model that a parameter belongs to: its module, or its layer."""
    layer = layer_of(name)
    return name.partition(".")[0] if layer is None else f"layer {layer + 1}"


def _describe(parts: Mapping[str, str]) -> str:
    return ", ".join(f"{part}{remark}" for part, remark in parts.items()) or "nothing"


def _join_labels(labels: Sequence[str]) -> str:
    shown = " ".join(labels[:MAX_SHOWN])
    return shown if len(labels) <= MAX_SHOWN else f"{shown} and {len(labels) - MAX_SHOWN} more"


def _as_word(value: Any) -> str:
    """Formats a value as a command-line argument."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
