"""From a saved folder or a Hub id to a model, or to one sentence that says what is wrong with it.

Decisions:

* The task follows from the model's own configuration, never from a flag that could contradict it.
* Weights that do not fit the configuration are refused: transformers would fill what is lacking with random
  numbers, drop what is too much, and warn.
* The model computes in float32 whatever its weights are stored in, so that figures do not depend on the storage.
* What a folder declares is checked before anything is built of it (`declarations`).
* No code that came with a model is run: our families are part of this package.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import AutoConfig, AutoFeatureExtractor, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import cached_file

import hf_speech.models  # noqa: F401 - registers our families with the Auto classes
from hf_speech.common.fingerprint import fingerprint_of_answers, weights_revision
from hf_speech.errors import AudioError, ModelError
from hf_speech.inference.declarations import check_declarations, check_size
from hf_speech.inference.recordings import Recording, fit_extractor
from hf_speech.models import SpeechFeatureExtractor
from hf_speech.tasks import Task, get_task, task_of_config
from hf_speech.tasks.base import WHOLE_SOUND
from hf_speech.tasks.transcripts import normalize_for

# What libraries raise over files that are missing, damaged, or not meant for them: they hardly look at what they read.
LOADING_ERRORS = (
    *(OSError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, AssertionError, ImportError),
    *(RuntimeError, SafetensorError, StrictDataclassError),
)

HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True)
class LoadedModel:
    """A model, ready to be asked.

    Attributes:
        model: The model, in evaluation mode.
        feature_extractor: What makes its input of waveforms.
        task: What it does.
        name: The folder or Hub id it came from, as it was given.
        tokenizer: What makes text of ids, for tasks that need it.
    """

    model: PreTrainedModel
    feature_extractor: Any
    task: Task
    name: str
    tokenizer: Any = None

    @property
    def revision(self) -> str:
        """Which weights these are: the Hub's commit sha, or the checksum of a local folder's."""
        return weights_revision(Path(self.name).expanduser(), self.model.config)

    def fingerprint(self, language_model: Path | None = None, phones: bool = False) -> dict[str, str]:
        """Digests of everything that decides an answer; see `fingerprint_of_answers`."""
        config = self.find_file("config.json")
        return {} if config is None else fingerprint_of_answers(config.parent, language_model, phones)

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.model.device

    @property
    def sampling_rate(self) -> int:
        """The rate in Hz at which the model hears."""
        return int(self.feature_extractor.sampling_rate)

    # What follows makes it a `Recognizer`, if it is one.

    @property
    def samples_per_frame(self) -> int:
        """Samples that a logit frame spans."""
        return int(self.model.config.inputs_to_logits_ratio)

    @property
    def tokens(self) -> list[str]:
        """The tokens in the order of their ids.

        Raises:
            ModelError: If the model is no recognizer.
        """
        if self.tokenizer is None:
            raise ModelError(f"{self.name} is a model for {self.task.name}: give one for speech recognition.")
        return list(self.tokenizer.convert_ids_to_tokens(range(self.model.config.vocab_size)))

    @property
    def num_phones(self) -> int:
        """Phones that the model writes besides the tokens; see `Recognizer`."""
        return int(getattr(self.model.config, "num_phones", 0))

    @property
    def blank(self) -> int:
        """Id of the CTC blank."""
        return int(self.model.config.pad_token_id)

    @property
    def word_delimiter(self) -> str:
        """The token between words."""
        return str(self.tokenizer.word_delimiter_token)

    def hear(self, recording: Recording) -> Callable[[np.ndarray], np.ndarray]:
        """How the model hears parts of a recording; see `Recognizer`.

        Raises:
            ModelError: If it is none of this package's, or its feature extractor leaves something out.
        """
        if not isinstance(self.feature_extractor, SpeechFeatureExtractor):
            raise ModelError(
                f"{self.name} is none of this package's recognizers, whose frames are counted otherwise: use "
                "transformers' pipeline."
            )
        if any(getattr(self.feature_extractor, key, whole) != whole for key, whole in WHOLE_SOUND.items()):
            raise ModelError(
                f"{self.name} does not hear all of a recording (its feature extractor has one of "
                f"{', '.join(WHOLE_SOUND)}): train it without."
            )
        extractor = fit_extractor(self.feature_extractor, recording)

        @torch.inference_mode()
        def log_probs(samples: np.ndarray) -> np.ndarray:
            try:
                inputs = extractor(samples, sampling_rate=self.sampling_rate, return_tensors="pt").to(self.device)
            except ValueError as error:  # Too short for a frame.
                raise AudioError(f"{recording.name} cannot be used: {error}") from error
            output = self.model(**inputs)
            heard = [output.logits[0]] if output.phone_logits is None else [output.logits[0], output.phone_logits[0]]
            return torch.cat([logits.float().log_softmax(dim=-1) for logits in heard], dim=1).cpu().numpy()

        return log_probs

    def normalize(self, text: str) -> str:
        """A text as the recognizer was taught to write."""
        return normalize_for(text, self.tokenizer)

    def find_file(self, name: str) -> Path | None:
        """A file of the model's folder, or of its repository on the Hub; None if there is none."""
        return _find_file(_source(self.name), name, getattr(self.model.config, "_commit_hash", None))


