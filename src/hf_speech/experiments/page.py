"""The page of results, from the records: for each experiment the published result and those measured here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hf_speech.common.files import write_text
from hf_speech.common.tables import format_markdown
from hf_speech.evaluation import wilson_interval
from hf_speech.experiments.catalog import EXPERIMENTS
from hf_speech.experiments.compare import Comparison, figure, format_interval, with_unit
from hf_speech.experiments.runs import RunRecord
from hf_speech.experiments.suite import CORPORA, Experiment, Item, Search, Table
from hf_speech.experiments.voices import Voices, voices_table
from hf_speech.tasks import get_task, metric_named

HEAD = f"""# Results

Written by `make experiments` from the records of the runs in `docs/results/`; only numbers that were published
elsewhere are typed. No choice was based on a test split, except where a row says so. Intervals are 95 %. `{CORPORA}`
is the folder of the corpora.
"""
NOT_YET = "not run yet"


def write_page(page: Path, records: Path) -> None:
    """Writes the page of all records in a folder."""
    write_text(page, render(records))


def render(records: Path) -> str:
    """The page in markdown."""
    found = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted(records.glob("*.json"))}
    parts = [HEAD, *(_section(experiment, found) for experiment in EXPERIMENTS)]
    if machines := _machines(found):
        parts.append(f"Run on: {'; '.join(machines)}.\n")
    return "\n".join(parts)


def _section(experiment: Experiment, found: dict[str, Any]) -> str:
    """One experiment: the published figure, a table of runs, and the tables of comparisons and searches."""
    runs = [item for item in experiment.items if not isinstance(item, Table | Search | Voices)]
    lines = [f"## {experiment.title}", "", f"Published: {experiment.published}", ""]
    train = any(item.train_split for item in runs)
    head = [
        "",
        "split",
        "result",
        "95 % interval",
        *(["on train"] if train else []),
        "parameters",
        "minutes",
        "command",
    ]
    rows = [row for item in runs for row in _rows(item, found.get(item.name), train)]
    lines += [format_markdown(head, rows, names=2), ""]
    for item in experiment.items:
        if isinstance(item, Table | Search | Voices):
            lines += [f"### {item.what[0].upper()}{item.what[1:]}", "", _own_table(item, found.get(item.name)), ""]
    return "\n".join(lines)


def _rows(item: Item, record: dict[str, Any] | None, train: bool) -> list[list[str]]:
    """The row of a run, or of several that make one figure; one for each corpus, where there are several."""
    notes = [item.note[0].lower() + item.note[1:].rstrip(".")] if item.note else []
    if record is None:
        command = f"`make experiments EXPERIMENT={item.name}`"
        return [[_with_notes(item.what, notes), item.split, NOT_YET, "", *([""] if train else []), "", "", command]]
    if others := record.get("others"):
        low, high = wilson_interval(others["right"], others["utterances"])
        notes.append(
            f"of the {others['speakers']} other speakers, {100 * others['right'] / others['utterances']:.2f} % come "
            f"out right, {100 * low:.1f} to {100 * high:.1f}"
        )
    if labels := record.get("labels"):
        notes.append(f"{labels['labels']:,} labeled recordings, {100 * labels['wer']:.1f} % of their words wrong")
    runs = [RunRecord.from_dict(content) for content in record["records"]]
    corpora = runs[0].evaluations[item.split].get("per_corpus") or {}
    if len(corpora) > 1:
        return [
            _row(item, f"{item.what}, {corpus}", [run.of_corpus(item.split, corpus) for run in runs], train)
            for corpus in corpora
        ]
    rows = [_row(item, _with_notes(item.what, notes), runs, train)]
    if "test-lm" in runs[0].evaluations:
        rows.append(_row(item, "the same, with a language model of the grammar", [runs[0].of_language_model()], train))
    return rows


def _with_notes(what: str, notes: Sequence[str]) -> str:
    return f"{what} ({'; '.join(notes)})" if notes else what


def _row(item: Item, what: str, runs: Sequence[RunRecord], train: bool) -> list[str]:
    value, low, high = pooled(runs, item.split)
    command = runs[0].command if len(runs) == 1 else f"make experiments EXPERIMENT={item.name}"
    metric = runs[0].metric
    on_train = [figure(metric, pooled(runs, "train")[0] if "train" in runs[0].evaluations else None)]
    result = f"{figure(metric, value)} {metric_named(metric).unit}".rstrip()
    return [
        what,
        f"{item.split} ({sum(run.evaluations[item.split]['num_utterances'] for run in runs):,})",
        f"**{result}** {metric.replace('_', ' ') if '_' in metric or metric == 'accuracy' else metric.upper()}",
        format_interval(metric, (low, high)),
        *(on_train if train else []),
        f"{runs[0].num_parameters:,}",
        f"{sum(run.seconds for run in runs) / 60:.1f}",
        f"`{command}`",
    ]


def pooled(runs: Sequence[RunRecord], split: str) -> tuple[float, float, float]:
    """One figure and its interval over the utterances of several runs.

    Raises:
        ValueError: For several runs of a metric that is not a proportion of the utterances.
    """
    if len(runs) == 1:
        value = runs[0].value(split)
        if value is None:
            raise ValueError(f"The run was not evaluated on {split}.")
        return value, *runs[0].interval(split)
    metric = runs[0].metric
    if not get_task(runs[0].task).metrics[metric].is_proportion:
        raise ValueError(f"{metric} of several runs cannot be pooled.")
    counts = [int(run.evaluations[split]["num_utterances"]) for run in runs]
    right = sum(round((run.value(split) or 0.0) * count) for run, count in zip(runs, counts, strict=True))
    low, high = wilson_interval(right, sum(counts))
    return right / sum(counts), low, high


def _own_table(item: Item, record: dict[str, Any] | None) -> str:
    if record is None:
        return f"{NOT_YET}: `make experiments EXPERIMENT={item.name}`"
    if record["kind"] == "voices":
        return voices_table(record)
    content = {key: value for key, value in record.items() if key not in ("name", "kind")}
    if record["kind"] == "comparison":
        return Comparison.from_dict(content).markdown()
    run = RunRecord.from_dict(content["record"])
    settings = content["trials"][0]["settings"]
    metric = content["metric"]
    head = ["trial", *settings, with_unit(f"validation {metric}", metric)]
    rows = [
        [
            f"{'**' if trial['number'] == content['best'] else ''}{trial['number']}"
            f"{'**' if trial['number'] == content['best'] else ''}",
            *(f"{value:.3g}" if isinstance(value, float) else str(value) for value in trial["settings"].values()),
            figure(metric, trial["value"]) if trial["outcome"] == "complete" else trial["outcome"],
        ]
        for trial in content["trials"]
    ]
    said = ""
    if run.value("test") is not None:
        result = f"{figure(metric, run.value('test'))} {metric_named(metric).unit}".rstrip()
        interval = format_interval(metric, run.interval("test"))
        said = f"\n\nThe best trial on the test split, looked at once: **{result}** ({interval})."
    return f"`{content['command']}`\n\n{format_markdown(head, rows)}{said}"


def _machines(found: dict[str, Any]) -> list[str]:
    """What the runs were made on, each once."""
    machines: dict[str, None] = {}
    for record in found.values():
        for run in record.get("records", []) + ([record["record"]] if "record" in record else []):
            for evaluation in run["evaluations"].values():
                machine = evaluation.get("machine") or {}
                machines[f"{machine.get('processor')}, {machine.get('threads')} thread(s)"] = None
    return list(machines)
