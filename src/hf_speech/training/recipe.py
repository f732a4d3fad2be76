"""Recipes: one YAML file describes a whole experiment.

The keys of a section are the constructor arguments of the object that it configures: `corpus` of the corpus class (or a
list of such sections, see `mixtures`), `text` (transcription only) of `TextOptions`, `features` of
`SpeechFeatureExtractor`, `augmentation` of `Augmentation`, `model` of the model's configuration, and `training` of
`TrainingOptions`. jsonargparse reads the signatures and docstrings, checks types, and provides a command-line override
for every key (`--training.learning_rate 1e-3`). An override without a dot is a key of the recipe itself (`--name`), or
short for a key of the corpus (`--data_dir`) or the warm start (`--init_from`).
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
from hf_speech.training.mixtures import dotted, make_member, pop_members
from hf_speech.training.options import TrainingOptions
from hf_speech.training.warm_start import KEYS, BaseModel, WarmStart

DEFAULT_RECIPE = "digits"
MAX_SHOWN = 400  # Characters of a library's message.
MAX_NAME = 100  # Bytes. File systems allow 255, but names are combined.
SECTIONS = ("corpus", "text", "features", "augmentation", "model", "training")
# Arguments that follow from other sections and are not keys of a recipe.
DERIVED_FEATURES = {"feature_size", "feature_mean", "feature_std", "padding_value"}
DERIVED_MODEL = {"input_size", "hop_length", "num_deltas", "vocab_size", "pad_token_id", "num_phones"}


@dataclass
class Recipe:
    """A resolved recipe.

    Attributes:
        name: Name of the run folder.
        task: The task.
        corpus: The corpus.
        text: Options for transcripts, for a task that has them.
        features: Arguments of `SpeechFeatureExtractor`.
        augmentation: Augmentation of training waveforms.
        model_type: The model family, as in `config.json`.
        model: Arguments of the family's configuration.
        warm_start: The model to start from, if any; keys of the section `model`.
        training: Training options.
        values: All keys and values as plain data, for `to_yaml`.
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
        """Returns the recipe as YAML with all defaults; loading it gives the same recipe."""
        return yaml.safe_dump(self.values, sort_keys=False, allow_unicode=True)


def recipes_dir() -> Path:
    """Returns the folder of the built-in recipes."""
    return bundled_folder("recipes")


def recipe_files() -> list[Path]:
    """Returns the built-in recipes, without the configurations of `accelerate launch`."""
    return sorted(path for path in recipes_dir().rglob("*.yaml") if path.parent.name != "accelerate")


def find_recipe(name: str | Path) -> Path:
    """Finds a recipe by its path, or a built-in recipe by its name.

    Raises:
        RecipeError: If there is no such recipe; the message suggests the nearest name.
    """
    known = {str(file.relative_to(recipes_dir()).with_suffix("")): file for file in recipe_files()}
    bare = str(name).removesuffix(".yaml")
    is_folder = False
    try:
        if Path(name).is_file():
            return Path(name)
        is_folder = bool(str(name)) and Path(name).is_dir()
    except (OSError, ValueError):  # The name is too long for a path, or contains a null byte.
        bare = bare[:MAX_SHOWN]
    if bare in known:
        return known[bare]
    if is_folder and (Path(name) / "recipe.yaml").is_file():
        raise RecipeError(f"{name} is a run folder, not a recipe: give {Path(name) / 'recipe.yaml'}.")
    if is_folder:
        raise RecipeError(
            f"{name} is a folder, not a recipe: for recordings in subfolders by class, write folder --data_dir {name}."
        )
    raise RecipeError(f"There is no recipe {str(name)[:MAX_SHOWN]!r}: {nearest(bare, known)}")


