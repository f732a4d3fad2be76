"""Metrics of the `evaluate` library that need no network and leave nothing on the disk.

`evaluate.load("accuracy")` downloads its script even where scikit-learn is installed; hence subclasses. They
differ from the library's defaults in two ways, both tested: predictions are kept in memory (the default is a
locked Arrow file in the user's cache, for which two processes on one machine compete), and no cache folder is
created (the default makes one even when nothing is written, which fails in a read-only home).
"""

from __future__ import annotations

from typing import Any

import evaluate
from datasets import Features, Value
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score


class InMemoryMetric(evaluate.Metric):
    """An `evaluate.Metric` without cache files; one process computes over gathered predictions."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"keep_in_memory": True, **kwargs})

    def _build_data_dir(self) -> str:
        return "" if self.keep_in_memory else super()._build_data_dir()


class ClassificationMetrics(InMemoryMetric):
    """Accuracy, F1 (micro and macro), macro precision and macro recall of class ids, by scikit-learn.

    Macro averages run over the classes that occur as a reference or a prediction; 0/0 counts as 0.

    Example:
        >>> ClassificationMetrics().compute(predictions=[0, 1, 1], references=[0, 1, 0])["recall_macro"]
        0.75
    """

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Accuracy, F1, precision and recall of single-label classification.",
            citation="",
            inputs_description="predictions and references: class ids, one an utterance.",
            features=Features({"predictions": Value("int64"), "references": Value("int64")}),
        )

    def _compute(self, *, predictions: Any, references: Any) -> dict[str, float]:
        macro: dict[str, Any] = {"average": "macro", "zero_division": 0.0}
        return {
            "accuracy": float(accuracy_score(references, predictions)),
            "f1_micro": float(f1_score(references, predictions, average="micro", zero_division=0.0)),
            "f1_macro": float(f1_score(references, predictions, **macro)),
            "precision_macro": float(precision_score(references, predictions, **macro)),
            "recall_macro": float(recall_score(references, predictions, **macro)),
        }
