"""The commands on a card, which readers can run: without folders of the machine that trained the model."""

from __future__ import annotations

import importlib.metadata
import re
import shlex
from pathlib import Path

from packaging.requirements import Requirement

from hf_speech.publishing.card.facts import Evaluation, RunFacts

PACKAGE = __name__.partition(".")[0]
# Packages that the card's example and the remote code import.
REQUIREMENTS = ("torch", "transformers", "huggingface_hub", "numpy", "librosa")
# Options for outputs and hardware, which readers choose themselves.
_LOCAL_OPTIONS = frozenset({"--output", "--output_dir", "--device", "--batch_size", "--language_model"})
_PATH = re.compile(r"[\\/]|^~|^\.{1,2}$")
_FILE = re.compile(r"\.\w{1,5}$")


def evaluation_command(facts: RunFacts, evaluation: Evaluation, repo_id: str, revision: str | None) -> str:
    """Returns the command with which a reader can reproduce an evaluation of a published model."""
    model = f"{repo_id}@{revision}" if revision else repo_id
    words = ["hf-speech", "evaluate", model, "--corpus", str(evaluation.corpus), "--split", str(evaluation.split)]
    corpus = facts.recipe.get("corpus") or {}
    download = ""
    if corpus.get("corpora") and evaluation.corpus == corpus.get("name"):  # Only the recipe lists these corpora.
        folder = repo_id.rpartition("/")[2]
        pinned = ["--revision", revision] if revision else []
        download = shlex.join(["hf", "download", repo_id, *pinned, "--local-dir", folder]) + " && "
        words[2:5] = [folder]
    given = _options(str(evaluation.command))
    if "--data_dir" in given or corpus.get("data_dir"):
        given = {"--data_dir": "DIR"} | {name: value for name, value in given.items() if name != "--data_dir"}
    for name, value in given.items():
        if name not in ("--corpus", "--split", *_LOCAL_OPTIONS):
            words += [name, _anonymize(name, value)] if value else [name]
    if evaluation.decoder and evaluation.decoder.get("language_model"):
        words += ["--language_model", Path(str(evaluation.decoder["language_model"])).name]
    return download + shlex.join(words)


def repeatable(command: str) -> str:
    """Replaces folders and files of this machine in a command by `DIR` and `FILE`."""
    words = _split(command)
    replaced = []
    for index, word in enumerate(words):
        name, equals, value = word.partition("=")
        if word.startswith("--") and equals:
            replaced.append(f"{name}={_anonymize(name, value)}")
        elif index > 0 and not word.startswith("--"):
            option = words[index - 1] if words[index - 1].startswith("--") else ""
            recipe = words[:2] == ["hf-speech", "train"] and index == 2
            replaced.append(Path(word).name if recipe else _anonymize(option, word))
        else:
            replaced.append(word)
    return shlex.join(replaced)


def requirements() -> list[str]:
    """Returns the requirements of the card's example, with the version bounds of this package."""
    declared: dict[str, Requirement] = {}
    try:
        for line in importlib.metadata.requires(PACKAGE) or []:
            requirement = Requirement(line)
            declared.setdefault(requirement.name.replace("-", "_").lower(), requirement)
    except importlib.metadata.PackageNotFoundError:  # Not installed, only on the import path.
        pass
    found = []
    for name in REQUIREMENTS:
        if name not in declared:
            found.append(name)
            continue
        # torch has an upper bound only because of torchaudio, which published models do not need.
        bounds = [str(part) for part in declared[name].specifier if name != "torch" or part.operator == ">="]
        found.append(f'"{name}{",".join(sorted(bounds, reverse=True))}"' if bounds else name)
    return found


def install_command() -> str:
    """Returns the command that installs this package."""
    return f"pip install {PACKAGE}"


def homepage() -> str | None:
    """Returns the homepage or repository in the metadata of this package, if any."""
    try:
        named = importlib.metadata.metadata(PACKAGE).get_all("Project-URL") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    pages = {name.lower(): page for name, _, page in (entry.partition(", ") for entry in named)}
    return next((pages[name] for name in ("homepage", "repository", "source", "documentation") if name in pages), None)


def _options(command: str) -> dict[str, str]:
    """Returns the options and values of an `evaluate` command; empty for other verbs, whose options differ."""
    words = _split(command)
    if words[1:2] != ["evaluate"]:
        return {}
    found: dict[str, str] = {}
    index = 2
    while index < len(words):
        name, equals, value = words[index].partition("=")
        index += 1
        if name.startswith("--"):
            if not equals and index < len(words) and not words[index].startswith("--"):
                value = words[index]
                index += 1
            found[name] = value
    return found


def _anonymize(name: str, value: str) -> str:
    """Replaces the value of an option by `DIR` or `FILE` if it is a path."""
    if name.endswith("data_dir"):
        return "DIR"
    is_name = "://" in value or (name.endswith("repo") and not value.startswith((".", "/", "~")))
    if is_name or not _PATH.search(value):
        return value
    return "FILE" if _FILE.search(value) or name.endswith("file") else "DIR"


def _split(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:  # An unclosed quotation mark.
        return command.split()