def load_recipe(
    source: str | Path | Mapping[str, Any] = DEFAULT_RECIPE, overrides: Sequence[str] = (), *, to_train: bool = True
) -> Recipe:
    """Reads, checks and resolves a recipe.

    Args:
        source: A YAML file, the name of a built-in recipe, or the recipe as a mapping.
        overrides: Command-line arguments, `["--training.learning_rate", "1e-3", "--data_dir=digits"]`.
        to_train: Whether to load the model to start from, which determines missing keys.

    Returns:
        The resolved recipe.

    Raises:
        RecipeError: If a key is unknown, a value is wrong, or sections do not fit each other or the model to start
            from.
        ModelError: If the model to start from cannot be loaded.
    """
    if isinstance(source, Mapping):
        origin, content = "The recipe", dict(source)
    else:
        path = find_recipe(source)
        origin, content = f"The recipe {path}", _read_yaml(path)
        content.setdefault("name", path.stem)
    given = {f"model.{key}" if key in KEYS else key: value for key, value in parse_overrides(overrides).items()}
    for key in given.keys() & set(SECTIONS):  # A section on the command line replaces that of the file.
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
    if "corpus.name" in given and (replaced := CORPORA.get(content["corpus"].get("name"))) is not None:
        foreign = _parameters(replaced) - _parameters(CORPORA[corpus_name])
        content["corpus"] = {key: value for key, value in content["corpus"].items() if key not in foreign}
    init_from = given.get("model.init_from", content["model"].get("init_from"))
    base = BaseModel.open(init_from) if to_train and init_from not in (None, "null") else None
    base_type = None if base is None else base.loaded.model.config.model_type
    default_type = base_type if base_type in task.model_types else task.model_types[0]
    model_type = given.get("model.model_type", content["model"].get("model_type", default_type))
    if model_type not in task.model_types:
        raise RecipeError(
            f"{origin}: the task {task.name} has no model {model_type!r}: {nearest(model_type, task.model_types)}"
        )

    parser = _make_parser(task, CORPORA[corpus_name], CONFIG_MAPPING[model_type])
    valid = set(parser.get_defaults().keys())
    content["corpus"] = dict(content["corpus"])
    members = pop_members(content["corpus"], given, valid) if corpus_name == Mixture.name else []
    given = {_full_key(key, valid): value for key, value in given.items()}
    for place, keys in ((origin, dotted(content, SECTIONS)), ("The command line", given)):
        for key in keys:
            if key not in valid:
                remedy = nearest(key, valid | set(SECTIONS))
                if given is keys and "did you mean" not in remedy:  # It may be meant as an option of the command.
                    remedy = "no recipe key is similar; --help lists the options of the command."
                raise RecipeError(f"{place} has an unknown key {key!r}: {remedy}")
    if base is not None:
        given["model.init_from"] = base.source
        if not isinstance(source, Mapping) and base.is_folder(find_recipe(source).parent):  # Continues this run.
            content["name"] = f"{content['name']}-continued"
        for section, values in base.defaults(task, model_type, valid).items():
            content[section] = values | content[section]
    place = origin
    try:
        namespace = parser.parse_object(content)
        place = "The command line"
        namespace = parser.parse_args([f"--{key}={value}" for key, value in given.items()], namespace=namespace)
        place = origin
        root = namespace.corpus.data_dir
        corpora = [make_member(number, entry, own, root, task) for number, (entry, own) in enumerate(members)]
    except (ArgumentError, TypeError, ValueError) as error:
        raise RecipeError(f"{place} cannot be used: {_one_line(error)}") from error
    recipe = _resolve(namespace, task, corpus_name, model_type, corpora)
    if base is not None:
        base.check(recipe)
    return recipe


