"""Formats rows as a text table, a Markdown table or CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from hf_speech.common.text import column_width, one_line


def format_text(head: Sequence[str], rows: Sequence[Sequence[str]], names: int = 1) -> str:
    """Returns a table for a terminal, with the first `names` columns aligned left and the others right.

    Widths are in terminal columns, of which a Chinese character takes two.
    """
    cells = [[one_line(cell) for cell in line] for line in (head, *rows)]
    widths = [max(map(column_width, column)) for column in zip(*cells, strict=True)]
    cells.insert(1, ["-" * width for width in widths])
    lines = []
    for line in cells:
        padded = []
        for column, (cell, width) in enumerate(zip(line, widths, strict=True)):
            padding = " " * (width - column_width(cell))
            padded.append(cell + padding if column < names else padding + cell)
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def format_markdown(head: Sequence[str], rows: Sequence[Sequence[str]], names: int = 1) -> str:
    """Returns a Markdown table, with the first `names` columns aligned left and the others right."""
    rule = ["---" if column < names else "--:" for column in range(len(head))]
    escaped = ([cell.replace("|", "\\|") for cell in row] for row in rows)
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *escaped))


def format_csv(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Returns comma-separated lines."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([head, *rows])
    return stream.getvalue()
