"""The HTML page of an exploration, which links to the pictures and sounds next to it and needs no network.

This module composes its texts; the layout is in `page.html.j2`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from hf_speech.common.files import write_text
from hf_speech.common.text import plural, printable
from hf_speech.data.reports import InspectionReport
from hf_speech.exploration.examples import Example
from hf_speech.exploration.table import Table
from hf_speech.models import SpeechFeatureExtractor
from hf_speech.training.recipe import Recipe

PAGE = "index.html"
GENERATOR = '<meta name="generator" content="hf-speech explore">'
CAPTIONS = {
    "labels.png": "Targets",
    "durations.png": "Durations",
    "speakers.png": "Speakers",
}
# The model settings that augment features: the one that enables an augmentation, and all that belong to it.
MASKS = {
    "num_time_masks": ("num_time_masks", "time_mask_width", "max_time_mask_ratio"),
    "num_frequency_masks": ("num_frequency_masks", "frequency_mask_width"),
    "frequency_warp": ("frequency_warp",),
}
# Model settings that augment whole batches or inner layers during training, which no picture of an utterance shows.
UNSEEN = ("feature_noise", "input_dropout", "mixup_alpha", "consistency_weight")


@dataclass
class Exploration:
    """The results of an exploration.

    Attributes:
        folder: The output folder.
        table: All rows of the corpus.
        report: The report of the inspection.
        examples: The utterances with pictures and sounds.
        notes: Further remarks, a sentence each.
        charts: File names of the charts.
    """

    folder: Path
    table: Table
    report: InspectionReport
    examples: list[Example] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    charts: list[str] = field(default_factory=list)

    @property
    def page(self) -> Path:
        """The path of the HTML page."""
        return self.folder / PAGE


@dataclass(frozen=True)
class Remark:
    """A remark about the corpus.

    Attributes:
        text: A sentence.
        severity: "bad" for unusable rows, "warning" for suspicious ones.
        examples: Some of the rows, a sentence each.
    """

    text: str
    severity: str
    examples: Sequence[str] = ()


def is_exploration(page: Path) -> bool:
    """Returns whether a file is the page of an earlier exploration."""
    try:
        return GENERATOR in page.read_text(encoding="utf-8")[:1000]
    except (OSError, UnicodeDecodeError):
        return False


def write_placeholder(page: Path) -> None:
    """Writes a placeholder for the page while the exploration runs."""
    write_text(page, f"<!doctype html><title>hf_speech</title>{GENERATOR}<p>In progress.\n")


def write_page(
    exploration: Exploration, recipe: Recipe, extractor: SpeechFeatureExtractor, *, split: str, command: str
) -> None:
    """Writes the page of an exploration."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=lambda value: printable(value) if type(value) is str else value,  # Markup is already HTML.
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["duration"] = format_duration
    table = exploration.table
    summaries = table.summaries()
    content = environment.get_template("page.html.j2").render(
        generator=GENERATOR,
        recipe=recipe,
        corpus=recipe.corpus,
        command=command,
        figures=_figures(exploration),
        summaries=summaries,
        units=recipe.task.units,
        has_new_units=any(summary.new_units is not None for summary in summaries),
        findings=remarks(exploration),
        bad_rows=recipe.corpus.bad_rows,
        charts=[(name, CAPTIONS[name]) for name in exploration.charts],
        features=describe_features(extractor),
        augmentation=_augmentation(recipe),
        unseen={name: recipe.model[name] for name in UNSEEN if recipe.model.get(name)},
        groups=_groups(exploration),
        num_classes=len({entry.target for entry in table.usable(split)}) if table.groups is not None else 0,
        augmented=any(len(example.versions) > 1 for example in exploration.examples),
        split=split,
    )
    write_text(exploration.page, content)


def remarks(exploration: Exploration) -> list[Remark]:
    """Returns all remarks about the corpus: first unusable rows, then warnings."""
    report = exploration.report
    bad, suspicious = [], []
    for split, found in report.splits.items():
        for kind, finding in found.bad.items():
            verb = plural(finding.count, "is", "are")
            bad.append(Remark(f"{finding.count:,} in {split} {verb} {kind}.", "bad", finding.examples))
        for kind, finding in found.warnings.items():
            suspicious.append(Remark(f"{finding.count:,} in {split}: {kind}.", "warning", finding.examples))
    return bad + suspicious + [Remark(text, "warning") for text in [*report.warnings, *exploration.notes]]


def describe_features(extractor: SpeechFeatureExtractor) -> str:
    """Describes the features of an extractor in a phrase."""
    count = extractor.feature_size // (1 + extractor.num_deltas)
    deltas = ("", " with deltas", " with deltas and delta-deltas")[extractor.num_deltas]
    step = 1000 * extractor.hop_length / extractor.sampling_rate
    normalization = {
        "none": "",
        "peak": ", of sound scaled to a peak of 1",
        "utterance": ", each normalized over the utterance",
        "global": ", each normalized over the training split",
    }[extractor.normalization]
    features = f"{count} {extractor.kind.phrase}{deltas}"
    return f"{features} every {step:g} ms of sound at {extractor.sampling_rate:,} Hz{normalization}"


def format_duration(seconds: float) -> str:
    """Formats a duration in seconds, minutes or hours: "0.43 s", "12.5 min", "3.2 h"."""
    if seconds != seconds:
        return "unknown"
    if seconds < 60:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def _figures(exploration: Exploration) -> list[tuple[str, str]]:
    """Returns the key figures at the top of the page: value and unit."""
    table = exploration.table
    usable = table.usable()
    speakers = {entry.speaker for entry in usable} - {None}
    kinds = table.groups or {unit for entry in usable for unit in table.units(entry)}
    rates = sorted(table.sampling_rates())
    figures = [
        (f"{len(usable):,}", "utterances"),
        (format_duration(sum(entry.duration for entry in usable)), "of speech"),
        (f"{len(kinds):,}", table.task.units),
    ]
    if speakers:
        figures.append((f"{len(speakers):,}", "speakers"))
    if rates:
        figures.append((" · ".join(f"{rate:,}" for rate in rates[:3]) + (" …" if rates[3:] else ""), "Hz"))
    return [*figures, (f"{len(table.entries) - len(usable):,}", "unusable")]


def _augmentation(recipe: Recipe) -> list[tuple[str, str]]:
    """Returns the keys of the recipe's augmentation that are set, with their values."""
    set_keys = {name: value for name, value in vars(recipe.augmentation).items() if value is not None and value != 0}
    lines = [(f"augmentation.{name}", _value(value)) for name, value in set_keys.items()]
    for switch, names in MASKS.items():
        if recipe.model.get(switch):
            lines += [(f"model.{name}", _value(recipe.model[name])) for name in names]
    return lines


def _value(value: Any) -> str:
    return f"{value[0]:g} to {value[1]:g}" if isinstance(value, tuple | list) else str(value)


def _groups(exploration: Exploration) -> list[tuple[str, list[Example]]]:
    """Returns the examples grouped by class, or in one group without a name if there are no classes."""
    if exploration.table.groups is None:
        return [("", exploration.examples)] if exploration.examples else []
    return [(str(name), list(group)) for name, group in groupby(exploration.examples, lambda item: item.entry.target)]
