"""Offline metrics: right, and without a trace on the disk."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hf_speech.tasks.metrics import ClassificationMetrics


def test_values_are_those_of_the_confusion_matrix():
    # Class 0: 2 of 3 found, 2 of 2 predictions right. Class 1: 1 of 1 found, 1 of 2 right. Class 2: 1 of 1.
    metrics = ClassificationMetrics().compute(predictions=[0, 0, 1, 1, 2], references=[0, 0, 0, 1, 2])
    assert metrics["accuracy"] == metrics["f1_micro"] == pytest.approx(4 / 5)
    assert metrics["precision_macro"] == pytest.approx((1 + 1 / 2 + 1) / 3)
    assert metrics["recall_macro"] == pytest.approx((2 / 3 + 1 + 1) / 3)
    assert metrics["f1_macro"] == pytest.approx((4 / 5 + 2 / 3 + 1) / 3)


def test_batches_may_be_added_one_after_the_other():
    metric = ClassificationMetrics()
    metric.add_batch(predictions=[0, 1], references=[0, 0])
    metric.add_batch(predictions=[1], references=[1])
    assert metric.compute()["accuracy"] == pytest.approx(2 / 3)


def test_nothing_is_written_and_no_network_is_asked(tmp_path: Path):
    """In a fresh process with a read-only home, as on a shared machine, and without the Hub."""
    code = (
        "from hf_speech.tasks.metrics import ClassificationMetrics\n"
        "print(ClassificationMetrics().compute(predictions=[0, 1], references=[0, 0])['accuracy'])"
    )
    environment = {**os.environ, "HF_METRICS_CACHE": str(tmp_path / "metrics"), "HF_HUB_OFFLINE": "1"}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert run.stdout.strip() == "0.5", run.stderr
    assert list(tmp_path.iterdir()) == []


def test_two_metrics_at_work_at_once_do_not_disturb_each_other():
    first, second = ClassificationMetrics(), ClassificationMetrics()
    first.add_batch(predictions=[0, 0], references=[0, 0])
    second.add_batch(predictions=[0, 0], references=[1, 1])
    assert first.compute()["accuracy"] == 1.0
    assert second.compute()["accuracy"] == 0.0
