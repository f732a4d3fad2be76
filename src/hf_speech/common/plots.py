"""Plots of an evaluation and of a training run.

Figures use matplotlib's object interface and the Agg back end instead of pyplot and its global state: they need no
display and are thread-safe. Blue and vermillion are from the color-blind-safe palette of Okabe & Ito ("Color universal
design", 2008). Position, markers or numbers always convey the same information as color.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from hf_speech.common.files import replacing
from hf_speech.common.fonts import any_script
from hf_speech.common.text import counted, one_line

BLUE, VERMILLION = "#0072B2", "#D55E00"
INK, FAINT, PAPER = "#1F2937", "#6B7280", "#FFFFFF"
RIGHT = LinearSegmentedColormap.from_list("right", ["#F2F7FB", "#8FC1E3", BLUE])
WRONG = LinearSegmentedColormap.from_list("wrong", ["#FDF1E7", "#F2B07E", VERMILLION])
DPI = 150
# More classes or longer names would make images of hundreds of megapixels.
MAX_CLASSES, MAX_NAME, MAX_TITLE = 60, 40, 200


def plot_confusion_matrix(
    names: Sequence[str], counts: np.ndarray, path: str | Path, title: str = "Confusion matrix"
) -> None:
    """Draws a confusion matrix with the number of utterances in each cell and its share of the row.

    If there are more than `MAX_CLASSES` classes, only those with the most errors are drawn. Long names are shortened.

    Args:
        names: Names of the classes.
        counts: Numbers of utterances `(classes, classes)`, with rows for references and columns for predictions.
        path: The PNG file to write.
        title: The title of the figure.
    """
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    subtitle = f"{counted(counts.sum(), 'utterance')}. Blue: right, orange: wrong."
    if len(names) > MAX_CLASSES:
        errors = counts.sum(axis=0) + counts.sum(axis=1) - 2 * counts.diagonal()
        worst = np.sort(np.argsort(-errors, kind="stable")[:MAX_CLASSES])
        subtitle += f" The {MAX_CLASSES} of {len(names):,} classes with the most errors."
        names, counts, shares = [names[index] for index in worst], counts[worst][:, worst], shares[worst][:, worst]
    names = [plain_label(name, MAX_NAME) for name in names]
    size = len(names)
    # With few classes, a cell has room for both numbers.
    roomy = size <= 12
    cell = 0.56 if roomy else 0.36 if size <= 24 else 0.28
    longest = max(len(name) for name in names)
    side = max(cell * size, 2.4)
    figure = new_figure(side + 0.6 + 0.08 * longest, side + 1.1)
    axes = figure.subplots()
    axes.imshow(_cell_colors(counts, shares))
    for row, column in zip(*np.nonzero(counts), strict=True):
        share = shares[row, column]
        text = f"{counts[row, column]:,}" + (f"\n{_percent(share)}" if roomy else "")
        dark = share > (0.7 if row == column else 0.5)
        axes.text(
            column,
            row,
            text,
            ha="center",
            va="center",
            color=PAPER if dark else INK,
            fontsize=9 if roomy else 7.5 if size <= 24 else 6,
            linespacing=1.15,
        )
    fits = longest * 0.09 < side / size
    axes.set_xticks(range(size), names, rotation=0 if fits else 90)
    axes.set_yticks(range(size), names)
    axes.set_xticks(np.arange(size + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(size + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="#E5E7EB", linewidth=0.6)
    axes.tick_params(which="both", length=0, labelsize=9.5 if roomy else 8.5)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("Predicted class", labelpad=8)
    axes.set_ylabel("Reference class", labelpad=8)
    numbers = "utterances, % of the row" if roomy else "utterances"
    headline(axes, side, title, f"{subtitle} Cells: {numbers}")
    save_figure(figure, path)


def plot_training_curves(
    log_history: Sequence[Mapping[str, Any]],
    path: str | Path,
    metric: str,
    greater_is_better: bool = True,
    unit: str = "%",
) -> None:
    """Draws loss, validation metric and learning rate over the epochs.

    Args:
        log_history: `trainer.state.log_history`.
        path: The PNG file to write.
        metric: The validation metric to draw.
        greater_is_better: Whether the highest value is the best. The best epoch is marked.
        unit: The unit of the metric; "%" for ratios.
    """
    training = _series(log_history, "loss")
    validation = _series(log_history, "eval_loss")
    rate = _series(log_history, "learning_rate")
    values = _series(log_history, f"eval_{metric}")
    panels = (((training, validation), 3), ((values,), 3), ((rate,), 1.4))
    heights = [height for curves, height in panels if any(len(curve) for curve in curves)] or [3]
    figure = new_figure(7.2, 0.55 + 0.78 * sum(heights))
    axes = figure.subplots(len(heights), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    headline(axes[0], 6.4, "Training")
    remaining = iter(axes)
    if len(training) or len(validation):
        panel = next(remaining)
        _line(panel, training, BLUE, "training")
        _line(panel, validation, VERMILLION, "validation", marker="o")
        panel.set_ylabel("Loss (nats)")
        panel.legend(frameon=False, labelcolor=INK)
        panel.set_ylim(0, 1.05 * max(series[:, 1].max() for series in (training, validation) if len(series)))
    if len(values):
        panel = next(remaining)
        _line(panel, values, VERMILLION, "validation", marker="o")
        panel.set_ylabel(f"Validation {metric.replace('_', ' ')} ({unit})")
        if unit == "%":
            panel.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=""))
        _mark_best(panel, values, greater_is_better, "{:.2%}" if unit == "%" else f"{{:.3g}} {unit}")
    if len(rate):
        panel = next(remaining)
        _line(panel, rate, FAINT, "learning rate")
        panel.set_ylabel("Learning rate")
        panel.ticklabel_format(axis="y", style="sci", scilimits=(-2, 2))
    for panel in axes:
        panel.grid(color="#E5E7EB", linewidth=0.8)
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
        panel.yaxis.set_major_locator(MaxNLocator(nbins=5))
    axes[-1].set_xlabel("Epoch")
    axes[-1].set_xlim(left=0)
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.align_ylabels()
    save_figure(figure, path)


def _cell_colors(counts: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Returns RGBA colors `(classes, classes, 4)`: blue on the diagonal, vermillion for errors, white for zero."""
    # The square root makes an error rate of 1 % visible.
    colors = WRONG(np.sqrt(shares))
    diagonal = np.arange(len(counts))
    colors[diagonal, diagonal] = RIGHT(shares[diagonal, diagonal])
    colors[counts == 0] = (1, 1, 1, 1)
    return colors


