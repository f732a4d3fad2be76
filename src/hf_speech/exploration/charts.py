"""Charts of a whole corpus: targets, durations, speakers.

Each split has the same color in all charts, from the palette of Okabe & Ito: dark blue, vermillion and light blue also
differ in lightness, for color-blind readers. The charts are narrow enough for a phone.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from hf_speech.common.plots import BLUE, FAINT, INK, VERMILLION, headline, new_figure, plain_label, save_figure
from hf_speech.common.text import counted
from hf_speech.exploration.table import Table

WIDTH = 5.6
SPLIT_COLORS = {"train": BLUE, "validation": VERMILLION, "test": "#56B4E9"}
SPLIT_LINES = {"train": "-", "validation": "--", "test": "-."}
MAX_BARS = 50
MAX_WORDS = 20
MAX_LABEL = 28


def plot_labels(table: Table, path: str | Path) -> None:
    """Draws the number of utterances of each class in each split, for at most `MAX_BARS` classes, the largest ones."""
    counts = Counter((str(entry.target), entry.split) for entry in table.usable())
    totals = {name: sum(counts[name, split] for split in table.splits) for name in table.groups or ()}
    # In the order of the ids, unless only the largest classes are drawn.
    names = list(totals) if len(totals) <= MAX_BARS else sorted(totals, key=lambda name: -totals[name])[:MAX_BARS]
    figure, axes = _bars_figure(len(names))
    shown = f"{counted(sum(totals.values()), 'utterance')} of {counted(len(totals), 'class', 'classes')}"
    if len(names) < len(totals):
        shown += f", showing the {len(names)} largest"
    headline(axes, WIDTH - 1, "Utterances of each class", f"{shown}.")
    _stacked_bars(axes, names, _stacks(table, counts, names))
    axes.set_xlabel("Utterances")
    _legend_below(figure, axes)
    save_figure(figure, path)


def plot_units(table: Table, path: str | Path) -> None:
    """Draws how often each unit of the targets occurs in each split, for the most frequent units."""
    counts = Counter((unit, entry.split) for entry in table.usable() for unit in table.units(entry))
    names = _most_frequent(counts, MAX_BARS)
    figure, axes = _bars_figure(len(names))
    headline(axes, WIDTH - 1, "Targets", f"{counts.total():,} in all, {_count_different(counts, names)}.")
    _stacked_bars(axes, names, _stacks(table, counts, names))
    axes.set_xlabel("Occurrences")
    _legend_below(figure, axes)
    save_figure(figure, path)


def plot_transcripts(table: Table, path: str | Path) -> None:
    """Draws the characters and most frequent words of the transcripts, and the speaking rate."""
    characters: Counter[tuple[str, str]] = Counter()
    words: Counter[tuple[str, str]] = Counter()
    for entry in table.usable():
        transcript = table.units(entry)
        words.update((word, entry.split) for word in transcript)
        characters.update((character, entry.split) for word in transcript for character in word)
    figure = new_figure(WIDTH, 10.2)
    figure.set_layout_engine("constrained", hspace=0.06)
    top, middle, bottom = figure.subplots(3, 1, gridspec_kw={"height_ratios": [2.2, 4.2, 2.2]})

    names = _most_frequent(characters, MAX_BARS)
    shown = f"{counted(characters.total(), 'character')} (no spaces), {_count_different(characters, names)}."
    headline(top, WIDTH - 1, "Characters", shown)
    _stacked_columns(top, _stacks(table, characters, names))
    top.set_xticks(
        range(len(names)), [plain_label(name, MAX_LABEL) for name in names], fontsize=9 if len(names) <= 32 else 7
    )
    top.set_xlabel("Character")
    top.set_ylabel("Occurrences")
    top.legend(frameon=False, labelcolor=INK, fontsize=9)

    names = _most_frequent(words, MAX_WORDS)
    distinct = len({word for word, _ in words})
    headline(middle, WIDTH - 1, "Most frequent words", f"{counted(words.total(), 'word')}, {distinct:,} different.")
    _stacked_bars(middle, names, _stacks(table, words, names))
    middle.set_xlabel("Occurrences")

    headline(bottom, WIDTH - 1, "Speaking rate", "As shares of the utterances of each split.")
    _plot_speech_rates(bottom, table)
    save_figure(figure, path)


def plot_durations(table: Table, path: str | Path) -> None:
    """Draws a histogram of the durations of each split with its median, all with the same time axis."""
    durations = {split: np.array([entry.duration for entry in table.usable(split)]) for split in table.splits}
    durations = {split: seconds for split, seconds in durations.items() if len(seconds)}
    figure = new_figure(WIDTH, 0.9 + 1.35 * max(len(durations), 1))
    panels = figure.subplots(max(len(durations), 1), 1, sharex=True, squeeze=False)[:, 0]
    headline(panels[0], WIDTH - 1, "Durations")
    edges = _edges(np.concatenate([*durations.values(), np.zeros(0)]))
    for panel, (split, seconds) in zip(panels, durations.items(), strict=False):
        panel.hist(seconds, edges, color=SPLIT_COLORS.get(split, FAINT), edgecolor="white", linewidth=0.4)
        median = float(np.median(seconds))
        panel.axvline(median, color=INK, linewidth=1, linestyle=":")
        panel.set_ylim(0, panel.get_ylim()[1] * 1.25)  # space for the annotation
        late = median > np.mean(edges[[0, -1]])
        panel.annotate(
            f"{split}: {_format_range(seconds)}",
            (median, 0.97),
            xycoords=("data", "axes fraction"),
            xytext=(-5 if late else 5, 0),
            textcoords="offset points",
            ha="right" if late else "left",
            va="top",
            color=INK,
            fontsize=9,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )
        panel.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
        panel.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        panel.set_ylabel("Utterances")
        _style(panel, "y")
    panels[-1].set_xlabel("Duration (s)")
    save_figure(figure, path)


def plot_speakers(table: Table, path: str | Path) -> None:
    """Draws the number of utterances of each speaker in each split; names are left out if there are many speakers."""
    counts = Counter((entry.speaker, entry.split) for entry in table.usable() if entry.speaker is not None)
    names = _most_frequent(counts, len(counts))
    few = len(names) <= MAX_BARS
    if not few:
        names.sort(key=lambda name: next(i for i, split in enumerate(table.splits) if counts[name, split]))
    stacks = _stacks(table, counts, names)
    figure, axes = _bars_figure(len(names) if few else 8)
    unknown = sum(entry.speaker is None for entry in table.usable())
    missing = f"; {counted(unknown, 'utterance has', 'utterances have')} no known speaker" if unknown else ""
    shown = f"{counted(counts.total(), 'utterance')}, {counted(len(names), 'speaker')}{missing}."
    headline(axes, WIDTH - 1, "Utterances of each speaker", shown)
    if few:
        _stacked_bars(axes, names, stacks)
        axes.set_xlabel("Utterances")
    else:
        _stacked_columns(axes, stacks)
        axes.set_xlabel("Speakers, by split and number of utterances")
        axes.set_ylabel("Utterances")
    _legend_below(figure, axes)
    save_figure(figure, path)


def _plot_speech_rates(axes: Axes, table: Table) -> None:
    """Draws a histogram of words per second for each split, in percent of its utterances."""
    rates = {
        split: np.array([len(table.units(entry)) / entry.duration for entry in table.usable(split) if entry.duration])
        for split in table.splits
    }
    edges = _edges(np.concatenate([*rates.values(), np.zeros(0)]), max_bins=30)
    for split, values in rates.items():
        if len(values):
            shares = 100 * np.histogram(values, edges)[0] / len(values)
            color, line = SPLIT_COLORS.get(split, FAINT), SPLIT_LINES.get(split, "-")
            axes.stairs(shares, edges, color=color, linestyle=line, linewidth=1.7, label=split)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.set_ylabel("Utterances (%)")
    axes.set_xlabel("Words per second")
    if any(len(values) for values in rates.values()):
        axes.legend(frameon=False, labelcolor=INK, fontsize=9)
    _style(axes, "both")


def _stacks(table: Table, counts: Counter[Any], names: Sequence[str]) -> dict[str, list[int]]:
    """Returns the counts of each split, in the order of the names."""
    return {split: [counts[name, split] for name in names] for split in table.splits}


def _count_different(counts: Counter[Any], drawn: Sequence[str]) -> str:
    """Returns a phrase with the number of different names, and the number drawn if that is smaller."""
    different = len({name for name, _ in counts})
    shown = f", showing the {len(drawn)} most frequent" if len(drawn) < different else ""
    return f"{different:,} different{shown}"


def _stacked_bars(axes: Axes, names: Sequence[str], stacks: Mapping[str, Sequence[int]]) -> None:
    """Draws horizontal bars stacked by split, labeled with their sums, the first name on top."""
    left = np.zeros(len(names))
    for split, values in stacks.items():
        axes.barh(
            range(len(names)),
            values,
            left=left,
            height=0.74,
            color=SPLIT_COLORS.get(split, FAINT),
            edgecolor="white",
            linewidth=0.5,
            label=split,
        )
        left += values
    for row, total in enumerate(left):
        axes.annotate(
            f"{total:,.0f}",
            (total, row),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            color=INK,
            fontsize=8.5,
        )
    axes.set_yticks(range(len(names)), [plain_label(name, MAX_LABEL) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, max([*left, 1]) * 1.12)  # space for the numbers
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    _style(axes, "x")
    axes.tick_params(axis="y", length=0)


def _stacked_columns(axes: Axes, stacks: Mapping[str, Sequence[int]]) -> None:
    """Draws vertical bars stacked by split."""
    bottom = np.zeros(len(next(iter(stacks.values()), [])))
    many = len(bottom) > MAX_BARS
    for split, values in stacks.items():
        axes.bar(
            range(len(bottom)),
            values,
            bottom=bottom,
            width=1.0 if many else 0.8,
            color=SPLIT_COLORS.get(split, FAINT),
            label=split,
        )
        bottom += values
    axes.set_xlim(-0.8, len(bottom) - 0.2)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    _style(axes, "y")


def _bars_figure(count: int) -> tuple[Figure, Axes]:
    figure = new_figure(WIDTH, 1.5 + 0.23 * max(count, 2))
    return figure, figure.subplots()


def _legend_below(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(
            handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, labelcolor=INK, fontsize=9
        )


def _style(axes: Axes, grid: Literal["x", "y", "both"]) -> None:
    axes.grid(axis=grid, color="#E5E7EB", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _most_frequent(counts: Counter[tuple[str, str]] | Counter[tuple[str | None, str]], limit: int) -> list[str]:
    """Returns up to `limit` names with the highest counts over all splits; ties are in alphabetical order."""
    totals: Counter[str] = Counter()
    for (name, _), count in counts.items():
        totals[str(name)] += count
    return sorted(totals, key=lambda name: (-totals[name], name))[:limit]


def _edges(values: np.ndarray, max_bins: int = 50) -> np.ndarray:
    """Returns the bin edges of a histogram by the rule of Freedman & Diaconis (1981), with 8 to `max_bins` bins."""
    if not len(values):
        return np.linspace(0, 1, 9)
    low, quarter, three_quarters, high = np.quantile(values, [0, 0.25, 0.75, 1])
    width = 2 * (three_quarters - quarter) / len(values) ** (1 / 3)
    count = min(max(math.ceil(min((high - low) / width, max_bins)), 8), max_bins) if width > 0 else max_bins
    if high - low <= 1e-3 * high:  # All values are about equal: draw one bar in the middle.
        half = 0.5 * high or 0.5
        return np.linspace(high - half, high + half, 10)
    return np.linspace(low, high, count + 1)


def _format_range(seconds: np.ndarray) -> str:
    low, high = (f"{value:.2f}" for value in (seconds.min(), seconds.max()))
    return f"{low} to {high} s, median {np.median(seconds):.2f} s" if low != high else f"all {low} s"


TARGET_CHARTS: dict[str, Callable[[Table, str | Path], None]] = {
    "classes": plot_labels,
    "transcripts": plot_transcripts,
    "units": plot_units,
}
"""The function that draws the targets of a task, by `Task.chart`."""
