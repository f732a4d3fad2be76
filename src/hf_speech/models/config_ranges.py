"""Valid ranges of the numbers in the configurations, which may come from an untrusted source."""

from __future__ import annotations

from typing import Any

SIZE, LAYERS, CHANNELS = (1, 65_536), (1, 256), (1, 4_096)

SPEC_AUGMENT: dict[str, tuple[float, float]] = {
    "num_time_masks": (0, 1_000),
    "time_mask_width": (0, 65_536),
    "max_time_mask_ratio": (0, 1),
    "num_frequency_masks": (0, 1_000),
    "frequency_mask_width": (0, 65_536),
}


def check_ranges(config: Any, ranges: dict[str, tuple[float, float]], below_one: tuple[str, ...]) -> None:
    """Checks that numeric fields, or lists of numbers, are in range; None is skipped.

    Args:
        config: The configuration.
        ranges: The smallest and largest value of each field, by name.
        below_one: Names of fields that must be at least 0 and below 1.

    Raises:
        ValueError: For the first value that is out of range, or not a number.
    """
    for name, (least, most) in (ranges | SPEC_AUGMENT).items():
        values = getattr(config, name)
        for value in values if isinstance(values, list) else [values]:
            if value is not None and not least <= value <= most:
                raise ValueError(f"{name} must lie between {least:,} and {most:,}, and {value} does not.")
    for name in below_one:
        if not 0 <= getattr(config, name) < 1:
            raise ValueError(f"{name} must be at least 0 and below 1, and {getattr(config, name)} is not.")


__all__ = ["CHANNELS", "LAYERS", "SIZE", "check_ranges"]
