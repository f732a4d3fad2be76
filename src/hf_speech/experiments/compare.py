"""Compares variants of a recipe to show the effect of its options.

Each variant is trained into its own run folder, and the table is made from the files of the runs. The best variant has
the best validation metric. The table also shows test metrics, which must not be used to choose.
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
        command: The command that runs the comparison.
        variants: The variants.
        records: The run of each variant.
    """

    recipe: str
    command: str
    variants: list[Variant]
    records: list[RunRecord]

    @property
    def best(self) -> int | None:
        """Index of the first variant with the best validation metric; None without a validation split."""
        sign = 1 if get_task(self.records[0].task).greater_is_better else -1
        values = [record.value("validation") for record in self.records]
        known = [sign * value for value in values if value is not None]
        return known.index(max(known)) if len(known) == len(values) else None

    def head(self) -> list[str]:
        """Returns the names of the columns."""
        keys = [key.removeprefix("features.") for key in self.variants[0].settings]
        metric = self.records[0].metric
        columns = [title_with_unit(f"{split} {metric}", metric) for split in ("validation", "test")]
        return [*keys, *columns, "95% interval", "parameters", "minutes"]

    def rows(self) -> list[list[str]]:
        """Returns the cells of each variant; a star marks the best on the validation split."""
        rows = []
        for index, (variant, record) in enumerate(zip(self.variants, self.records, strict=True)):
            validation, test = (record.value(split) for split in ("validation", "test"))
            interval = "" if test is None else format_interval(record.metric, record.interval("test"))
            rows.append(
                [
                    *variant.settings.values(),
                    ("* " if index == self.best else "") + format_value(record.metric, validation),
                    format_value(record.metric, test),
                    interval,
                    f"{record.num_parameters:,}",
                    f"{record.seconds / 60:.1f}",
                ]
            )
        return rows

    def text(self) -> str:
        """Returns the table for a terminal."""
        table = format_text(self.head(), self.rows(), len(self.variants[0].settings))
        return table if self.best is None else f"{table}\n* best on validation"

    def markdown(self) -> str:
        """Returns the table in Markdown, preceded by the command that makes it."""
        table = format_markdown(self.head(), self.rows(), len(self.variants[0].settings))
        return f"`{self.command}`\n\n{table}\n" + ("" if self.best is None else "\n\\* best on validation\n")

    def csv(self) -> str:
        """Returns the table as CSV, with unrounded numbers and ratios between 0 and 1."""
        metric = self.records[0].metric
        keys = list(self.variants[0].settings)
        head = [*keys, f"validation_{metric}", f"test_{metric}", "test_low", "test_high", "parameters", "seconds"]
        rows = []
        for variant, record in zip(self.variants, self.records, strict=True):
            low, high = record.interval("test") if record.value("test") is not None else ("", "")
            values = [record.value("validation"), record.value("test"), low, high]
            rows.append([*variant.settings.values(), *values, record.num_parameters, record.seconds])
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
        """Returns data for JSON, the inverse of `from_dict`."""
        return {
            "recipe": self.recipe,
            "command": self.command,
            "variants": [vars(variant) for variant in self.variants],
            "records": [record.to_dict() for record in self.records],
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Comparison:
        """Returns the comparison that `to_dict` was called on."""
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
    """Trains the variants of a recipe, except those already trained, and saves the table.

    Args:
        recipe: A YAML file, or the name of a recipe of the package.
        axes: The keys that vary and their values.
        overrides: Command-line arguments for all variants.
        output_dir: Folder for the run folders and the table; runs/compare-NAME by default.
        command: The command that runs the comparison, for the record.

    Returns:
        The comparison.

    Raises:
        HFSpeechError: If a variant cannot be trained. All recipes are checked before the first training.
    """
    variants = variants_of(axes)
    recipes = [load_recipe(recipe, [*overrides, *variant.overrides]) for variant in variants]
    for resolved in recipes:
        make_feature_extractor(resolved)
    folder = output_dir or Path("runs") / f"compare-{recipes[0].name}"
    records = []
    for number, (variant, resolved) in enumerate(zip(variants, recipes, strict=True), start=1):
        print(f"[{number}/{len(variants)}] {variant.name}")
        run_dir = folder / variant.name
        words = ["hf-speech", "train", recipe, *overrides, *variant.overrides, "--output_dir", str(run_dir)]
        records.append(finish_run(resolved, run_dir, shlex.join(words)))
    comparison = Comparison(recipes[0].name, command, variants, records)
    comparison.save(folder)
    return comparison


def format_value(metric: str, value: float | None) -> str:
    """Returns a value as text in the metric's unit; "-" for None."""
    return "-" if value is None else metric_named(metric).number(value)


def format_interval(metric: str, ends: tuple[float, float]) -> str:
    """Returns an interval as text in the metric's unit."""
    return " to ".join(metric_named(metric).number(end, 1) for end in ends)


def percent(ratio: float) -> str:
    """Returns a ratio in percent, with one decimal."""
    return f"{100 * ratio:.1f}%"


def percent_range(ends: tuple[float, float]) -> str:
    """Returns an interval of ratios in percent, in parentheses."""
    return f"({100 * ends[0]:.1f} to {100 * ends[1]:.1f})"


def title_with_unit(title: str, metric: str) -> str:
    """Returns the title of a column with the metric's unit."""
    unit = metric_named(metric).unit
    return f"{title} ({unit})" if unit else title
