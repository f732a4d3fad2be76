"""The values that a number of a recipe may have, declared once in the type of its field.

    learning_rate: Annotated[float, Range(0, 1000)] = 2e-3

The command line, YAML files and Python go through the same check, and the help prints the same range. Numbers that are
not finite are in no range. Of a list or tuple each number is checked, and null is always allowed where the type has it.
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
    """The numbers from `at_least` to `at_most`.

    Args:
        at_least: The smallest one.
        at_most: The largest one.
        above: A bound that is not in the range itself, in place of `at_least`.
        below: A bound that is not in the range itself, in place of `at_most`.
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
    """The ranges of a dataclass's fields, by name."""
    return dict(_ranges(kind))


@functools.cache
def _ranges(kind: type) -> tuple[tuple[str, Range], ...]:
    hints = get_type_hints(kind, include_extras=True)
    return tuple((name, range_) for name, hint in hints.items() for range_ in _ranges_in(hint))


def _ranges_in(hint: Any) -> Iterator[Range]:
    """The ranges in a type, such as one that may also be null."""
    if get_origin(hint) is Annotated:
        yield from (extra for extra in hint.__metadata__ if isinstance(extra, Range))
    for part in get_args(hint):
        yield from _ranges_in(part)


def check_ranges(options: Any, section: str) -> None:
    """Refuses a dataclass with a number outside of its range."""
    for name, range_ in find_ranges(type(options)).items():
        value = getattr(options, name)
        for number in value if isinstance(value, list | tuple) else [value]:
            if isinstance(number, int | float) and not isinstance(number, bool) and number not in range_:
                raise RecipeError(f"{section}.{name} must be {range_}, and {_short(number)} is not.")


def _short(number: float) -> str:
    huge = isinstance(number, int) and abs(number) >= 10**20
    return f"{float(number):.3g}" if huge and abs(number) < 10**300 else "a huge number" if huge else str(number)
