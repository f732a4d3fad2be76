"""How a metric is called and written; `metrics` computes them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """How a metric is called and written.

    Attributes:
        title: Its full name, for tables on cards.
        hub_name: The Hub's name of it; one name may stand for several variants, as `f1` does.
        greater_is_better: Whether more of it is better.
        is_proportion: Whether it is the share of the utterances that are right, so that its interval has a formula;
            the intervals of other metrics are bootstrapped.
        unit: What its values are in; "%" for ratios, which are written as percentages.
    """

    title: str
    hub_name: str
    greater_is_better: bool = True
    is_proportion: bool = False
    unit: str = "%"

    def number(self, value: float, decimals: int = 2) -> str:
        """A value in the metric's unit, without the unit."""
        return f"{100 * value:.{decimals}f}" if self.unit == "%" else f"{value:.{decimals + 1}g}"

    def format(self, value: float, decimals: int = 2) -> str:
        """A value with its unit, such as `99.33%` or `0.41 words/s`."""
        return f"{value:.{decimals}%}" if self.unit == "%" else f"{value:.{decimals + 1}g} {self.unit}".rstrip()
