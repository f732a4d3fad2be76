"""Recipes: one YAML file describes a whole experiment.

A section of a recipe has the constructor arguments of the object that it configures: `corpus` those of the corpus class
(or it is a list of such sections, see `mixtures`), `text` (transcription only) those of `TextOptions`, `features` those
of `SpeechFeatureExtractor`, `augmentation` those of `Augmentation`, `model` those of the model's configuration, and
`training` those of `TrainingOptions`.
No parameter is declared twice: jsonargparse reads the signatures and docstrings, checks types, and gives every key a
command-line override (`--training.learning_rate 1e-3`). An override without a dot is a key of the recipe itself
(`--name`) or shorthand for one of the corpus (`--data_dir`) or of the warm start (`--init_from`).
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace
from transformers import CONFIG_MAPPING, PreTrainedConfig, SequenceFeatureExtractor

from hf_speech.common.files import bundled_folder
from hf_speech.common.ranges import check_ranges
from hf_speech.data.augmentation import Augmentation
from hf_speech.data.corpora import CORPORA, Corpus, Member, Mixture
from hf_speech.errors import RecipeError, nearest
from hf_speech.evaluation.rows import Selection, select_rows
from hf_speech.inference import LoadedModel
from hf_speech.models import SpeechFeatureExtractor
from hf_speech.tasks import DEFAULT_TASK, Task, get_task
from hf_speech.training.mixtures import take_members
from hf_speech.training.options import TrainingOptions
from hf_speech.training.warm_start import KEYS, BaseModel, WarmStart

DEFAULT_RECIPE = "digits"
MAX_SHOWN = 400  # Characters of a library's message.
MAX_NAME = 100  # Bytes: file systems allow 255, and names are combined.
SECTIONS = ("corpus", "text", "features", "augmentation", "model", "training")
# Derived from other parts, so not keys of a recipe.
DERIVED_FEATURES = {"feature_size", "feature_mean", "feature_std", "padding_value"}
DERIVED_MODEL = {"input_size", "hop_length", "num_deltas", "vocab_size", "pad_token_id", "num_phones"}


@dataclass
class Recipe:
    """A resolved recipe: every section is ready to build its object.

    Attributes:
        name: Name of the run folder.
        task: The task.
        corpus: Where its rows come from.
        text: How transcripts are written, for a task that has them.
        features: Arguments of `SpeechFeatureExtractor`.
        augmentation: How training waveforms are varied.
        model_type: The model family, as in a model's `config.json`.
        model: Arguments of that family's configuration.
        warm_start: The model that training starts from, if any; keys of the section `model`.
        training: How it is trained.
        values: All keys and values as plain data, which `to_yaml` writes.
    """

    name: str
    task: Task
    corpus: Corpus
    text: Any
    features: dict[str, Any]
    augmentation: Augmentation
    model_type: str
    model: dict[str, Any]
    warm_start: WarmStart
    training: TrainingOptions
    values: dict[str, Any]

    def to_yaml(self) -> str:
        """The recipe as YAML with every default spelled out; loading it gives the same recipe."""
        return yaml.safe_dump(self.values, sort_keys=False, allow_unicode=True)


def recipes_dir() -> Path:
    """The folder of the recipes that come with the package."""
    return bundled_folder("recipes")


def recipe_files() -> list[Path]:
    """The recipes that come with the package, without the configurations of `accelerate launch` beside them."""
    return sorted(path for path in recipes_dir().rglob("*.yaml") if path.parent.name != "accelerate")


def find_recipe(name: str | Path) -> Path:
    """Finds a recipe by its path, or by its bare name among those that come with the package.

    Raises:
        RecipeError: If there is none, naming the nearest one.
    """
    known = {str(file.relative_to(recipes_dir()).with_suffix("")): file for file in recipe_files()}
    bare = str(name).removesuffix(".yaml")
    try:
        if Path(name).is_file():
            return Path(name)
    except (OSError, ValueError):  # Too long for a path, or with a null byte.
        bare = bare[:MAX_SHOWN]
    if bare in known:
        return known[bare]
    raise RecipeError(f"There is no recipe {str(name)[:MAX_SHOWN]!r}: {nearest(bare, known)}")


def load_recipe(
    source: str | Path | Mapping[str, Any] = DEFAULT_RECIPE, overrides: Sequence[str] = (), *, to_train: bool = True
) -> Recipe:
    """Reads, checks and resolves a recipe.

    Args:
        source: A YAML file, the name of a recipe that comes with the package, or the recipe as a mapping.
        overrides: Command-line words, `["--training.learning_rate", "1e-3", "--data_dir=digits"]`.
        to_train: Whether the model that the recipe starts from is needed: it fills in keys that are left out.

    Returns:
        The resolved recipe.

    Raises:
        RecipeError: On an unknown key (naming the nearest right one), a wrong value, or sections that do not fit, also
            to the model to start from.
        ModelError: If that model cannot be loaded.
    """
    if isinstance(source, Mapping):
        origin, content = "The recipe", dict(source)
    else:
        path = find_recipe(source)
        origin, content = f"The recipe {path}", _read_yaml(path)
        content.setdefault("name", path.stem)
    given = {f"model.{key}" if key in KEYS else key: value for key, value in parse_overrides(overrides).items()}
    for key in given.keys() & set(SECTIONS):  # A whole section replaces that of the file.
        content[key] = _parse_yaml(given.pop(key), f"--{key}")
    if isinstance(content.get("corpus"), list):
        content["corpus"] = {"name": Mixture.name, "corpora": content["corpus"]}
    for key in SECTIONS:
        content[key] = content.get(key) or {}
        if not isinstance(content[key], dict):
            raise RecipeError(f"{origin}: the section {key!r} must be a list of `key: value` lines.")

    task = get_task(given.get("task", content.get("task", DEFAULT_TASK)))
    corpus_name = given.get("corpus.name", content["corpus"].get("name", "synthetic"))
    if corpus_name not in CORPORA:
        raise RecipeError(f"{origin}: there is no corpus {corpus_name!r}: {nearest(corpus_name, CORPORA)}")
    init_from = given.get("model.init_from", content["model"].get("init_from"))
    base = BaseModel.open(init_from) if to_train and init_from not in (None, "null") else None
    own_type = None if base is None else base.loaded.model.config.model_type
    default_type = own_type if own_type in task.model_types else task.model_types[0]
    model_type = given.get("model.model_type", content["model"].get("model_type", default_type))
    if model_type not in task.model_types:
        raise RecipeError(
            f"{origin}: the task {task.name} has no model {model_type!r}: {nearest(model_type, task.model_types)}"
        )

    parser = _make_parser(task, CORPORA[corpus_name], CONFIG_MAPPING[model_type])
    valid = set(parser.get_defaults().keys())
    content["corpus"] = dict(content["corpus"])
    members = take_members(content["corpus"], given, valid) if corpus_name == Mixture.name else None
    given = {_full_key(key, valid): value for key, value in given.items()}
    for where, keys in ((origin, _dotted(content)), ("The command line", given)):
        for key in keys:
            if key not in valid:
                end = nearest(key, valid | set(SECTIONS))
                if given is keys and "did you mean" not in end:  # It may be an option of the command itself.
                    end = "no recipe has one like it, and --help lists what else the command takes."
                raise RecipeError(f"{where} has an unknown key {key!r}: {end}")
    if base is not None:
        given["model.init_from"] = base.source
        if not isinstance(source, Mapping) and base.is_folder(find_recipe(source).parent):  # The same run, continued.
            content["name"] = f"{content['name']}-continued"
        for section, values in base.defaults(task, model_type, valid).items():
            content[section] = values | content[section]
    try:
        namespace = parser.parse_object(content)
        namespace = parser.parse_args([f"--{key}={value}" for key, value in given.items()], namespace=namespace)
        corpora = None if members is None else members.resolve(namespace.corpus.as_dict(), task)
    except (ArgumentError, TypeError, ValueError) as error:
        raise RecipeError(f"{origin} cannot be used: {_one_line(error)}") from error
    recipe = _resolve(namespace, task, corpus_name, model_type, corpora)
    if base is not None:
        base.check(recipe)
    return recipe


def load_rows(
    loaded: LoadedModel, corpus: str | None, split: str, overrides: Sequence[str] = ()
) -> tuple[Corpus, Selection]:
    """Loads the rows of a corpus on which a model is measured, as training would have measured it.

    Args:
        loaded: The model, whose folder has the recipe that names the corpus it was trained on.
        corpus: The corpus's name, or None for that of the recipe.
        split: "train", "validation", "test", or "all" for all of them together.
        overrides: Command-line words with keys of the corpus.

    Returns:
        The corpus and the rows.

    Raises:
        RecipeError: If nothing says which corpus is meant, or it has no such split.
        CorpusError: If there are bad rows and the corpus refuses them.
    """
    source: Path | dict[str, Any] = {"corpus": {"name": corpus}}
    if corpus is None:
        source = Path(loaded.name).expanduser() / "recipe.yaml"
        if not source.is_file():
            raise RecipeError(f"{loaded.name} has no recipe.yaml that names a corpus: pass --corpus NAME.")
    recipe = load_recipe(source, overrides, to_train=False)
    splits = recipe.corpus.load()
    trained_on = corpus is None and len(splits["train"]) > 0
    return recipe.corpus, select_rows(
        loaded, splits, split, recipe.corpus, trained_on=trained_on, options=recipe.text if trained_on else None
    )


def _resolve(
    namespace: Namespace,
    task: Task,
    corpus_name: str,
    model_type: str,
    corpora: tuple[list[Member], list[dict[str, Any]]] | None,
) -> Recipe:
    values: dict[str, Any] = json.loads(json.dumps(namespace.as_dict()))
    # Defaults are written out, so that a resolved recipe does not depend on this version's defaults.
    sections = [key for key in SECTIONS if key != "text" or task.text_options is not None]
    values = {"name": values["name"], "task": task.name, **{key: values.get(key) or {} for key in sections}}
    values["corpus"] = {"name": corpus_name} | values["corpus"]
    values["model"] = {"model_type": model_type} | values["model"]

    def section(key: str, without: str = "") -> dict[str, Any]:
        arguments = namespace.get(key)
        return {name: value for name, value in vars(arguments).items() if name != without} if arguments else {}

    features, training = section("features"), TrainingOptions(**section("training"))
    if (teacher := training.encoder_teacher()) is not None:
        values["training"]["teacher"] = dataclasses.asdict(teacher)
    model = section("model", without="model_type")
    warm_start = WarmStart(**{key: model.pop(key) for key in KEYS})
    augmentation = Augmentation(**section("augmentation"))
    task.check_features(features)
    task.check_augmentation(augmentation.moving)
    training.check_metric(tuple(task.metrics))
    _check_name(values["name"])
    options = section("corpus", without="name")
    if corpora is not None:  # The corpora have their folders already.
        options |= {"corpora": corpora[0], "data_dir": None}
        values["corpus"] |= {"corpora": corpora[1], "data_dir": None}
    corpus = CORPORA[corpus_name](**options)
    check_ranges(corpus, "corpus")
    return Recipe(
        name=values["name"],
        task=task,
        corpus=corpus,
        text=None if task.text_options is None else task.text_options(**section("text")),
        features=features,
        augmentation=augmentation,
        model_type=model_type,
        model=model,
        warm_start=warm_start,
        training=training,
        values=values,
    )


def _check_name(name: str) -> None:
    """Refuses a name that cannot be that of a folder inside of another one."""
    allowed = name.strip() and name[0] not in ".-" and not set(name) & set('/\\:*?"<>|') and name.isprintable()
    if not allowed or len(name.encode("utf-8", "surrogateescape")) > MAX_NAME:
        raise RecipeError(
            f"The name {name[:MAX_NAME]!r} cannot be that of a run folder: give one of at most {MAX_NAME} bytes, "
            "without slashes and the like, that begins with a letter or digit; --output_dir takes a path."
        )


@functools.cache
def _make_parser(task: Task, corpus: type[Corpus], config: type[PreTrainedConfig]) -> ArgumentParser:
    """A parser whose keys are the arguments of the classes that a recipe configures."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--name", type=str, default="run", help="Name of the run folder.")
    parser.add_argument("--task", type=str, default=task.name, help="The task.")
    parser.add_argument("--corpus.name", type=str, default=corpus.name, help="The corpus.")
    parser.add_class_arguments(corpus, "corpus", skip=_parameters(corpus) & {"corpora"})
    if task.text_options is not None:
        parser.add_class_arguments(task.text_options, "text")
    inherited = _parameters(SequenceFeatureExtractor.__init__) - {"self", "sampling_rate"}
    skip = _parameters(SpeechFeatureExtractor) & (DERIVED_FEATURES | inherited)
    parser.add_class_arguments(SpeechFeatureExtractor, "features", skip=skip)
    parser.add_class_arguments(Augmentation, "augmentation")
    parser.add_argument("--model.model_type", type=str, default=config.model_type, help="The model family.")
    skip = _parameters(config) & (DERIVED_MODEL | _parameters(PreTrainedConfig))
    parser.add_class_arguments(config, "model", skip=skip)
    parser.add_class_arguments(WarmStart, "model", as_group=False)
    parser.add_class_arguments(TrainingOptions, "training")
    return parser


