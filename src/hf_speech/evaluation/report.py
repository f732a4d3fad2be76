"""The report of an evaluation: JSON, a CSV of the utterances, a confusion matrix, and text for the terminal.

All numbers on a model card come from the JSON file. The CSV file has a row for each utterance, to recompute metrics and
to find the recordings with errors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from hf_speech.common.files import replacing_all
from hf_speech.common.plots import plot_confusion_matrix
from hf_speech.common.tables import format_csv, format_text
from hf_speech.common.text import counted, spreadsheet_cell
from hf_speech.errors import HFSpeechError
from hf_speech.tasks import Record, Task, get_task, metric_named

# Rows of a table in the terminal; the files contain all of them.
MAX_ROWS = 10


@dataclass(frozen=True, kw_only=True)
class EvaluationReport:
    """The evaluation of one model on one split.

    Attributes:
        task: Name of the task.
        model: The model folder or Hub id.
        model_revision: The commit on the Hub, or the checksum of the weights.
        model_fingerprint: Digests of all files that affect predictions (`hf_speech.common.fingerprint`).
        num_parameters: Number of parameters of the model.
        corpus: Name of the corpus.
        corpus_revision: Version or commit of the corpus, if any.
        corpus_fingerprint: Checksum of all sounds and references of the split.
        split: Name of the split.
        num_utterances: Number of utterances that were measured.
        num_skipped: Number of utterances that were unreadable or left out, and are not in the metrics.
        metrics: Value of each metric.
        confidence: Lower and upper bound of each metric.
        confidence_method: Methods of the intervals, in words.
        breakdowns: Tables by name (`per_class`, `per_speaker`), each from row names to columns.
        real_time_factor: Processing time over audio duration.
        real_time_factor_conditions: Definition of the processing time, and the machine.
        decoder: The beam search and its weights, or None if the task decoded without one.
        command: The command line that repeats this evaluation.
        date: End of the evaluation (UTC, ISO 8601).
        versions: Versions of Python and packages and, in a checkout, the commit.
        conditions: Simulated recording conditions; each is a top-level key of the JSON file.
        details: Further data of the task; each entry is a top-level key of the JSON file.
        notes: Lines about `details` for the terminal.
        records: Reference, prediction and scores of each utterance.
        skipped: A sentence about each unreadable utterance, and examples of those left out earlier.
        confusions: (reference, prediction, count), most frequent first.
        confusion_matrix: Class names and counts `(classes, classes)`, for tasks with classes.
    """

    task: str
    model: str
    model_revision: str
    model_fingerprint: dict[str, str]
    num_parameters: int
    corpus: str
    corpus_revision: str | None
    corpus_fingerprint: str
    split: str
    num_utterances: int
    num_skipped: int
    metrics: dict[str, float]
    confidence: dict[str, tuple[float, float]]
    confidence_method: str
    breakdowns: dict[str, dict[str, dict[str, Any]]]
    real_time_factor: float
    real_time_factor_conditions: dict[str, Any]
    decoder: dict[str, Any] | None
    command: str
    date: str
    versions: dict[str, str]
    records: list[Record] = field(repr=False)
    skipped: list[str] = field(repr=False)
    conditions: dict[str, Any] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict, repr=False)
    notes: list[str] = field(default_factory=list, repr=False)
    confusions: list[tuple[str, str, int]] = field(repr=False)
    confusion_matrix: tuple[list[str], np.ndarray] | None = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Returns the content of the JSON file, without the utterances."""
        content: dict[str, Any] = {}
        for name in (entry.name for entry in fields(self)):
            if name in ("breakdowns", "conditions", "details"):
                content |= getattr(self, name)
            elif name not in ("notes", "records", "confusions", "confusion_matrix"):
                content[name] = getattr(self, name)
        return content

    def save(self, destination: str | Path) -> list[Path]:
        """Writes the report.

        Args:
            destination: A file `NAME.json`, or a folder, where the file is named after corpus and split.

        Returns:
            The written files: `NAME.json`, `NAME.csv` (one row per utterance) and, for classes, `NAME-confusions.png`.
        """
        path = Path(destination)
        if path.suffix != ".json":
            path = path / f"{self.corpus}-{self.split}.json".replace("/", "_")
        written = [path, path.with_suffix(".csv")]
        if self.confusion_matrix is not None:
            written.append(path.with_name(f"{path.stem}-confusions.png"))
        columns = list(self.records[0])
        cells = ([record[column] for column in columns] for record in self.records)
        rows = [[spreadsheet_cell(value) if isinstance(value, str) else value for value in row] for row in cells]
        content = json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        with replacing_all(*written) as parts:
            parts[0].write_bytes(content.encode())
            parts[1].write_bytes(format_csv(columns, rows).encode())
            if self.confusion_matrix is not None:
                names, matrix = self.confusion_matrix
                corpora = " + ".join(self.breakdowns.get("per_corpus") or [self.corpus])
                title = f"{self.model} on {corpora}, {self.split} split"
                plot_confusion_matrix(names, matrix, parts[2], title=title)
        return written


