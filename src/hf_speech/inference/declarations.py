"""Checks the files of a model folder before a library loads them.

A small configuration can ask for a billion layers, labels or units, and building that model takes forever or all
memory. Therefore these checks run first: files are regular files; JSON files are small, not deeply nested, and objects
without repeated keys; numbers of layers, labels and tokens are limited; ids of labels and tokens are unique; weights
are floating-point numbers; and the configured model, built on the meta device, has about as many parameters as the
weights.
"""

from __future__ import annotations

import json
import stat
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.initialization import no_init_weights

from hf_speech.errors import ModelError

CONFIG, VOCABULARY, TOKENIZER, INDEX = (
    "config.json",
    "vocab.json",
    "tokenizer_config.json",
    "model.safetensors.index.json",
)
JSON_FILES = (CONFIG, "preprocessor_config.json", "processor_config.json", TOKENIZER, VOCABULARY, INDEX)

MAX_JSON_BYTES = 16 << 20
MAX_DEPTH = 32
MAX_LAYERS = 1_000
MAX_LABELS = 65_536
MAX_TOKENS = 262_144
MAX_LIST = 65_536
MAX_NUMBER = 1e12
FLOATING = ("F64", "F32", "F16", "BF16")
# The only integer weights: the number of batches that batch norm has seen.
COUNTERS = "num_batches_tracked"


def check_declarations(find_file: Callable[[str], Path | None], name: str) -> None:
    """Raises ModelError if a JSON file is damaged or contradictory, or declares more than the limits."""
    if Path(name).expanduser().is_dir():
        _check_entries(Path(name).expanduser(), name)
    contents: dict[str, dict[str, Any]] = {}
    for file_name in JSON_FILES:
        path = find_file(file_name)
        if path is not None:
            contents[file_name] = _read_object(path, file_name, name)
        elif file_name == CONFIG:
            return  # The model does not exist or cannot be reached; loading it raises the error.
    _check_config(contents[CONFIG], name)
    _check_vocabulary(contents, name)
    shards = contents.get(INDEX, {}).get("weight_map", {})
    if not isinstance(shards, dict) or not all(
        isinstance(file, str) and Path(file).name == file for file in shards.values()
    ):
        raise ModelError(f"{INDEX} of {name} must name a file of the folder for each weight: save the model again.")


def _check_entries(folder: Path, name: str) -> None:
    """Rejects pipes, sockets, devices and broken links, which could block a reader forever."""
    for entry in folder.iterdir():
        try:
            mode = entry.stat().st_mode
        except OSError as error:
            raise ModelError(f"{entry.name} of {name} cannot be read ({error.strerror}): remove it.") from error
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise ModelError(f"{entry.name} of {name} is not a regular file: replace it with one.")


