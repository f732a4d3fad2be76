"""Tables as text, markdown and CSV, of the same rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence


def format_text(head: Sequence[str], rows: Sequence[Sequence[str]], names: int = 1) -> str:
    """Aligned columns for a terminal: the first `names` to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [list(head), ["-" * width for width in widths], *map(list, rows)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place < names else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def format_markdown(head: Sequence[str], rows: Sequence[Sequence[str]], names: int = 1) -> str:
    """A table of markdown: the first `names` columns to the left, the others to the right."""
    rule = ["---" if place < names else "--:" for place in range(len(head))]
    escaped = ([cell.replace("|", "\\|") for cell in row] for row in rows)
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *escaped))


def format_csv(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Comma-separated lines."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([head, *rows])
    return stream.getvalue()
