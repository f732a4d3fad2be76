"""Metrics of the `evaluate` library that need no network and write nothing to disk, and the underlying counts.

`evaluate.load("accuracy")` downloads its script even if scikit-learn is installed, so the metrics are subclasses. They
differ from the library's defaults in two ways: predictions are kept in memory (the default is a locked Arrow file in
the user's cache, for which two processes on one machine compete), and no cache folder is created (the default creates
one even when nothing is written, which fails in a read-only home).

Transcripts are aligned by jiwer (Levenshtein distance). An error *rate* is the sum of all errors over the number of all
reference words, never a mean of rates. An empty reference therefore adds its insertions but no words, and the error
rate of a set without reference words is its number of insertions.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import evaluate
import jiwer
import numpy as np
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

    Macro averages cover the classes that occur as a reference or a prediction; 0/0 counts as 0.

    Example:
        >>> ClassificationMetrics().compute(predictions=[0, 1, 1], references=[0, 1, 0])["recall_macro"]
        0.75
    """

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Accuracy, F1, precision and recall of single-label classification.",
            citation="",
            inputs_description="predictions and references: class ids, one per utterance.",
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


ERROR_COUNTS = (
    *("word_substitutions", "word_deletions", "word_insertions", "words"),
    *("character_substitutions", "character_deletions", "character_insertions", "characters"),
)
"""The counts of an utterance; `words` and `characters` are those of the reference, including spaces between words."""


class TranscriptionMetrics(InMemoryMetric):
    """Word and character error rates with their substitutions, deletions and insertions, by jiwer.

    Example:
        >>> TranscriptionMetrics().compute(predictions=["a cat"], references=["the cat sat"])["wer"]
        0.6666666666666666
    """

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Word and character error rate of transcripts.",
            citation="",
            inputs_description="predictions and references: transcripts, one per utterance.",
            features=Features({"predictions": Value("string"), "references": Value("string")}),
        )

    def _compute(self, *, predictions: Any, references: Any) -> dict[str, float]:
        counts = count_errors(references, predictions).sum(axis=0)
        rates = {name: float(rate) for name, rate in error_rates(counts).items()}
        return rates | {name: int(count) for name, count in zip(ERROR_COUNTS, counts, strict=True)}


def count_errors(references: Sequence[str], predictions: Sequence[str]) -> np.ndarray:
    """Returns the `ERROR_COUNTS` of each utterance, `(utterances, 8)` int64.

    Args:
        references: True transcripts, which may be empty.
        predictions: Recognized transcripts, which may be empty.
    """
    counts = np.zeros((len(references), len(ERROR_COUNTS)), dtype=np.int64)
    if len(references):
        refs, hyps = ([" ".join(text.split()) for text in texts] for texts in (references, predictions))
        for first, output in ((0, jiwer.process_words(refs, hyps)), (4, jiwer.process_characters(refs, hyps))):
            for row, (reference, chunks) in enumerate(zip(output.references, output.alignments, strict=True)):
                counts[row, first + 3] = len(reference)
                for chunk in chunks:
                    if chunk.type != "equal":
                        column = first + ("substitute", "delete", "insert").index(chunk.type)
                        size = chunk.ref_end_idx - chunk.ref_start_idx or chunk.hyp_end_idx - chunk.hyp_start_idx
                        counts[row, column] += size
    return counts


def error_rates(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Returns `wer` and `cer`, each `(...)`, for sums `(..., 8)` of `ERROR_COUNTS`.

    A rate is the number of errors over the number of reference words or characters, at least 1.
    """
    errors = np.asarray(counts, dtype=np.float64)
    return {
        "wer": errors[..., 0:3].sum(-1) / np.maximum(errors[..., 3], 1),
        "cer": errors[..., 4:7].sum(-1) / np.maximum(errors[..., 7], 1),
    }


def align_words(reference: str, prediction: str) -> list[tuple[str | None, str | None]]:
    """Aligns the words of two transcripts in pairs; a deletion is (word, None), an insertion (None, word)."""
    output = jiwer.process_words(" ".join(reference.split()), " ".join(prediction.split()))
    pairs: list[tuple[str | None, str | None]] = []
    for chunk in output.alignments[0]:
        ref = output.references[0][chunk.ref_start_idx : chunk.ref_end_idx]
        hyp = output.hypotheses[0][chunk.hyp_start_idx : chunk.hyp_end_idx]
        pairs += zip_longest(ref, hyp)  # One of them is empty if words were deleted or inserted.
    return pairs