def _read_object(path: Path, file_name: str, name: str) -> dict[str, Any]:
    subject = f"{file_name} of {name}"
    if path.stat().st_size > MAX_JSON_BYTES:
        raise ModelError(f"{subject} is larger than {MAX_JSON_BYTES >> 20} MiB: save the model again.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_unique_keys)
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{subject} is damaged ({error!s:.200}): save the model again.") from error
    if not isinstance(content, dict):
        raise ModelError(f"{subject} is not a JSON object: save the model again.")
    if _depth(content) > MAX_DEPTH:
        raise ModelError(f"{subject} is nested more than {MAX_DEPTH} deep: save the model again.")
    return content


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        seen: set[str] = set()
        repeated = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {repeated!r:.40} occurs twice")
    return content


def _depth(content: Any) -> int:
    level, depth = [content], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            break
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
    return depth


def _check_config(config: dict[str, Any], name: str) -> None:
    subject = f"The configuration of {name}"
    architectures = config.get("architectures") or []
    if not isinstance(architectures, list) or not all(isinstance(entry, str) for entry in architectures):
        raise ModelError(f"{subject} has no list of architectures: save the model again.")
    for key in ("id2label", "label2id", "auto_map"):
        if not isinstance(config.get(key) or {}, dict):
            raise ModelError(f"{subject} has a {type(config[key]).__name__} as {key}: it must be a mapping.")
    for key, value in config.items():
        if isinstance(value, list) and len(value) > MAX_LIST:
            raise ModelError(f"{subject} lists {len(value):,} values as {key}: at most {MAX_LIST:,} are allowed.")
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        limit = MAX_LAYERS if "layers" in key else MAX_LABELS if key in ("num_labels", "_num_labels") else MAX_NUMBER
        if not abs(value) <= limit:
            raise ModelError(f"{subject} asks for {key}={value!r:.20}: at most {limit:,.0f} is allowed.")
    _check_labels(config.get("id2label") or {}, config.get("label2id") or {}, subject)


def _check_labels(labels: Mapping[str, Any], ids: Mapping[str, Any], subject: str) -> None:
    if max(len(labels), len(ids)) > MAX_LABELS:
        raise ModelError(f"{subject} has {max(len(labels), len(ids)):,} labels: at most {MAX_LABELS:,} are allowed.")
    if set(labels) != {str(index) for index in range(len(labels))}:
        missing = next((index for index in range(len(labels)) if str(index) not in labels), len(labels))
        raise ModelError(
            f"{subject} must number its {len(labels)} labels (id2label) from 0 without gaps: {missing} has no label."
        )
    if not all(isinstance(label, str) for label in labels.values()):
        raise ModelError(f"{subject} has labels (id2label) that are not text: save the model again.")
    if not all(isinstance(index, int) and not isinstance(index, bool) for index in ids.values()):
        raise ModelError(f"{subject} has ids (label2id) that are not whole numbers: save the model again.")
    if len(set(ids.values())) < len(ids) or any(not 0 <= index < MAX_LABELS for index in ids.values()):
        raise ModelError(f"{subject} has repeated or negative ids of labels (label2id): save the model again.")


def _check_vocabulary(contents: Mapping[str, dict[str, Any]], name: str) -> None:
    """Rejects a vocabulary with negative, missing or repeated ids."""
    added = contents.get(TOKENIZER, {}).get("added_tokens_decoder") or {}
    if not isinstance(added, dict) or not all(key.isascii() and key.isdecimal() for key in added):
        raise ModelError(f"{TOKENIZER} of {name} must map ids to added tokens (added_tokens_decoder): save it again.")
    if (vocabulary := contents.get(VOCABULARY)) is None:
        return
    subject = f"The vocabulary of {name} ({VOCABULARY})"
    if len(vocabulary) + len(added) > MAX_TOKENS:
        raise ModelError(f"{subject} has {len(vocabulary):,} tokens: at most {MAX_TOKENS:,} are allowed.")
    if any(isinstance(value, dict) for value in vocabulary.values()):
        return  # A vocabulary for each language, as in MMS; the tokenizer checks it.
    ids = list(vocabulary.values())
    if not all(isinstance(index, int) and not isinstance(index, bool) and 0 <= index < 2 * MAX_TOKENS for index in ids):
        raise ModelError(f"{subject} must give each token a whole number as its id: save the tokenizer again.")
    if len(set(ids)) < len(ids):
        times = Counter(ids)
        repeated = next(token for token, index in vocabulary.items() if times[index] > 1)
        raise ModelError(f"{subject} gives several tokens the same id, such as {repeated!r:.40}: save it again.")
    known = set(ids) | {int(key) for key in added}
    if (missing := next((index for index in range(len(known)) if index not in known), None)) is not None:
        raise ModelError(f"{subject} has a gap: no token has the id {missing}: save the tokenizer again.")


def check_size(model_class: Any, config: PreTrainedConfig, weights: Sequence[Path], name: str) -> None:
    """Raises ModelError if weights are damaged, or the configuration asks for many more parameters than they hold."""
    if not weights:
        return
    held = sum(_count_weights(path, name) for path in weights)
    with torch.device("meta"), no_init_weights():
        configured = sum(parameter.numel() for parameter in model_class.from_config(config).parameters())
    # Libraries split, merge and omit parameters. Loading reports any mismatch of single parameters.
    if configured > 2 * held:
        raise ModelError(
            f"The weights of {name} hold {held:,} parameters and its configuration asks for {configured:,}: save model "
            "and configuration together again."
        )


def _count_weights(path: Path, name: str) -> int:
    """Returns the number of parameters in a safetensors file; opening it checks the header."""
    held = 0
    try:
        with safe_open(path, framework="pt") as tensors:
            for key in tensors.keys():  # noqa: SIM118 - it is not a mapping
                tensor = tensors.get_slice(key)
                if tensor.get_dtype() not in FLOATING and not key.endswith(COUNTERS):
                    raise ModelError(
                        f"{path.name} of {name} holds {key} as {tensor.get_dtype()}, not as floating-point numbers: "
                        "save the model again."
                    )
                held += torch.Size(tensor.get_shape()).numel()
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{path.name} of {name} is damaged ({error!s:.200}): save or copy the model again.") from error
    return held


def check_finite(model: PreTrainedModel, weights: Sequence[Path], name: str) -> None:
    """Raises ModelError if a weight is NaN or infinite."""
    for key, value in model.state_dict().items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            files = ", ".join(path.name for path in weights) or "weights"
            raise ModelError(
                f"{key} in the {files} of {name} is not finite: the training failed, or the file is damaged."
            )
