"""The name and format of a metric; `metrics` computes the values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """The name and format of a metric.

    Attributes:
        title: Its full name, for tables on cards.
        hub_name: Its name on the Hub, which may cover several variants, as `f1` does.
        greater_is_better: Whether a greater value is better.
        is_proportion: Whether it is the proportion of correct utterances, whose confidence interval has a formula; the
            intervals of other metrics are bootstrapped.
        unit: The unit of its values; "%" for ratios, which are written as percentages.
    """

    title: str
    hub_name: str
    greater_is_better: bool = True
    is_proportion: bool = False
    unit: str = "%"

    def number(self, value: float, decimals: int = 2) -> str:
        """Formats a value without its unit."""
        return f"{100 * value:.{decimals}f}" if self.unit == "%" else f"{value:.{decimals + 1}g}"

    def format(self, value: float, decimals: int = 2) -> str:
        """Formats a value with its unit, such as `99.33%` or `0.41 words/s`."""
        return f"{value:.{decimals}%}" if self.unit == "%" else f"{value:.{decimals + 1}g} {self.unit}".rstrip()
