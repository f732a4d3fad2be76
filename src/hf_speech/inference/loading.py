"""Loads a model from a folder or a Hub id, or raises a one-sentence error.

* The task comes from the model's configuration, so no option can contradict it.
* Weights that do not fit the configuration are an error; transformers would only warn, initialize missing weights
  randomly and drop the others.
* The model computes in float32 whatever the precision of the stored weights, so results do not depend on it.
* The declarations of a folder are checked before the model is built (`declarations`).
* Remote code is never run: the model families of hf_speech are part of this package.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import model_info, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError, StrictDataclassError
from safetensors import SafetensorError
from transformers import AutoConfig, AutoFeatureExtractor, PreTrainedConfig, PreTrainedTokenizerBase
from transformers.utils import logging

import hf_speech.models  # noqa: F401 - registers the model families with the Auto classes
from hf_speech.common.text import counted
from hf_speech.errors import ModelError
from hf_speech.inference.declarations import check_declarations, check_finite, check_size
from hf_speech.inference.pytorch import LoadedModel, find_model_file, local_or_hub
from hf_speech.tasks import check_verb, task_of_config

# Errors that libraries raise for missing, damaged or unsuitable files, which they barely validate.
LOADING_ERRORS = (
    *(OSError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, AssertionError, ImportError),
    *(RuntimeError, SafetensorError, StrictDataclassError, *HfHubHTTPError.__bases__),
)

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def load_model(
    model_dir_or_id: str | Path,
    device: str | torch.device | None = None,
    revision: str | None = None,
    verb: str | None = None,
) -> LoadedModel:
    """Loads a model from a folder or the Hub, with its feature extractor and tokenizer.

    Args:
        model_dir_or_id: A folder, such as a run folder, or a Hub id (`owner/name`).
        device: Device of the model; None for a GPU if there is one, else the CPU.
        revision: Branch, tag or commit of a Hub model.
        verb: The command that will use the model; it must match the model's task. None accepts any task.

    Raises:
        ModelError: If the model does not exist, is incomplete or damaged, or is for another task.
    """
    name = str(model_dir_or_id)
    _check_folder(Path(name).expanduser(), name)
    source = local_or_hub(name)
    if not Path(source).is_dir():
        _check_hub(name, revision)
    find_file = functools.partial(find_model_file, source, revision=revision)
    check_declarations(find_file, name)
    hub = {"revision": revision, "trust_remote_code": False}
    config = _from_pretrained(AutoConfig, source, name, "configuration", **hub)
    task = task_of_config(config, name)
    check_verb(task, name, verb)
    extractor = _from_pretrained(AutoFeatureExtractor, source, name, "feature extractor", **hub)
    _check_features(config, extractor, name)
    weights = _weights(source, find_file)
    with _explained(source, name, "model"):
        check_size(task.auto_model_class, config, weights, name)
    model, report = _from_pretrained(
        task.auto_model_class,
        source,
        name,
        "model",
        config=config,
        dtype=torch.float32,
        use_safetensors=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # Reported below in one sentence.
        **hub,
    )
    _check_weights(report, name)
    if not Path(source).is_dir() and (file := find_file("config.json")) is not None:
        model.config._commit_hash = file.parent.name  # .../snapshots/COMMIT/config.json; transformers 5 drops it.
    check_finite(model, weights, name)
    try:
        model = model.eval().to(torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu")))
    except (RuntimeError, AssertionError) as error:
        raise ModelError(f"The device '{device}' cannot be used ({_reason(error)}): use cpu.") from error
    tokenizer = task.load_tokenizer(source, revision=revision)
    loaded = LoadedModel(model, extractor, task, name, tokenizer)
    if isinstance(tokenizer, PreTrainedTokenizerBase):
        _check_tokens(loaded)
    return loaded


def _weights(source: str, find_file: Callable[[str], Path | None]) -> list[Path]:
    """Returns the files of the weights."""
    if Path(source).is_dir():
        return sorted(Path(source).glob("*.safetensors"))
    single = find_file("model.safetensors")
    return [] if single is None else [single]


def _check_folder(path: Path, name: str) -> None:
    """Raises ModelError if a name can only be a local folder and that folder is not a complete model."""
    if path.is_file():
        raise ModelError(f"{name} is a file: give the model folder that contains it.")
    if not path.is_dir():
        # `runs/digits` could also be a Hub id, but not if the folder `runs` exists.
        if not HUB_ID.fullmatch(name) or path.parent.is_dir():
            raise ModelError(
                f"There is no folder {name}: give a run folder from `hf-speech train`, or a Hub id such as owner/name."
            )
        return
    remedy = "give the model folder that `hf-speech train` or `save_pretrained` wrote."
    if not (path / "config.json").is_file():
        nested = sorted(file.parent for file in path.glob("*/config.json"))
        raise ModelError(
            f"{name} is not a model folder (it has no config.json): "
            + (f"did you mean {nested[0]}?" if nested else remedy)
        )
    if not any(path.glob("*.safetensors")):
        raise ModelError(f"{name} has no weights (model.safetensors): {remedy}")
    if not any((path / file).is_file() for file in ("preprocessor_config.json", "processor_config.json")):
        raise ModelError(f"{name} has no feature extractor (preprocessor_config.json): {remedy}")


def _check_hub(name: str, revision: str | None) -> None:
    """Raises ModelError if a model is neither cached nor on the Hub, without the client's retries of a minute."""
    if isinstance(try_to_load_from_cache(name, "config.json", revision=revision), str):
        return
    with _explained(name, name, "configuration"):
        model_info(name, revision=revision, timeout=10)


