"""Tables as text, markdown and CSV, of the same rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from hf_speech.common.text import column_width, one_line


def format_text(head: Sequence[str], rows: Sequence[Sequence[str]], names: int = 1) -> str:
    """Columns for a terminal: the first `names` aligned to the left, the others to the right.

    Widths are counted in columns of the terminal, of which a Chinese character takes two.
    """
    cells = [[one_line(cell) for cell in line] for line in (head, *rows)]
    widths = [max(map(column_width, column)) for column in zip(*cells, strict=True)]
    cells.insert(1, ["-" * width for width in widths])
    lines = []
    for line in cells:
        padded = []
        for place, (cell, width) in enumerate(zip(line, widths, strict=True)):
            padding = " " * (width - column_width(cell))
            padded.append(cell + padding if place < names else padding + cell)
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


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
