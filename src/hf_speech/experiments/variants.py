"""Parses `--over`: the keys of a recipe that vary, and their values.

- `features.normalization=none,utterance,global,peak` lists values. Several `--over` give all combinations.
- `features.feature_type+features.num_deltas=mfcc+0,mfcc+1,log_mel+0` varies keys together.
- `training.learning_rate=1e-4..1e-2:log` is a range, for searches only.

Commas inside brackets and braces belong to the value: `augmentation.speed=[0.9,1.1],[0.8,1.25]`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from hf_speech.common.text import counted
from hf_speech.errors import RecipeError

_RANGE = re.compile(r"(?P<low>[^.\s][^\s]*?)\.\.(?P<high>[^\s:]+)(?P<log>:log)?")


@dataclass(frozen=True)
class Axis:
    """Keys that vary together.

    Attributes:
        keys: Keys of the recipe, such as "features.normalization".
        choices: The values of the keys in each choice.
    """

    keys: tuple[str, ...]
    choices: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class SearchRange:
    """A range that a search draws from.

    Attributes:
        low: Lower end.
        high: Upper end.
        integer: Whether to draw whole numbers only.
        log: Whether to draw on a logarithmic scale.
    """

    low: float
    high: float
    integer: bool
    log: bool


@dataclass(frozen=True)
class Variant:
    """One combination of values.

    Attributes:
        settings: Value of each key.
        name: Name of its run folder.
    """

    settings: dict[str, str]
    name: str

    @property
    def overrides(self) -> list[str]:
        """The settings as command-line arguments."""
        return overrides_of(self.settings)


def overrides_of(settings: dict[str, str]) -> list[str]:
    """Returns settings as command-line arguments."""
    return [word for key, value in settings.items() for word in (f"--{key}", value)]


def parse_axis(text: str) -> Axis:
    """Reads `KEY=VALUE,VALUE,...` or `KEY+KEY=VALUE+VALUE,...`.

    Raises:
        RecipeError: If the text has another form or repeats a value.
    """
    left, equals, right = text.partition("=")
    keys = tuple(key.strip().replace("-", "_") for key in left.split("+"))
    choices = [value.strip() for value in _split(right)]
    if not equals or not all(keys) or not all(choices):
        raise RecipeError(f"--over {text!r} is not KEY=VALUE,VALUE: write --over features.normalization=none,peak.")
    pairs = [(choice,) if len(keys) == 1 else tuple(choice.split("+")) for choice in choices]
    for choice, pair in zip(choices, pairs, strict=True):
        if len(pair) != len(keys):
            raise RecipeError(
                f"--over {text!r} has {counted(len(keys), 'key')} and {counted(len(pair), 'value')} in {choice!r}: "
                "give each choice a value for every key, with + between them."
            )
    if len(set(pairs)) < len(pairs):
        raise RecipeError(f"--over {text!r} has a value twice: remove one.")
    return Axis(keys, tuple(pairs))


def variants_of(axes: Sequence[Axis]) -> list[Variant]:
    """Returns all combinations of the axes; the last axis varies fastest.

    Raises:
        RecipeError: If a key is in two axes, or a value is a range.
    """
    keys = [key for axis in axes for key in axis.keys]
    if twice := [key for key in keys if keys.count(key) > 1]:
        raise RecipeError(f"The key {twice[0]!r} is in two --over: list all of its values in one.")
    for axis in axes:
        for choice in axis.choices:
            for value in choice:
                if _RANGE.fullmatch(value):
                    raise RecipeError(f"{value!r} is a range: list the values to compare, or use `hf-speech search`.")
    variants = []
    for choices in itertools.product(*(axis.choices for axis in axes)):
        settings = dict(zip(keys, itertools.chain.from_iterable(choices), strict=True))
        variants.append(Variant(settings, _folder_name(settings)))
    return variants


def parse_range(value: str) -> SearchRange | None:
    """Reads `LOW..HIGH` or `LOW..HIGH:log`; returns None for anything else.

    Raises:
        RecipeError: If the ends are not numbers in ascending order.
    """
    match = _RANGE.fullmatch(value)
    if match is None:
        return None
    try:
        low, high = float(match["low"]), float(match["high"])
    except ValueError as error:
        raise RecipeError(f"The ends of the range {value!r} must be numbers.") from error
    log = match["log"] is not None
    if not low < high or (log and low <= 0):
        raise RecipeError(f"The range {value!r} must have its lower end first, which must be above 0 with :log.")
    integer = all(re.fullmatch(r"[+-]?\d+", match[end]) for end in ("low", "high"))
    return SearchRange(low, high, integer, log)


def _split(text: str) -> list[str]:
    """Splits at the commas outside brackets, braces and quotes."""
    parts, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        depth += (character in "[{") - (character in "]}") if not quote else 0
        if character == "," and depth == 0 and not quote:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _folder_name(settings: dict[str, str]) -> str:
    """Returns a folder name: the last part of each key and its value, without special characters."""
    words = (f"{key.rpartition('.')[2]}={value}" for key, value in settings.items())
    return re.sub(r"[^A-Za-z0-9.=_+-]+", "-", "_".join(words)).strip("-")