def _series(log_history: Sequence[Mapping[str, Any]], key: str) -> np.ndarray:
    """Returns the epoch and value of every log entry that has the key, `(entries, 2)`."""
    points = [(entry["epoch"], entry[key]) for entry in log_history if key in entry and "epoch" in entry]
    return np.asarray(points, dtype=float).reshape(-1, 2)


def _line(axes: Axes, points: np.ndarray, color: str, label: str, marker: str = "") -> None:
    if len(points):
        # Markers of many evaluations would overlap.
        marker = marker if len(points) <= 60 else ""
        axes.plot(points[:, 0], points[:, 1], color=color, label=label, marker=marker, markersize=3.5, linewidth=1.6)


def _mark_best(axes: Axes, points: np.ndarray, greater_is_better: bool, template: str) -> None:
    """Labels the best value. The first of equal values is the best, as in Trainer."""
    best = points[points[:, 1].argmax() if greater_is_better else points[:, 1].argmin()]
    axes.plot(*best, marker="o", markersize=8, markerfacecolor="none", markeredgecolor=INK, markeredgewidth=1.4)
    axes.axvline(best[0], color=INK, linewidth=0.8, linestyle=":")
    is_early = best[0] < np.mean(axes.get_xlim())
    # The curve does not cross this corner on its way to its best value.
    axes.annotate(
        f"best: {template.format(best[1])} in epoch {best[0]:g}",
        (best[0], 0.06 if greater_is_better else 0.94),
        xycoords=("data", "axes fraction"),
        xytext=(6 if is_early else -6, 0),
        textcoords="offset points",
        ha="left" if is_early else "right",
        va="bottom" if greater_is_better else "top",
        color=INK,
    )


def _percent(share: float) -> str:
    """Formats a share as whole percent, or with a decimal if rounding would give a false 0 % or 100 %."""
    return f"{share:.0%}" if share in (0, 1) or 0.005 < share < 0.995 else f"{share:.1%}"


def plain_label(name: str, max_length: int) -> str:
    """Returns a name as a matplotlib label: on one line, shortened, with dollar signs escaped."""
    name = one_line(name)
    short = name if len(name) <= max_length else f"{name[: max_length - 1]}…"
    return short.replace("$", r"\$")


def new_figure(width: float, height: float) -> Figure:
    """Returns an empty figure in the style of the package, `width` by `height` inches."""
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor=PAPER, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def headline(axes: Axes, width: float, title: str, subtitle: str = "") -> None:
    """Draws a bold title and a gray subtitle, both aligned with axes that are `width` inches wide."""
    gray = textwrap.fill(subtitle, max(20, round(width * 13.5)))
    above = 12 * (gray.count("\n") + 1) + 12 if subtitle else 10
    bold = textwrap.fill(plain_label(title, MAX_TITLE), max(20, round(width * 10)), break_long_words=False)
    axes.set_title(bold, loc="left", color=INK, fontsize=11, fontweight="bold", pad=above)
    axes.annotate(
        gray, (0, 1), xycoords="axes fraction", xytext=(0, 9), textcoords="offset points", color=FAINT, fontsize=9
    )


def save_figure(figure: Figure, path: str | Path) -> None:
    """Writes a figure as PNG, with axes in the colors of the package."""
    for axes in figure.axes:
        axes.xaxis.label.set_color(INK)
        axes.yaxis.label.set_color(INK)
        axes.tick_params(labelcolor=INK, color=FAINT)
    # "tight" enlarges the canvas to fit long class names and titles.
    with any_script(figure), replacing(path) as part:
        figure.savefig(part, format="png", bbox_inches="tight", pad_inches=0.18, facecolor=PAPER)
