"""The files and the text of a report."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset

from hf_speech.evaluation import EvaluationReport, evaluate_model, format_report, headline
from hf_speech.inference import load_model

KEYS = {
    "task", "model", "model_revision", "model_fingerprint", "num_parameters", "corpus", "corpus_revision",
    "corpus_fingerprint", "split", "num_utterances", "num_skipped", "metrics", "confidence", "confidence_method",
    "per_class", "per_speaker", "real_time_factor", "real_time_factor_conditions", "command", "date", "decoder",
    "versions", "skipped",
}  # fmt: skip


@pytest.fixture
def report(saved_model: Path, tones: Dataset) -> EvaluationReport:
    loaded = load_model(saved_model, device="cpu")
    return evaluate_model(loaded, tones, corpus="tones", split="test", command="command", progress=False)


def test_json_round_trip(report: EvaluationReport, tmp_path: Path):
    written = report.save(tmp_path / "new" / "result.json")
    assert [path.name for path in written] == ["result.json", "result.csv", "result-confusions.png"]
    content = json.loads(written[0].read_text())
    assert set(content) == KEYS
    assert list(content["metrics"]) == ["accuracy", "f1_micro", "f1_macro", "precision_macro", "recall_macro"]
    assert content["metrics"] == report.metrics
    assert content["confidence"]["accuracy"] == list(report.confidence["accuracy"])
    assert set(content["per_class"]) >= {"low", "high"}


def test_file_names_contain_corpus_and_split(report: EvaluationReport, tmp_path: Path):
    named = replace(report, corpus="owner/tones")
    assert named.save(tmp_path)[0] == tmp_path / "owner_tones-test.json"


def test_metrics_can_be_computed_from_the_csv(report: EvaluationReport, tmp_path: Path):
    with report.save(tmp_path)[1].open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == report.num_utterances
    right = [row["reference"] == row["prediction"] for row in rows]
    assert [row["correct"] == "True" for row in rows] == right
    assert np.mean(right) == pytest.approx(report.metrics["accuracy"])
    assert all(0 < float(row["probability"]) <= 1 for row in rows)
    assert {row["speaker"] for row in rows} == {"speaker0", "speaker1", "speaker2"}


def test_never_writes_nan_metrics(report: EvaluationReport, tmp_path: Path):
    with pytest.raises(ValueError, match="JSON compliant"):
        replace(report, metrics={"accuracy": float("nan")}).save(tmp_path)


def test_the_text_contains_metrics_intervals_and_speed(report: EvaluationReport):
    text = format_report(report)
    low, high = report.confidence["accuracy"]
    assert f"{100 * report.metrics['accuracy']:.2f}" in text
    assert f"{100 * low:.2f} - {100 * high:.2f}" in text
    assert "60 utterances" in text
    assert "speaker2" in text
    assert "Real-time factor" in text
    said, heard, count = report.confusions[0]
    assert any(line.split() == [said, heard, str(count)] for line in text.splitlines())
    assert "left out" not in text
    skipping = replace(report, num_skipped=2, skipped=["a.wav is empty.", "b.wav is empty."])
    assert "2 more were not measured, such as: a.wav is empty." in format_report(skipping)


def test_aligns_columns(report: EvaluationReport):
    tables = [block.splitlines() for block in format_report(report).split("\n\n")[1:-1]]
    assert len(tables) == 4
    for head, rule, *rows in tables:
        edges = [match.start() for match in re.finditer("  ", rule)]
        assert all(line[edge : edge + 2].strip() == "" for line in (head, *rows) for edge in edges if edge < len(line))
        assert max(map(len, rows)) <= len(rule)


def test_shows_the_worst_of_many_classes(report: EvaluationReport):
    classes = {
        f"word{i}": {"precision": 1.0, "recall": 1.0, "f1": i / 40, "num_utterances": 9, "num_predictions": 9}
        for i in reversed(range(40))
    }
    text = format_report(replace(report, breakdowns={"per_class": classes}))
    shown = [line.split()[0] for line in text.splitlines() if line.startswith("word")]
    assert shown == [f"word{i}" for i in range(10)]
    assert "per class (worst 10 of 40)" in text


def test_the_picture_of_a_mixture_names_its_corpora(
    report: EvaluationReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    titles: list[str] = []
    monkeypatch.setattr(
        "hf_speech.evaluation.report.plot_confusion_matrix",
        lambda names, matrix, path, title: (titles.append(title), path.touch()),
    )
    groups = {"low": report.breakdowns["per_class"], "high": report.breakdowns["per_class"]}
    mixed = replace(report, corpus="mixture", breakdowns={**report.breakdowns, "per_corpus": groups})
    for each in (report, mixed):
        each.save(tmp_path / "result.json")
    assert titles == [f"{report.model} on tones, test split", f"{report.model} on low + high, test split"]


def test_counts_the_confusions_that_are_not_shown(report: EvaluationReport):
    pairs = [(f"a{i}", f"b{i}", 20 - i) for i in range(14)]
    text = format_report(replace(report, confusions=pairs))
    assert "a9 " in text
    assert "a10 " not in text
    assert "4 more pairs" in text
    assert "predicted as" not in format_report(replace(report, confusions=[]))


def test_the_main_metric_has_count_and_interval(report: EvaluationReport):
    low, high = (f"{100 * end:.2f}%" for end in report.confidence["accuracy"])
    line = headline(report.to_dict())
    assert line.startswith(
        f"accuracy on the test split of tones: {100 * report.metrics['accuracy']:.2f}% (60 utterances; "
    )
    assert line.endswith(f"95% interval: {low} to {high})")
    assert "(60 of 62 utterances; " in headline({**report.to_dict(), "num_skipped": 2})
    skipping = replace(report, num_skipped=2, skipped=["a.wav is empty."])
    assert "test split: 60 of 62 utterances" in format_report(skipping)


def test_escapes_spreadsheet_formulas_in_cells(report: EvaluationReport, tmp_path: Path):
    record = {**report.records[0], "path": "=1+1", "reference": "@low", "speaker": None}
    table = replace(report, records=[record]).save(tmp_path)[1].read_text()
    assert "'=1+1" in table
    assert "'@low" in table