def _check_weights(report: dict[str, Any], name: str) -> None:
    """Raises ModelError if the weights do not match the configuration."""
    missing, unexpected = sorted(report["missing_keys"]), sorted(report["unexpected_keys"])
    mismatched = sorted(key for key, *_ in report["mismatched_keys"])
    for keys, problem in (
        (missing, "lack {} that it has"),
        (unexpected, "hold {} that it does not have"),
        (mismatched, "have {} of another size"),
    ):
        if keys:
            found = problem.format(counted(len(keys), "parameter"))
            raise ModelError(
                f"The weights of {name} do not fit its configuration: they {found} (such as {keys[0]}), so save model "
                "and configuration together again."
            )


def _check_features(config: PreTrainedConfig, extractor: Any, name: str) -> None:
    """Raises ModelError if the feature extractor does not match the model."""
    for model_key, extractor_key in (("input_size", "feature_size"), ("hop_length", "hop_length")):
        expected, actual = getattr(config, model_key, None), getattr(extractor, extractor_key, None)
        if expected is not None and actual != expected:
            raise ModelError(
                f"The feature extractor of {name} has {extractor_key}={actual} and its model {model_key}={expected}: "
                "save both together again."
            )


def _check_tokens(loaded: LoadedModel) -> None:
    """Raises ModelError if the tokenizer does not match the model."""
    tokens = loaded.tokens
    if len(loaded.tokenizer) < len(tokens) or loaded.word_delimiter not in tokens:
        raise ModelError(
            f"The tokenizer of {loaded.name} lacks some of the {len(tokens)} tokens of its model, or the word "
            "delimiter: save both together again."
        )


def _from_pretrained(cls: Any, source: str, name: str, part: str, **arguments: Any) -> Any:
    """Calls `cls.from_pretrained`; any error becomes one sentence."""
    with _explained(source, name, part):
        return cls.from_pretrained(source, **arguments)


@contextmanager
def _explained(source: str, name: str, part: str) -> Iterator[None]:
    """Turns errors while loading a part of a model into one sentence, and hides progress bars."""
    shows_bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    except ModelError:
        raise
    except LOADING_ERRORS as error:
        if not Path(source).is_dir() and part == "configuration":
            raise ModelError(
                f"There is no folder {name}, and no model of that name can be loaded from the Hub "
                f"({_reason(error)}): check the name, the network and the login."
            ) from error
        is_remote_code = "custom code" in str(error)
        remedy = "only models of hf_speech and transformers are supported" if is_remote_code else "save the model again"
        raise ModelError(f"The {part} of {name} cannot be loaded ({_reason(error)}): {remedy}.") from error
    finally:
        if shows_bars:
            logging.enable_progress_bar()


def _reason(error: BaseException) -> str:
    """Returns the first sentence of a library's error on one line."""
    text = " ".join(str(error).split())
    first = re.split(r"(?<=[.!]) (?=[A-Z])", text)[0].rstrip(".!:;")
    return first if len(first) <= 200 else f"{first[:200]}..."
