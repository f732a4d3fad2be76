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
from collections.abc import Mapping
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


@dataclasses.dataclass
class MemberSections:
    """The sections of a mixture's corpora, before they are checked.

    Attributes:
        entries: The entries of the recipe.
        overrides: The command-line overrides of each entry.
    """

    entries: list[dict[str, Any]]
    overrides: list[dict[str, str]]

    def resolve(self, shared: Mapping[str, Any], task: Task) -> tuple[list[Member], list[dict[str, Any]]]:
        """Checks the sections and creates the corpora.

        Args:
            shared: The checked keys next to `corpora`.
            task: The task.

        Returns:
            The corpora, and their sections with all defaults.

        Raises:
            RecipeError: If an entry has an unknown key or a wrong value.
        """
        members, values = [], []
        for number, (entry, given) in enumerate(zip(self.entries, self.overrides, strict=True)):
            section = _resolve_entry(number, entry, given, task)
            if (root := shared.get("data_dir")) is not None:
                folder = Path(root).expanduser() / (section["data_dir"] or section["name"])
                if section["data_dir"] is not None or folder.exists():
                    section["data_dir"] = str(folder)
            options = dict(section)
            corpus = CORPORA[options.pop("name")](
                **{key: value for key, value in options.items() if key not in ("weight", "labels", "text")}
            )
            check_ranges(corpus, f"corpus.{number}")
            text = None if task.text_options is None else task.text_options(**section["text"])
            member = Member(
                corpus=corpus,
                weight=section["weight"],
                labels=section["labels"] or {},
                normalize=None if text is None else text.normalize,
            )
            check_ranges(member, f"corpus.{number}")
            members.append(member)
            values.append(section)
        return members, values


def take_members(section: dict[str, Any], given: dict[str, str], known: set[str]) -> MemberSections:
    """Removes the entries of `corpora` from a section, and their overrides from the command line.

    Args:
        section: The section `corpus`; `corpora` is removed.
        given: Keys and values of the command line; those of the corpora are removed.
        known: The keys of the recipe and its sections.

    Raises:
        RecipeError: If an entry is not a section, or the command line refers to a missing entry.
    """
    entries = section.pop("corpora", None) or []
    if (text := given.pop("corpus.corpora", given.pop("corpora", None))) is not None:
        entries = yaml.safe_load(text)
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, Mapping) for entry in entries):
        raise RecipeError("The section 'corpus' is a mixture: list its corpora, each with its name and its options.")
    inherited = {key: value for key, value in section.items() if key in _INHERITED}
    sections = MemberSections([inherited | dict(entry) for entry in entries], [{} for _ in entries])
    fields = [_fields(number, entry.get("name")) for number, entry in enumerate(sections.entries)]
    for key in list(given):
        if match := re.fullmatch(r"corpus\.(?:corpora\.)?(\d+)\.(.+)", key):
            if int(match[1]) >= len(entries):
                raise RecipeError(f"The command line has {key!r}: the last of the corpora is {len(entries) - 1}.")
            sections.overrides[int(match[1])][match[2]] = given.pop(key)
            continue
        name = key.removeprefix("corpus.")
        is_known = key in known or f"corpus.{name}" in known
        if "." in name or (is_known and name not in _INHERITED):
            continue
        numbers = [number for number, names in enumerate(fields) if name in names]
        for number in numbers:
            sections.overrides[number].setdefault(name, given[key])
        if numbers and not is_known:
            del given[key]
    return sections


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
    for key in (*_dotted(entry), *given):
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


def _dotted(entry: Mapping[str, Any]) -> list[str]:
    keys: list[str] = []
    for key, value in entry.items():
        keys += [f"text.{inner}" for inner in value] if key == "text" and isinstance(value, Mapping) else [str(key)]
    return keys


__all__ = ["MemberSections", "take_members"]