def load_rows(
    loaded: LoadedModel, corpus: str | None, split: str, overrides: Sequence[str] = ()
) -> tuple[Corpus, Selection]:
    """Loads the rows of a corpus to measure a model on, selected as in training.

    Args:
        loaded: The model.
        corpus: Name of the corpus, or None for the corpus of the recipe in the model's folder.
        split: "train", "validation", "test", or "all" for all of them together.
        overrides: Command-line arguments for keys of the corpus.

    Returns:
        The corpus and the rows.

    Raises:
        RecipeError: If there is no recipe that names a corpus, the corpus has no such split, or an override is no key
            of the corpus.
        CorpusError: If there are bad rows and `corpus.bad_rows` is "refuse".
    """
    for key in parse_overrides(overrides):
        if key.partition(".")[0] in ("features", "augmentation", "model", "training"):
            raise RecipeError(f"--{key} has no effect on a trained model: give keys of the corpus only.")
    source: Path | dict[str, Any] = {"corpus": {"name": corpus}}
    if corpus is None:
        source = Path(loaded.name).expanduser() / "recipe.yaml"
        if not source.is_file():
            raise RecipeError(f"{loaded.name} has no recipe.yaml that names a corpus: add --corpus NAME.")
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
    corpora: list[tuple[Member, dict[str, Any]]],
) -> Recipe:
    values: dict[str, Any] = json.loads(json.dumps(namespace.as_dict()))
    # Write all defaults, so that a resolved recipe does not depend on the defaults of this version.
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
    if corpora:  # They already have their folders.
        options |= {"corpora": [member for member, _ in corpora], "data_dir": None}
        values["corpus"] |= {"corpora": [section for _, section in corpora], "data_dir": None}
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
    """Raises RecipeError if a name is not a valid folder name."""
    allowed = name.strip() and name[0] not in ".-" and not set(name) & set('/\\:*?"<>|') and name.isprintable()
    if not allowed or len(name.encode("utf-8", "surrogateescape")) > MAX_NAME:
        raise RecipeError(
            f"The name {name[:MAX_NAME]!r} is not a valid folder name: use at most {MAX_NAME} bytes without slashes or "
            "special characters, beginning with a letter or digit, or set a path with --output_dir."
        )


@functools.cache
def _make_parser(task: Task, corpus: type[Corpus], config: type[PreTrainedConfig]) -> ArgumentParser:
    """Returns a parser for the arguments of the classes that a recipe configures."""
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
    """Parses `--key value`, `--key=value` and `--flag` (true); dashes in keys become underscores.

    Raises:
        RecipeError: If a word belongs to no key.
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
    except ValueError as error:  # The file is not UTF-8.
        raise RecipeError(f"The recipe {path} is not text ({_one_line(error)}): give a YAML file in UTF-8.") from error
    content = _parse_yaml(text, f"The recipe {path}")
    if not isinstance(content, dict):
        raise RecipeError(f"The recipe {path} must consist of sections ({', '.join(SECTIONS)}).")
    return content


def _parse_yaml(text: str, origin: str) -> Any:
    try:
        return yaml.safe_load(text)
    except RecursionError as error:
        raise RecipeError(f"{origin} is nested too deeply: use only sections and their keys.") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: numbers with thousands of digits.
        raise RecipeError(f"{origin} is not valid YAML: {_one_line(error)}") from error


def _full_key(key: str, valid: set[str]) -> str:
    return f"corpus.{key}" if key not in valid and f"corpus.{key}" in valid else key


def _one_line(error: Exception) -> str:
    """Rewrites a message of jsonargparse or YAML as one plain line."""
    text = re.sub(r'Parser key "([^"]+)":', r"\1:", " ".join(str(error).split()))
    text = re.sub(
        r"Does not validate against any of the Union subtypes Subtypes: \[(.*)\] Errors: .* Given value: (.*)",
        lambda match: f"it must be of type {_type_names(match[1])}, and {match[2]} is not",
        text,
    )
    text = re.sub(r"Expected a <class '(\w+)'>\. Got value: (\S+)", r"it must be of type \1, and \2 is not", text)
    text = re.sub(
        r"Expected a typing\.Literal\[(.*?)\]\. Got value: (\S+)", r"it must be one of \1, and \2 is not", text
    )
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]} ..."


def _type_names(types: str) -> str:
    """Rewrites jsonargparse's list of types in the words of a recipe: "[float, float] or null"."""
    names = re.sub(r"<class '(\w+)'>", r"\1", types).replace("tuple[", "[").replace("typing.", "")
    return names.replace(", NoneType", " or null")
