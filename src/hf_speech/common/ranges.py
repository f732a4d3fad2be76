"""Ranges of the numeric options of a recipe, declared once in the type of a field.

    learning_rate: Annotated[float, Range(0, 1000)] = 2e-3

The command line, YAML files and Python use the same check, and the help text shows the same range. Infinity and NaN are
in no range. Each number of a list or tuple is checked, and None is allowed if the type allows it.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from hf_speech.errors import RecipeError


@dataclasses.dataclass(frozen=True)
class Range:
    """A range of numbers.

    Args:
        at_least: Inclusive lower bound.
        at_most: Inclusive upper bound.
        above: Exclusive lower bound.
        below: Exclusive upper bound.
    """

    at_least: float | None = None
    at_most: float | None = None
    above: float | None = None
    below: float | None = None

    def __contains__(self, value: float) -> bool:
        return (
            (isinstance(value, int) or math.isfinite(value))
            and (self.at_least is None or value >= self.at_least)
            and (self.at_most is None or value <= self.at_most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        if self.at_least is not None and self.at_most is not None:
            return f"between {self.at_least:,} and {self.at_most:,}"
        bounds = (("above", self.above), ("at least", self.at_least), ("below", self.below), ("at most", self.at_most))
        return " and ".join(f"{word} {bound:,}" for word, bound in bounds if bound is not None)

    __repr__ = __str__


Share = Annotated[float, Range(0, 1)]
Seed = Annotated[int, Range(0, 2**32 - 1)]


def find_ranges(kind: type) -> dict[str, Range]:
    """Returns the ranges of a dataclass's fields, by name."""
    return dict(_ranges(kind))


@functools.cache
def _ranges(kind: type) -> tuple[tuple[str, Range], ...]:
    hints = get_type_hints(kind, include_extras=True)
    return tuple((name, range_) for name, hint in hints.items() for range_ in _ranges_in(hint))


def _ranges_in(hint: Any) -> Iterator[Range]:
    """Yields the ranges in a type, including those inside a union such as `Share | None`."""
    if get_origin(hint) is Annotated:
        yield from (extra for extra in hint.__metadata__ if isinstance(extra, Range))
    for part in get_args(hint):
        yield from _ranges_in(part)


def check_ranges(options: Any, section: str) -> None:
    """Raises `RecipeError` if a field of a dataclass is outside its range."""
    for name, range_ in find_ranges(type(options)).items():
        value = getattr(options, name)
        for number in value if isinstance(value, list | tuple) else [value]:
            if isinstance(number, int | float) and not isinstance(number, bool) and number not in range_:
                raise RecipeError(f"{section}.{name} must be {range_}, and {_short(number)} is not.")


def _short(number: float) -> str:
    huge = isinstance(number, int) and abs(number) >= 10**20
    return f"{float(number):.3g}" if huge and abs(number) < 10**300 else "a huge number" if huge else str(number)
