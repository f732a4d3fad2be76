"""Reads the recipe section `corpus` if it is a list: each entry is an ordinary section, checked by its corpus class.

The keys next to `corpora` (`seed`, `min_duration`, ...) are defaults of the entries. On the command line,
`--corpus.0.KEY` sets a key of the first entry, and `--KEY` sets it in every entry that has it. With `--data_dir`,
corpora are in this folder: at their own `data_dir`, or in the subfolder named after the corpus.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser

from hf_speech.common.ranges import check_ranges
from hf_speech.data.corpora import CORPORA, Member, Mixture
from hf_speech.errors import RecipeError, nearest
from hf_speech.tasks import Task

# Keys of `text` that all corpora share.
SHARED_TEXT = {"vocabulary", "unknown", "lexicon"}
_INHERITED = {"seed", "min_duration", "max_duration", "trust_archive"}


def pop_members(
    section: dict[str, Any], given: dict[str, str], known: set[str]
) -> list[tuple[dict[str, Any], dict[str, str]]]:
    """Removes the entries of `corpora` from a section, and their overrides from the command line.

    Args:
        section: The section `corpus`; `corpora` is removed.
        given: Keys and values of the command line; those of the corpora are removed.
        known: The keys of the recipe and its sections.

    Returns:
        Each entry, unchecked, with its overrides.

    Raises:
        RecipeError: If an entry is not a section, or the command line refers to a missing entry.
    """
    entries = section.pop("corpora", None) or []
    if (text := given.pop("corpus.corpora", given.pop("corpora", None))) is not None:
        entries = yaml.safe_load(text)
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, Mapping) for entry in entries):
        raise RecipeError("The section 'corpus' is a mixture: list its corpora, each with its name and its options.")
    inherited = {key: value for key, value in section.items() if key in _INHERITED}
    members: list[tuple[dict[str, Any], dict[str, str]]] = [(inherited | dict(entry), {}) for entry in entries]
    fields = [_fields(number, entry.get("name")) for number, (entry, _) in enumerate(members)]
    for key in list(given):
        if match := re.fullmatch(r"corpus\.(?:corpora\.)?(\d+)\.(.+)", key):
            if int(match[1]) >= len(entries):
                raise RecipeError(f"The command line has {key!r}: the last of the corpora is {len(entries) - 1}.")
            members[int(match[1])][1][match[2]] = given.pop(key)
            continue
        name = key.removeprefix("corpus.")
        is_known = key in known or f"corpus.{name}" in known
        if "." in name or (is_known and name not in _INHERITED):
            continue
        having = [overrides for (_, overrides), names in zip(members, fields, strict=True) if name in names]
        for overrides in having:
            overrides.setdefault(name, given[key])
        if having and not is_known:
            del given[key]
    return members


def make_member(
    number: int, entry: dict[str, Any], given: Mapping[str, str], root: str | None, task: Task
) -> tuple[Member, dict[str, Any]]:
    """Checks an entry and creates its corpus.

    Args:
        number: The position of the entry.
        entry: An entry from `pop_members`.
        given: Its overrides.
        root: The folder of all corpora, if given.
        task: The task.

    Returns:
        The corpus, and its section with all defaults.

    Raises:
        RecipeError: If the entry has an unknown key or a wrong value.
    """
    section = _resolve_entry(number, entry, given, task)
    if root is not None:
        folder = Path(root).expanduser() / (section["data_dir"] or section["name"])
        if section["data_dir"] is not None or folder.exists():
            section["data_dir"] = str(folder)
    options = {key: value for key, value in section.items() if key not in ("name", "weight", "labels", "text")}
    corpus = CORPORA[section["name"]](**options)
    check_ranges(corpus, f"corpus.{number}")
    text = None if task.text_options is None else task.text_options(**section["text"])
    member = Member(
        corpus=corpus,
        weight=section["weight"],
        labels=section["labels"] or {},
        normalize=None if text is None else text.normalize,
    )
    check_ranges(member, f"corpus.{number}")
    return member, section


def _fields(number: int, name: Any) -> set[str]:
    """Returns the options of the corpus class of an entry."""
    if name not in CORPORA or name == Mixture.name:
        remedy = "mixtures cannot be nested." if name == Mixture.name else nearest(str(name), CORPORA)
        raise RecipeError(f"The corpus {number} of the mixture is {name!r}: {remedy}")
    return {field.name for field in dataclasses.fields(CORPORA[name]) if field.init}


def _resolve_entry(number: int, entry: dict[str, Any], given: Mapping[str, str], task: Task) -> dict[str, Any]:
    """Returns an entry with all defaults, after checking the types of its values."""
    corpus = CORPORA[entry["name"]]
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--name", type=str, default=corpus.name)
    parser.add_class_arguments(corpus, skip={"bad_rows"})
    parser.add_argument("--weight", type=float | None, default=None)
    parser.add_argument("--labels", type=dict[str, str | None] | None, default=None)
    if task.text_options is not None:
        skip = SHARED_TEXT & set(inspect.signature(task.text_options).parameters)
        parser.add_class_arguments(task.text_options, "text", skip=skip)
    valid = set(parser.get_defaults().keys())
    for key in (*dotted(entry, ["text"]), *given):
        if key == "bad_rows":
            raise RecipeError("bad_rows applies to all corpora of a mixture: set it next to corpora, or as --bad_rows.")
        if key not in valid and key.partition(".")[0] != "labels":
            raise RecipeError(
                f"The corpus {number} of the mixture ({corpus.name}) has an unknown key {key!r}: {nearest(key, valid)}"
            )
    namespace = parser.parse_object(entry)
    namespace = parser.parse_args([f"--{key}={value}" for key, value in given.items()], namespace=namespace)
    values: dict[str, Any] = json.loads(json.dumps(namespace.as_dict()))
    return {"name": corpus.name} | values


def dotted(content: Mapping[str, Any], sections: Collection[str]) -> list[str]:
    """Returns the keys of a mapping, those in its sections as SECTION.KEY."""
    keys: list[str] = []
    for key, value in content.items():
        inside = key in sections and isinstance(value, Mapping)
        keys += [f"{key}.{inner}" for inner in value] if inside else [str(key)]
    return keys