def _parameters(function: Any) -> set[str]:
    return set(inspect.signature(function).parameters)


def parse_overrides(words: Sequence[str]) -> dict[str, str]:
    """Reads `--key value`, `--key=value` and `--flag` (true) into a mapping; dashes inside keys become underscores.

    Raises:
        RecipeError: On a word that belongs to no key.
    """
    given: dict[str, str] = {}
    pending: str | None = None
    for word in words:
        if word.startswith("--") and len(word) > 2:
            if pending is not None:
                given[pending] = "true"
            key, equals, value = word[2:].partition("=")
            key = key.replace("-", "_")
            pending = None if equals else key
            if equals:
                given[key] = value
        elif pending is not None:
            given[pending], pending = word, None
        else:
            raise RecipeError(f"{word!r} belongs to no option: write overrides as --section.key value.")
    if pending is not None:
        given[pending] = "true"
    return given


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except ValueError as error:  # Bytes that are not UTF-8.
        raise RecipeError(f"The recipe {path} is not valid YAML: {_one_line(error)}") from error
    content = _parse_yaml(text, f"The recipe {path}")
    if not isinstance(content, dict):
        raise RecipeError(f"The recipe {path} must consist of sections ({', '.join(SECTIONS)}).")
    return content


def _parse_yaml(text: str, origin: str) -> Any:
    try:
        return yaml.safe_load(text)
    except RecursionError as error:
        raise RecipeError(f"{origin} is nested too deeply: it has sections, and keys in them.") from error
    except (yaml.YAMLError, ValueError) as error:  # Also numbers of thousands of digits.
        raise RecipeError(f"{origin} is not valid YAML: {_one_line(error)}") from error


def _dotted(content: Mapping[str, Any]) -> list[str]:
    keys: list[str] = []
    for key, value in content.items():
        keys += [f"{key}.{inner}" for inner in value] if key in SECTIONS else [str(key)]
    return keys


def _full_key(key: str, valid: set[str]) -> str:
    return f"corpus.{key}" if key not in valid and f"corpus.{key}" in valid else key


def _one_line(error: Exception) -> str:
    """jsonargparse's and YAML's messages in one line and in this package's words."""
    text = " ".join(str(error).split())
    if len(text) > MAX_SHOWN:
        text = f"{text[:MAX_SHOWN]} ..."
    text = re.sub(r'Parser key "([^"]+)":', r"\1:", text)
    text = re.sub(r"Expected a <class '(\w+)'>\. Got value: (\S+)", r"it must be of type \1, and \2 is not", text)
    return re.sub(
        r"Expected a typing\.Literal\[(.*?)\]\. Got value: (\S+)", r"it must be one of \1, and \2 is not", text
    )