def load_model(
    model_dir_or_id: str | Path,
    device: str | torch.device | None = None,
    revision: str | None = None,
    task: str | None = None,
) -> LoadedModel:
    """Loads a model folder or a model of the Hub, with its feature extractor.

    Args:
        model_dir_or_id: A folder, such as a run folder, or a Hub id (`owner/name`).
        device: Where to compute; None for a GPU if there is one, else the CPU.
        revision: Branch, tag or commit of a Hub model.
        task: Name of the task that the model must do; None for whichever it does.

    Raises:
        ModelError: If there is no such model, its folder lacks something, or it is a model of another task.
    """
    name = str(model_dir_or_id)
    wanted = None if task is None else get_task(task)
    _check_folder(Path(name).expanduser(), name)
    source = _source(name)
    find_file = functools.partial(_find_file, source, revision=revision)
    check_declarations(find_file, name)
    hub = {"revision": revision, "trust_remote_code": False}
    config = _from_pretrained(AutoConfig, source, name, "configuration", **hub)
    found = task_of_config(config, name)
    if wanted is not None and found is not wanted:
        raise ModelError(f"{name} is a model for {found.name}, not for {wanted.name}: give a model for that task.")
    extractor = _from_pretrained(AutoFeatureExtractor, source, name, "feature extractor", **hub)
    _check_features(config, extractor, name)
    with _told(source, name, "model"):
        check_size(found.auto_model_class, config, _weights(source, find_file), name)
    model, report = _from_pretrained(
        found.auto_model_class,
        source,
        name,
        "model",
        config=config,
        dtype=torch.float32,
        use_safetensors=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # Not ignored, but told below in a sentence.
        **hub,
    )
    _check_weights(report, name)
    try:
        place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        model = model.eval().to(place)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(f"The device '{device}' cannot be used ({_reason(error)}): take cpu.") from error
    tokenizer = found.load_tokenizer(source, revision=revision)
    loaded = LoadedModel(model, extractor, found, name, tokenizer)
    if isinstance(tokenizer, PreTrainedTokenizerBase):
        _check_tokens(loaded)
    return loaded


def _source(name: str) -> str:
    """The folder that is meant, or the Hub id."""
    folder = Path(name).expanduser()
    return str(folder) if folder.is_dir() else name


def _find_file(source: str, file_name: str, revision: str | None) -> Path | None:
    """A file of a folder or of a repository on the Hub; None if there is none, or no way to it."""
    found = cached_file(
        source,
        file_name,
        revision=revision,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return None if found is None else Path(found)


def _weights(source: str, find_file: Callable[[str], Path | None]) -> list[Path]:
    """The files of the weights."""
    if Path(source).is_dir():
        return sorted(Path(source).glob("*.safetensors"))
    single = find_file("model.safetensors")
    return [] if single is None else [single]


def _check_folder(path: Path, name: str) -> None:
    """Refuses what can only be meant as a local folder and is not a whole model."""
    if path.is_file():
        raise ModelError(f"{name} is a file: give the model folder it lies in.")
    if not path.is_dir():
        # `runs/digits` could be a Hub id, too; where there is a folder `runs`, it is not meant as one.
        if not HUB_ID.fullmatch(name) or ("/" in name and path.parent.is_dir()):
            raise ModelError(
                f"There is no folder {name}: give a run folder that `hf-speech train` wrote, or a Hub id such "
                "as owner/name."
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


def _check_weights(report: dict[str, Any], name: str) -> None:
    """Refuses weights that are not those of the configuration; transformers would fill and drop, and warn."""
    missing, unexpected = sorted(report["missing_keys"]), sorted(report["unexpected_keys"])
    mismatched = sorted(key for key, *_ in report["mismatched_keys"])
    for keys, what in (
        (missing, "lack {} of its parameters"),
        (unexpected, "hold {} parameters that it does not have"),
        (mismatched, "have {} parameters of another size"),
    ):
        if keys:
            raise ModelError(
                f"The weights of {name} do not fit its configuration: they {what.format(len(keys))} (such as "
                f"{keys[0]}), so save model and configuration together again."
            )


def _check_features(config: PreTrainedConfig, extractor: Any, name: str) -> None:
    """Refuses an extractor that is another model's."""
    for of_model, of_extractor in (("input_size", "feature_size"), ("hop_length", "hop_length")):
        wanted, given = getattr(config, of_model, None), getattr(extractor, of_extractor, None)
        if wanted is not None and given != wanted:
            raise ModelError(
                f"The feature extractor of {name} has {of_extractor}={given} and its model {of_model}={wanted}: save "
                "both together again."
            )


def _check_tokens(loaded: LoadedModel) -> None:
    """Refuses a tokenizer that is another model's."""
    tokens = loaded.tokens
    if len(loaded.tokenizer) < len(tokens) or loaded.word_delimiter not in tokens:
        raise ModelError(
            f"The tokenizer of {loaded.name} lacks some of the {len(tokens)} tokens that its model writes, or what "
            "stands between words: save both together again."
        )


def _from_pretrained(cls: Any, source: str, name: str, part: str, **arguments: Any) -> Any:
    """`cls.from_pretrained`, with one sentence for whatever goes wrong."""
    with _told(source, name, part):
        return cls.from_pretrained(source, **arguments)


@contextmanager
def _told(source: str, name: str, part: str) -> Iterator[None]:
    """Tells in one sentence what goes wrong when a part of a model is loaded."""
    try:
        yield
    except ModelError:
        raise
    except LOADING_ERRORS as error:
        if not Path(source).is_dir() and part == "configuration":
            raise ModelError(
                f"There is no folder {name} here, and no model of that name can be had from the Hub "
                f"({_reason(error)}): check the name, the network and the login."
            ) from error
        foreign = "custom code" in str(error)
        remedy = "only families of this package and of transformers are run" if foreign else "save the model again"
        raise ModelError(f"The {part} of {name} cannot be loaded ({_reason(error)}): {remedy}.") from error


def _reason(error: BaseException) -> str:
    """The first sentence of a library's error, in one line."""
    text = " ".join(str(error).split())
    first = re.split(r"(?<=[.!]) (?=[A-Z])", text)[0].rstrip(".!:;")
    return first if len(first) <= 200 else f"{first[:200]}..."
