"""Metrics: correct values, and no files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import jiwer
import numpy as np
import pytest

from hf_speech.tasks.metrics import ClassificationMetrics, TranscriptionMetrics, align_words, count_errors, error_rates


def test_metrics_equal_those_of_the_confusion_matrix():
    # Class 0: 2 of 3 found, 2 of 2 predictions right. Class 1: 1 of 1 found, 1 of 2 right. Class 2: 1 of 1.
    metrics = ClassificationMetrics().compute(predictions=[0, 0, 1, 1, 2], references=[0, 0, 0, 1, 2])
    assert metrics["accuracy"] == metrics["f1_micro"] == pytest.approx(4 / 5)
    assert metrics["precision_macro"] == pytest.approx((1 + 1 / 2 + 1) / 3)
    assert metrics["recall_macro"] == pytest.approx((2 / 3 + 1 + 1) / 3)
    assert metrics["f1_macro"] == pytest.approx((4 / 5 + 2 / 3 + 1) / 3)


def test_accumulates_batches():
    metric = ClassificationMetrics()
    metric.add_batch(predictions=[0, 1], references=[0, 0])
    metric.add_batch(predictions=[1], references=[1])
    assert metric.compute()["accuracy"] == pytest.approx(2 / 3)


def test_uses_neither_disk_nor_network(tmp_path: Path):
    """In a new process with a read-only home and without the Hub, as on a shared machine."""
    code = (
        "from hf_speech.tasks.metrics import ClassificationMetrics\n"
        "print(ClassificationMetrics().compute(predictions=[0, 1], references=[0, 0])['accuracy'])"
    )
    environment = {**os.environ, "HF_METRICS_CACHE": str(tmp_path / "metrics"), "HF_HUB_OFFLINE": "1"}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert run.stdout.strip() == "0.5", run.stderr
    assert list(tmp_path.iterdir()) == []


def test_simultaneous_metrics_are_independent():
    first, second = ClassificationMetrics(), ClassificationMetrics()
    first.add_batch(predictions=[0, 0], references=[0, 0])
    second.add_batch(predictions=[0, 0], references=[1, 1])
    assert first.compute()["accuracy"] == 1.0
    assert second.compute()["accuracy"] == 0.0


def test_counts_errors_of_words_and_characters():
    # Words: the -> a, sat deleted. Characters, spaces among them: of "the cat sat", "a cat" keeps " cat".
    metrics = TranscriptionMetrics().compute(predictions=["a cat", "on"], references=["the cat sat", "on"])
    assert metrics["wer"] == 2 / 4
    assert metrics["cer"] == 7 / 13
    assert [metrics[f"word_{name}"] for name in ("substitutions", "deletions", "insertions")] == [1, 1, 0]
    assert metrics["words"] == 4
    assert metrics["characters"] == 13
    assert next(iter(metrics)) == "wer"


def test_an_empty_reference_adds_insertions_but_no_words():
    counts = count_errors(["", "yes", "", "no"], ["uh oh", "", "", "no"])
    assert counts[:, :4].tolist() == [[0, 0, 2, 0], [0, 1, 0, 1], [0, 0, 0, 0], [0, 0, 0, 1]]
    assert counts[:, 4:].tolist() == [[0, 0, 5, 0], [0, 3, 0, 3], [0, 0, 0, 0], [0, 0, 0, 2]]
    rates = error_rates(counts.sum(axis=0))
    assert rates["wer"] == 3 / 2
    assert rates["cer"] == 8 / 5


def test_error_rate_without_reference_words():
    assert error_rates(count_errors([""], ["uh oh"])[0]) == {"wer": 2.0, "cer": 5.0}
    assert error_rates(count_errors([""], [""])[0]) == {"wer": 0.0, "cer": 0.0}
    assert count_errors([], []).shape == (0, 8)


def test_collapses_white_space():
    assert count_errors(["a\tb \n c"], [" a b  c"])[0].tolist() == [0, 0, 0, 3, 0, 0, 0, 5]


@pytest.mark.parametrize("seed", range(5))
def test_error_rates_equal_those_of_jiwer(seed: int):
    rng = np.random.default_rng(seed)
    references, predictions = (
        [" ".join(rng.choice(["a", "bc", "d"], rng.integers(1, 9))) for _ in range(20)] for _ in range(2)
    )
    rates = error_rates(count_errors(references, predictions).sum(axis=0))
    assert rates["wer"] == pytest.approx(jiwer.wer(references, predictions))
    assert rates["cer"] == pytest.approx(jiwer.cer(references, predictions))


def test_computes_rates_of_many_sums():
    counts = count_errors(["a b", "c"], ["a x", "d d"])
    rates = error_rates(np.stack([counts[0], counts[1], counts.sum(0)]))
    assert rates["wer"].tolist() == [1 / 2, 2.0, 1.0]


def test_aligns_words():
    assert align_words("the cat  sat", "a cat sat down") == [
        ("the", "a"),
        ("cat", "cat"),
        ("sat", "sat"),
        (None, "down"),
    ]
    assert align_words("go", "") == [("go", None)]
    assert align_words("", "") == []
