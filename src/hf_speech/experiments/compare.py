"""Compares variants of a recipe: what effect does an option have?

Each variant is trained into a separate folder, and the table is made from their files. The best variant is the one
with the best validation metric; the test metrics are shown next to it, and must not be used to choose.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_speech.common.files import write_text
from hf_speech.common.tables import format_csv, format_markdown, format_text
from hf_speech.experiments.runs import RunRecord, finish_run
from hf_speech.experiments.variants import Axis, Variant, variants_of
from hf_speech.tasks import get_task, metric_named
from hf_speech.training import load_recipe
from hf_speech.training.building import make_feature_extractor


@dataclass(frozen=True)
class Comparison:
    """The runs of all variants.

    Attributes:
        recipe: Name of the recipe.
        command: The command that makes the whole comparison.
        variants: What was varied.
        records: The run of each.
    """

    recipe: str
    command: str
    variants: list[Variant]
    records: list[RunRecord]

    @property
    def best(self) -> int | None:
        """Index of the first variant with the best validation metric; None without a validation split."""
        sign = 1 if get_task(self.records[0].task).greater_is_better else -1
        figures = [record.value("validation") for record in self.records]
        known = [sign * figure for figure in figures if figure is not None]
        return known.index(max(known)) if len(known) == len(figures) else None

    def head(self) -> list[str]:
        """Names of the columns."""
        keys = [key.removeprefix("features.") for key in self.variants[0].settings]
        metric = self.records[0].metric
        columns = [with_unit(f"{split} {metric}", metric) for split in ("validation", "test")]
        return [*keys, *columns, "95 % interval", "parameters", "minutes"]

    def rows(self) -> list[list[str]]:
        """The cells of each variant; the best on validation is marked with a star."""
        rows = []
        for place, (variant, record) in enumerate(zip(self.variants, self.records, strict=True)):
            validation, test = (record.value(split) for split in ("validation", "test"))
            between = "" if test is None else format_interval(record.metric, record.interval("test"))
            rows.append(
                [
                    *variant.settings.values(),
                    ("* " if place == self.best else "") + figure(record.metric, validation),
                    figure(record.metric, test),
                    between,
                    f"{record.num_parameters:,}",
                    f"{record.seconds / 60:.1f}",
                ]
            )
        return rows

    def text(self) -> str:
        """The table for a terminal."""
        table = format_text(self.head(), self.rows(), len(self.variants[0].settings))
        return table if self.best is None else f"{table}\n* best on validation"

    def markdown(self) -> str:
        """The table in markdown, with the command that makes it."""
        table = format_markdown(self.head(), self.rows(), len(self.variants[0].settings))
        return f"`{self.command}`\n\n{table}\n" + ("" if self.best is None else "\n\\* best on validation\n")

    def csv(self) -> str:
        """The table with figures in full, ratios between 0 and 1."""
        metric = self.records[0].metric
        keys = list(self.variants[0].settings)
        head = [*keys, f"validation_{metric}", f"test_{metric}", "test_low", "test_high", "parameters", "seconds"]
        rows = []
        for variant, record in zip(self.variants, self.records, strict=True):
            low, high = record.interval("test") if record.value("test") is not None else ("", "")
            figures = [record.value("validation"), record.value("test"), low, high]
            rows.append([*variant.settings.values(), *figures, record.num_parameters, record.seconds])
        return format_csv(head, rows)

    def save(self, folder: Path) -> list[Path]:
        """Writes comparison.csv, comparison.md and comparison.json."""
        contents = {"csv": self.csv(), "md": self.markdown(), "json": json.dumps(self.to_dict(), indent=2) + "\n"}
        files = []
        for suffix, content in contents.items():
            files.append(folder / f"comparison.{suffix}")
            write_text(files[-1], content)
        return files

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, from which `from_dict` makes an equal comparison."""
        return {
            "recipe": self.recipe,
            "command": self.command,
            "variants": [vars(variant) for variant in self.variants],
            "records": [record.to_dict() for record in self.records],
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Comparison:
        """The comparison of `to_dict`."""
        variants = [Variant(**variant) for variant in content["variants"]]
        records = [RunRecord.from_dict(record) for record in content["records"]]
        return cls(content["recipe"], content["command"], variants, records)


def compare(
    recipe: str,
    axes: Sequence[Axis],
    overrides: Sequence[str] = (),
    output_dir: Path | None = None,
    command: str = "hf_speech.experiments.compare(recipe, axes)",
) -> Comparison:
    """Trains every variant of a recipe that is not trained yet.

    Args:
        recipe: A YAML file, or the name of a recipe of the package.
        axes: What varies.
        overrides: Command-line words for all variants.
        output_dir: Where the run folders and the table go; runs/compare-NAME by default.
        command: The command that makes the whole comparison.

    Returns:
        The comparison, whose table has been written too.

    Raises:
        HFSpeechError: If a variant cannot be trained; what can be known before training is, for all of them.
    """
    variants = variants_of(axes)
    recipes = [load_recipe(recipe, [*overrides, *variant.overrides]) for variant in variants]
    for resolved in recipes:
        make_feature_extractor(resolved)
    folder = output_dir or Path("runs") / f"compare-{recipes[0].name}"
    records = []
    for place, (variant, resolved) in enumerate(zip(variants, recipes, strict=True), start=1):
        print(f"[{place}/{len(variants)}] {variant.name}")
        run_dir = folder / variant.name
        words = ["hf-speech", "train", recipe, *overrides, *variant.overrides, "--output_dir", str(run_dir)]
        records.append(finish_run(resolved, run_dir, shlex.join(words)))
    comparison = Comparison(recipes[0].name, command, variants, records)
    comparison.save(folder)
    return comparison


def figure(metric: str, value: float | None) -> str:
    """A value in the metric's unit; "-" where there is none."""
    return "-" if value is None else metric_named(metric).number(value)


def format_interval(metric: str, ends: tuple[float, float]) -> str:
    """Both ends of an interval in the metric's unit."""
    return " to ".join(metric_named(metric).number(end, 1) for end in ends)


def with_unit(title: str, metric: str) -> str:
    """The title of a column with the metric's unit."""
    unit = metric_named(metric).unit
    return f"{title} ({unit})" if unit else title
