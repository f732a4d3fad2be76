"""Warm start: a training that begins with the weights of another model.

Decisions:

* The recipe and the base model must agree in the features and in the sizes of the encoder: otherwise the weights would
  fit in shape, at best, and mean something else. Keys that a recipe leaves out are those of the base model.
* Tensors are taken by name and shape. Classifiers are taken row by row: a character, phone or class that both models
  have keeps its weights, the others start anew.
* The base model is loaded as any other (`inference.loading`), so no code that comes with it is run.
* A revision on the Hub is resolved to its commit, in the recipe that the run folder keeps as well.
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
# The options of a model's configuration that decide what its encoder computes; the others may change.
ENCODER_OPTIONS = (
    *("features_as_steps", "projection_size", "frontend", "subsampling", "num_convolutions", "channels"),
    *("stem_channels", "kernel_size", "hidden_size", "bidirectional", "causal", "recurrent_norm", "layer_norm"),
)
# A list with one entry per class of the base model.
_OF_CLASSES = frozenset({"class_weights"})
CLASSIFIER, PHONES = "classifier", "phone_classifier"
MAX_SHOWN = 12


@dataclass(frozen=True)
class WarmStart:
    """Where the weights come from.

    Args:
        init_from: The model to start from: a run folder, another model folder, or a Hub id with or without @REVISION;
            null for random weights.
        init_statistics: Where the statistics of `features.normalization: global` come from: "source" for those of the
            model to start from, "refit" to compute them from the training split.
        init_outputs: The characters or classes of the new model: "corpus" for those of the training split, "keep" for
            those of the model to start from and, after them, those that only the training split has.
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
        name: Its folder, or its Hub id.
        commit: Its commit on the Hub, None for a folder.
    """

    loaded: LoadedModel
    name: str
    commit: str | None

    @classmethod
    def open(cls, init_from: str) -> BaseModel:
        """Loads a model folder, or a Hub id with or without `@REVISION`.

        Raises:
            ModelError: If there is no such model, or something is wrong with it.
        """
        name, at, revision = init_from.rpartition("@")
        if not at or Path(init_from).expanduser().is_dir():
            name, revision = init_from, ""
        loaded = load_model(name, device="cpu", revision=revision or None)
        return cls(loaded, name, None if Path(name).expanduser().is_dir() else loaded.revision)

    @property
    def source(self) -> str:
        """What names it in a recipe: its folder, or its Hub id with the commit."""
        return self.name if self.commit is None else f"{self.name}@{self.commit}"

    @property
    def folder(self) -> Path | None:
        """Its folder, None if it is on the Hub."""
        return Path(self.name).expanduser() if self.commit is None else None

    def is_folder(self, folder: Path) -> bool:
        """Whether the model is in this folder."""
        return self.folder is not None and self.folder.resolve() == folder.resolve()

    def defaults(self, task: Task, model_type: str, keys: Collection[str]) -> dict[str, dict[str, Any]]:
        """The values of this model for the recipe's sections features, text and model.

        Args:
            task: The recipe's task.
            model_type: The recipe's model family.
            keys: The keys that the recipe may have, `features.num_mel_bins`.
        """
        config, extractor = self.loaded.model.config, self.loaded.feature_extractor
        values = {"features": vars(extractor), "text": {}, "model": {}}
        if task.name == self.loaded.task.name:
            values["text"] = task.text_of(self.loaded.tokenizer)
        if model_type == config.model_type:
            values["model"] = {key: value for key, value in config.to_dict().items() if key not in _OF_CLASSES}
        return {
            section: {key: value for key, value in found.items() if f"{section}.{key}" in keys}
            for section, found in values.items()
        }

    def check(self, recipe: Any) -> None:
        """Refuses a `Recipe` whose model could not use these weights.

        Raises:
            RecipeError: If the family, the features or the encoder differ; it names the options that would fit.
        """
        config, extractor = self.loaded.model.config, self.loaded.feature_extractor
        if config.model_type != recipe.model_type:
            raise RecipeError(
                f"{self.source} is a {config.model_type} model and the recipe trains a {recipe.model_type} model "
                f"(those for {recipe.task.name}: {', '.join(recipe.task.model_types)}), whose layers differ: start "
                "from a model of that family, or leave out init_from."
            )
        differences = [
            (f"{section}.{key}", getattr(there, key), values[key])
            for section, there, values, keys in (
                ("features", extractor, recipe.features, recipe.features),
                ("model", config, recipe.model, ENCODER_OPTIONS),
            )
            for key in keys
            if key in values and getattr(there, key) != values[key]
        ]
        if differences:
            listed = ", ".join(f"{key} ({there} there, {here} here)" for key, there, here in differences)
            options = " ".join(f"--{key} {_as_word(there)}" for key, there, _ in differences)
            raise RecipeError(
                f"The weights of {self.source} do not fit the recipe, which differs in {listed}: pass {options}, leave "
                "these keys out of the recipe, or leave out init_from."
            )

    def take_statistics(self, extractor: Any) -> None:
        """Gives a feature extractor the statistics of this model's."""
        extractor.feature_mean = self.loaded.feature_extractor.feature_mean
        extractor.feature_std = self.loaded.feature_extractor.feature_std

    def keep_outputs(self, task: Task, corpus: DatasetDict, options: Any) -> tuple[DatasetDict, Any]:
        """The corpus and the section `text` for a model that has all outputs of this one.

        Raises:
            RecipeError: If this is a model for another task.
        """
        if task.name != self.loaded.task.name:
            raise RecipeError(
                f"{self.source} is a model for {self.loaded.task.name}, whose outputs a model for {task.name} cannot "
                "keep: leave out model.init_outputs."
            )
        return task.keep_outputs(corpus, options, self.loaded.labels)

    def start(self, model: PreTrainedModel, task: Task, tokenizer: Any = None, lexicon: Any = None) -> dict[str, Any]:
        """Copies the weights that fit into a new model.

        Args:
            model: The new model, with fresh weights; changed in place.
            task: Its task.
            tokenizer: Its tokenizer, if it has one.
            lexicon: Its lexicon, if it has one.

        Returns:
            What a run folder records of the base model; see `record`.

        Raises:
            RecipeError: If nothing of the encoder fits.
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
                "leave out init_from."
            )
        return self.record(_in_words(taken), _in_words(new))

    def record(self, taken: str, new: str) -> dict[str, Any]:
        """What a run folder keeps: the model's name, its Hub id and commit, its weights, and what was taken of them.

        A folder has no Hub id; if it was itself trained from a model of the Hub, that one is given.
        """
        record: dict[str, Any] = {"name": self.name, "repo_id": self.name, "revision": self.commit}
        if self.folder is not None:
            earlier = read_record(self.folder) or {}
            record = {"name": self.folder.resolve().name}
            record |= {key: earlier.get(key) for key in ("repo_id", "revision")}
        return {**record, "weights": self.commit or self.loaded.revision, "taken": taken, "new": new}


def read_record(folder: Path) -> dict[str, Any] | None:
    """What a run folder records of the model that it started from; None if it started from random weights."""
    try:
        content = json.loads((folder / BASE_MODEL).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


@torch.no_grad()
def copy_weights(
    source: PreTrainedModel, model: PreTrainedModel, outputs: Mapping[str, tuple[Sequence[str], Sequence[str]]]
) -> tuple[dict[str, str], dict[str, str]]:
    """Copies the tensors of one model into another, by name and shape.

    Args:
        source: The model to copy from.
        model: The model to copy into.
        outputs: For each classifier, by the name of its module, what its rows stand for in `source` and in `model`.
            Other classifiers are not copied.

    Returns:
        What was taken and what was not, as parts of the model and a remark about each.
    """
    own, theirs = model.state_dict(), source.state_dict()
    taken: dict[str, str] = {}
    new: dict[str, str] = {}
    for name, tensor in own.items():
        part = _part(name)
        found = theirs.get(name)
        if part not in (CLASSIFIER, PHONES):
            fits = found is not None and found.shape == tensor.shape
            if fits:
                tensor.copy_(found)
            (taken if fits else new)[part] = ""
            continue
        there, here = outputs.get(part, ((), ()))
        common = [label for label in here if label in set(there)]
        if found is None or found.shape[1:] != tensor.shape[1:] or not common:
            new[part] = ""
            continue
        rows = {label: index for index, label in enumerate(there)}
        tensor[[here.index(label) for label in common]] = found[[rows[label] for label in common]]
        left = [label for label in there if label not in set(here)]
        without = f", without {_listed(left)}" if left else ""
        taken[part] = f" ({len(common)} of {len(there)} rows{without})"
        if fresh := [label for label in here if label not in rows]:
            new[part] = f" ({len(fresh)} of {len(here)} rows: {_listed(fresh)})"
    return taken, new


def _part(name: str) -> str:
    """The part of a model that a parameter belongs to: its module, or the number of its layer."""
    layer = layer_of(name)
    return name.partition(".")[0] if layer is None else f"layer {layer + 1}"


def _in_words(parts: Mapping[str, str]) -> str:
    return ", ".join(f"{part}{remark}" for part, remark in parts.items()) or "nothing"


def _listed(labels: Sequence[str]) -> str:
    shown = " ".join(labels[:MAX_SHOWN])
    return shown if len(labels) <= MAX_SHOWN else f"{shown} and {len(labels) - MAX_SHOWN} more"


def _as_word(value: Any) -> str:
    """A value as the command line takes it."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


__all__ = ["BASE_MODEL", "KEYS", "BaseModel", "WarmStart", "copy_weights", "read_record"]
