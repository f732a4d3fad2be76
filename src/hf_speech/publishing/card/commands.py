"""The commands on a card: what a reader can run, without the folders of the machine that trained the model."""

from __future__ import annotations

import importlib.metadata
import re
import shlex
from pathlib import Path

from packaging.requirements import Requirement

from hf_speech.publishing.card.facts import Evaluation, RunFacts

PACKAGE = __name__.partition(".")[0]
# What the card's example and the remote code import.
REQUIREMENTS = ("torch", "transformers", "huggingface_hub", "numpy", "librosa")
# Options that say where results go or where the computation runs, which is the reader's own choice.
_OWN_CHOICE = frozenset({"--output", "--output_dir", "--device", "--batch_size", "--language_model"})
_PATH = re.compile(r"[\\/]|^~|^\.{1,2}$")
_FILE = re.compile(r"\.\w{1,5}$")


def evaluation_command(facts: RunFacts, evaluation: Evaluation, repo_id: str, revision: str | None) -> str:
    """The command with which a reader measures a published model as it was measured here."""
    model = f"{repo_id}@{revision}" if revision else repo_id
    words = ["hf-speech", "evaluate", model, "--corpus", str(evaluation.corpus), "--split", str(evaluation.split)]
    corpus = facts.recipe.get("corpus") or {}
    before = ""
    if corpus.get("corpora") and evaluation.corpus == corpus.get("name"):  # The recipe alone says which they are.
        folder = repo_id.rpartition("/")[2]
        pinned = ["--revision", revision] if revision else []
        before = shlex.join(["hf", "download", repo_id, *pinned, "--local-dir", folder]) + " && "
        words[2:5] = [folder]
    given = _options(str(evaluation.command))
    if "--data_dir" in given or corpus.get("data_dir"):
        given = {"--data_dir": "DIR"} | {name: value for name, value in given.items() if name != "--data_dir"}
    for name, value in given.items():
        if name not in ("--corpus", "--split", *_OWN_CHOICE):
            words += [name, _without_place(name, value)] if value else [name]
    if evaluation.decoder and evaluation.decoder.get("language_model"):
        words += ["--language_model", Path(str(evaluation.decoder["language_model"])).name]
    return before + shlex.join(words)


def repeatable(command: str) -> str:
    """A command with `DIR` and `FILE` in place of folders and files of the machine that it ran on."""
    words = _split(command)
    shown = []
    for index, word in enumerate(words):
        name, equals, value = word.partition("=")
        if word.startswith("--") and equals:
            shown.append(f"{name}={_without_place(name, value)}")
        elif index > 0 and not word.startswith("--"):
            before = words[index - 1]
            recipe = words[:2] == ["hf-speech", "train"] and index == 2
            shown.append(Path(word).name if recipe else _without_place(before if before.startswith("--") else "", word))
        else:
            shown.append(word)
    return shlex.join(shown)


def requirements() -> list[str]:
    """What to install to run the card's example: the packages, with the versions that this package asks for."""
    asked: dict[str, Requirement] = {}
    try:
        for line in importlib.metadata.requires(PACKAGE) or []:
            requirement = Requirement(line)
            asked.setdefault(requirement.name.replace("-", "_").lower(), requirement)
    except importlib.metadata.PackageNotFoundError:  # Run from a folder that was never installed.
        pass
    found = []
    for name in REQUIREMENTS:
        if name not in asked:
            found.append(name)
            continue
        # The upper bound of torch is that of torchaudio, which a published model does without.
        bounds = [str(part) for part in asked[name].specifier if name != "torch" or part.operator == ">="]
        found.append(f'"{name}{",".join(sorted(bounds, reverse=True))}"' if bounds else name)
    return found


def install_command() -> str:
    """How to install this package."""
    return f"pip install {PACKAGE}"


def homepage() -> str | None:
    """The page of this package, if its metadata names one."""
    try:
        named = importlib.metadata.metadata(PACKAGE).get_all("Project-URL") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    pages = {name.lower(): page for name, _, page in (entry.partition(", ") for entry in named)}
    return next((pages[name] for name in ("homepage", "repository", "source", "documentation") if name in pages), None)


def _options(command: str) -> dict[str, str]:
    """The options of an `evaluate` command and their values; empty for other verbs, whose options differ in meaning."""
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


def _without_place(name: str, value: str) -> str:
    """`DIR` or `FILE` for a path; any other value as it is."""
    if name.endswith("data_dir"):
        return "DIR"
    is_name = "://" in value or (name.endswith("repo") and not value.startswith((".", "/", "~")))
    if is_name or not _PATH.search(value):
        return value
    return "FILE" if _FILE.search(value) or name.endswith("file") else "DIR"


def _split(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:  # A quotation mark that is not closed.
        return command.split()
