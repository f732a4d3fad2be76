"""What the files of a model folder declare, checked before a library believes it.

A configuration of a hundred bytes can ask for a billion layers, labels or units, and whoever builds the model first and
looks at its weights afterwards runs out of time or memory. So three things come before: the JSON files are small, whole
and objects; numbers that something is made of one by one are bounded; and the model that the configuration asks for,
built without memory, has about as many parameters as the weights hold.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import PreTrainedConfig
from transformers.initialization import no_init_weights

from hf_speech.errors import ModelError

CONFIG = "config.json"
JSON_FILES = (CONFIG, "preprocessor_config.json", "processor_config.json", "tokenizer_config.json", "vocab.json")

MOST_JSON_BYTES = 16 << 20
MOST_LAYERS = 1_000
MOST_LABELS = 65_536


def check_declarations(find_file: Callable[[str], Path | None], name: str) -> None:
    """Refuses JSON files that are damaged, or declare what would take forever to make.

    Args:
        find_file: Gives the path of a file of the model, None if it has no such file.
        name: What errors call the model.

    Raises:
        ModelError: If a file is too large, no JSON object, or declares too much.
    """
    for file_name in JSON_FILES:
        path = find_file(file_name)
        if path is not None:
            content = _read_object(path, file_name, name)
            if file_name == CONFIG:
                _check_config(content, name)
        elif file_name == CONFIG:
            return  # There is no such model, or no way to it: whoever loads it will say so.


def _read_object(path: Path, file_name: str, name: str) -> dict[str, Any]:
    what = f"{file_name} of {name}"
    if path.stat().st_size > MOST_JSON_BYTES:
        raise ModelError(f"{what} is larger than {MOST_JSON_BYTES >> 20} MiB: save the model again.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{what} is damaged ({error}): save the model again.") from error
    if not isinstance(content, dict):
        raise ModelError(f"{what} is no JSON object: save the model again.")
    return content


def _check_config(config: dict[str, Any], name: str) -> None:
    architectures = config.get("architectures") or []
    if not isinstance(architectures, list) or not all(isinstance(entry, str) for entry in architectures):
        raise ModelError(f"The configuration of {name} has no list of architectures: save the model again.")
    for key, value in config.items():
        most = MOST_LAYERS if "layers" in key else MOST_LABELS if key in ("num_labels", "_num_labels") else None
        if most is not None and isinstance(value, int | float) and value > most:
            raise ModelError(f"The configuration of {name} asks for {key}={value!r:.20}, and {most:,} is the most.")


def check_size(model_class: Any, config: PreTrainedConfig, weights: Sequence[Path], name: str) -> None:
    """Refuses a configuration that asks for many more parameters than there are weights.

    Args:
        model_class: The Auto class of the model.
        config: Its configuration.
        weights: Its safetensors files; none if they lie in several files of the Hub, which are then not looked at.
        name: What errors call the model.

    Raises:
        ModelError: If it does.
        Exception: Whatever else libraries raise over damaged weights or a configuration that is none.
    """
    if not weights:
        return
    held = 0
    for path in weights:
        with safe_open(path, framework="pt") as tensors:  # It checks its header against the file.
            for key in tensors.keys():  # noqa: SIM118 - it is no mapping
                held += torch.Size(tensors.get_slice(key).get_shape()).numel()
    with torch.device("meta"), no_init_weights():
        asked = sum(parameter.numel() for parameter in model_class.from_config(config).parameters())
    # Libraries split, merge and leave out parameters; what does not fit exactly is told when they are loaded.
    if asked > 2 * held:
        raise ModelError(
            f"The weights of {name} do not fit its configuration, which asks for {asked:,} parameters: they hold "
            f"{held:,}, so save model and configuration together again."
        )


__all__ = ["check_declarations", "check_size"]
