"""Progress of long operations: a bar in a terminal or notebook, one line per minute in a file or pipe."""

from __future__ import annotations

import sys
from typing import Any

from tqdm.auto import tqdm
from tqdm.autonotebook import tqdm as chosen_by_tqdm
from tqdm.std import tqdm as terminal_bar

SECONDS_BETWEEN_LINES = 60.0


def shows_bars() -> bool:
    """Returns whether progress is drawn as a bar, which would fill a log file."""
    return sys.stderr.isatty() or chosen_by_tqdm is not terminal_bar


def progress_bar(*arguments: Any, **options: Any) -> Any:
    """Returns a tqdm bar, or an object with the same interface that writes lines.

    Args:
        *arguments: As for `tqdm.tqdm`.
        **options: As for `tqdm.tqdm`.
    """
    return tqdm(*arguments, **options) if shows_bars() else _Lines(*arguments, **options)


class _Lines(terminal_bar):
    """A tqdm bar that prints its state as lines instead of redrawing it."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        times = dict.fromkeys(("delay", "mininterval", "maxinterval"), SECONDS_BETWEEN_LINES)
        known = options.get("total") is not None or (arguments and hasattr(arguments[0], "__len__"))
        count = "{n_fmt} of {total_fmt} after {elapsed}, {remaining} left" if known else "{n_fmt} after {elapsed}"
        bar_format = f"{{desc}}: {count}{{postfix}}"
        super().__init__(*arguments, **options | times | {"miniters": 1, "leave": False, "bar_format": bar_format})

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        """Writes a line."""
        self.fp.write(f"{self}\n")
        return True

    def close(self) -> None:
        """Closes the bar without printing another line."""
        self.sp = None
        super().close()