def check_destination(path: Path) -> None:
    """Checks the name of a report before measuring.

    Raises:
        HFSpeechError: If the report would replace a file that is not part of a report, such as the measured table.
    """
    if path.suffix != ".json":
        raise HFSpeechError(f"{path} is not the name of a JSON file: choose an --output that ends in .json.")
    try:
        is_report = "metrics" in json.loads(path.read_bytes())
    except (OSError, ValueError, TypeError):
        is_report = False
    for written in (path, path.with_suffix(".csv")):
        if written.exists() and not is_report:
            raise HFSpeechError(
                f"{written} is not part of an evaluation, and would be replaced: choose another --output."
            )


def format_report(report: EvaluationReport) -> str:
    """Formats the report as aligned text: metrics with intervals, classes and speakers, confusions, speed."""
    conditions = report.real_time_factor_conditions
    seconds = conditions["audio_seconds"]
    length = f"{seconds / 3600:.2f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"
    total = report.num_utterances + report.num_skipped
    lines = [
        f"{report.model} ({report.num_parameters:,} parameters) on {report.corpus}, {report.split} split: "
        f"{f'{report.num_utterances:,} of ' if report.num_skipped else ''}{counted(total, 'utterance')}, {length}"
    ]
    if report.num_skipped:
        skipped = counted(report.num_skipped, "more was", "more were")
        lines.append(f"{skipped} not measured, such as: {report.skipped[0]}")
    task = get_task(report.task)
    metrics = [
        [_title(name), _cell(value, name), " - ".join(_cell(end, name) for end in report.confidence[name])]
        for name, value in report.metrics.items()
    ]
    all_ratios = all(metric_named(name).unit == "%" for name in report.metrics)
    head = ["metric (%)" if all_ratios else "metric", "value", "95% interval"]
    lines += ["", format_text(head, metrics)]
    for title, rows in report.breakdowns.items():
        if rows:
            lines += ["", _format_breakdown(title, rows, task)]
    lines += report.notes
    if report.confusions:
        shown = [[reference, prediction, str(count)] for reference, prediction, count in report.confusions[:MAX_ROWS]]
        more = len(report.confusions) - len(shown)
        lines += ["", format_text(["reference", "predicted as", "times"], shown, names=2)]
        lines += [f"... and {counted(more, 'more pair')} in the CSV file"] * (more > 0)
    speed = 1 / report.real_time_factor
    lines += [
        "",
        f"Real-time factor {report.real_time_factor:.2g}: {speed:,.0f} times faster than real time, decoding and "
        f"features included ({conditions['processor']}, threads: {conditions['threads']}, batch size: "
        f"{conditions['batch_size']})",
    ]
    return "\n".join(lines)


def headline(content: Mapping[str, Any]) -> str:
    """Formats the main metric of an evaluation in one line, with the number of utterances and the interval.

    Args:
        content: The content of an evaluation file, from `EvaluationReport.to_dict`.
    """
    name = next(iter(content["metrics"]))
    metric = metric_named(name)
    low, high = (metric.format(end) for end in content["confidence"][name])
    value = metric.format(content["metrics"][name])
    skipped = content.get("num_skipped") or 0
    total = content["num_utterances"] + skipped
    count = (f"{content['num_utterances']:,} of " if skipped else "") + counted(total, "utterance")
    return (
        f"{name} on the {content['split']} split of {content['corpus']}: {value} "
        f"({count}; 95% interval: {low} to {high})"
    )


def _format_breakdown(title: str, rows: dict[str, dict[str, Any]], task: Task) -> str:
    """Formats a table of classes or speakers, limited to the worst `MAX_ROWS`."""
    title = title.replace("_", " ")
    first = next(iter(rows.values()))
    columns = [name for name, value in first.items() if isinstance(value, int | float)]
    items = list(rows.items())
    if len(rows) > MAX_ROWS:
        ratios = [name for name in columns if isinstance(first[name], float)]
        sort_column = task.best_metric if task.best_metric in columns else ratios[-1]
        items.sort(key=lambda item: item[1][sort_column], reverse=not task.greater_is_better)
        title = f"{title} (worst {MAX_ROWS} of {len(rows)})"
    return format_text(
        [title, *(_title(column.removesuffix("_macro").removeprefix("num_")) for column in columns)],
        [[name, *(_cell(values[column], column) for column in columns)] for name, values in items[:MAX_ROWS]],
    )


def _title(name: str) -> str:
    """Returns a metric's name, with its unit unless that is percent."""
    unit = metric_named(name).unit
    return name if unit in ("%", "") else f"{name} ({unit})"


def _cell(value: float, name: str) -> str:
    """Formats a count, or a metric in its unit."""
    if isinstance(value, int):
        return f"{value:,}"
    return metric_named(name).number(value)
