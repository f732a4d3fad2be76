"""Audio classification: one class for each utterance, with metrics and confusions.

Outside the training loop, classes are compared by *name*, because a corpus may order its labels differently from the
model or have only some of them. Macro averages follow scikit-learn's default: the mean over the classes that occur as a
reference or as a prediction, with 0 for 0/0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from hf_speech.common.text import one_line
from hf_speech.errors import CorpusError, RecipeError
from hf_speech.tasks.base import IGNORED, Record, Task
from hf_speech.tasks.metric import Metric

if TYPE_CHECKING:
    import torch
    from datasets import Dataset, DatasetDict
    from transformers import EvalPrediction, PreTrainedConfig


class AudioClassification(Task):
    """One class for each utterance: a spoken word, an emotion, a speaker."""

    name = "audio-classification"
    verb = space = "classify"
    target_column = "label"
    auto_class = "AutoModelForAudioClassification"
    architecture_suffixes: ClassVar[tuple[str, ...]] = ("ForAudioClassification", "ForSequenceClassification")
    model_types = ("speech_lstm",)
    metrics = {  # noqa: RUF012 - declared as a ClassVar in the base class
        "accuracy": Metric("Accuracy", "accuracy", is_proportion=True),
        # With one label per utterance, micro-averaged F1 equals accuracy (scikit-learn's user guide, 3.4.4.8).
        "f1_micro": Metric("F1, micro average", "f1", is_proportion=True),
        "f1_macro": Metric("F1, macro average", "f1"),
        "precision_macro": Metric("Precision, macro average", "precision"),
        "recall_macro": Metric("Recall, macro average", "recall"),
    }
    best_metric = "accuracy"
    chart = "classes"
    units = "classes"
    examples = 2

    def check_columns(self, rows: Dataset | DatasetDict) -> None:
        """Rejects a corpus without a `label` column of named classes.

        Raises:
            RecipeError: If the corpus is for another task, or its `label` column has no class names.
        """
        from datasets import ClassLabel

        super().check_columns(rows)
        for split in rows.values() if isinstance(rows, Mapping) else [rows]:
            feature = split.features[self.target_column]
            if not isinstance(feature, ClassLabel) or not feature.names:
                raise RecipeError(
                    "The column `label` of this corpus has no class names: make it a ClassLabel with "
                    "`dataset.class_encode_column('label')`."
                )

    def keep_outputs(self, dataset_dict: DatasetDict, options: Any, labels: Sequence[str]) -> tuple[DatasetDict, Any]:
        """Renumbers the classes: first those of the earlier model in its order, then the new ones."""
        from datasets import ClassLabel, DatasetDict

        column = self.target_column
        names = dataset_dict["train"].features[column].names
        feature = ClassLabel(names=[*labels, *(name for name in names if name not in labels)])
        ids = feature.str2int(names)
        splits = {}
        for split, rows in dataset_dict.items():
            renumbered = [ids[label] if label is not None and label >= 0 else label for label in rows[column]]
            splits[split] = rows.remove_columns(column).add_column(column, renumbered, feature=feature)
        return DatasetDict(splits), options

    def config_arguments(self, dataset_dict: DatasetDict, tokenizer: Any = None) -> dict[str, Any]:
        """Returns `num_labels`, `id2label` and `label2id`, from the class names of the training split."""
        self.check_columns(dataset_dict)
        split = dataset_dict["train"] if "train" in dataset_dict else next(iter(dataset_dict.values()))
        names = split.features[self.target_column].names
        return {
            "num_labels": len(names),
            "id2label": dict(enumerate(names)),
            "label2id": {name: index for index, name in enumerate(names)},
        }

    def encode_target(self, row: Mapping[str, Any], tokenizer: Any = None) -> int:
        """Returns the class id of a row."""
        return int(row[self.target_column])

    def collate_targets(self, targets: Sequence[int | torch.Tensor]) -> torch.Tensor:
        """Returns class ids `(batch,)` int64."""
        import torch

        return torch.as_tensor([int(target) for target in targets], dtype=torch.long)

    def compute_metrics(self, prediction: EvalPrediction, tokenizer: Any = None) -> dict[str, float]:
        """Computes accuracy, F1, precision and recall of gathered class ids; predictions and labels `(utterances,)`."""
        from hf_speech.tasks.metrics import ClassificationMetrics

        references = np.asarray(prediction.label_ids).reshape(-1)
        predictions = np.asarray(prediction.predictions).reshape(-1)
        valid = references != IGNORED
        return ClassificationMetrics().compute(predictions=predictions[valid], references=references[valid])

    def references(self, rows: Dataset, config: PreTrainedConfig, tokenizer: Any = None) -> list[str]:
        """Returns the class name of every row.

        Raises:
            CorpusError: If a row has no label, or a class that the model does not have.
        """
        self.check_columns(rows)
        names = rows.features[self.target_column].names
        ids = list(rows[self.target_column])
        for index, label in enumerate(ids):
            if label is None or label < 0:
                raise CorpusError(f"Row {index} has no label: leave the rows without one out of the evaluated split.")
        known = list(config.id2label.values())
        if unknown := sorted({names[label] for label in ids} - set(known)):
            raise CorpusError(
                f"The model does not know the classes {_quoted(unknown)}: it knows {_quoted(known)}, so evaluate it "
                "on a corpus with these classes."
            )
        return [names[label] for label in ids]

    def decode(self, logits: np.ndarray, config: PreTrainedConfig, tokenizer: Any = None) -> Record:
        """Returns the most likely class of the logits `(num_labels,)`, and its probability."""
        label, probability = rank_labels(logits, config.id2label)[0]
        return {"prediction": label, "probability": probability}

    def score(self, reference: str, decoded: Record) -> Record:
        """Returns the record with whether the class is correct."""
        return {"reference": reference, **decoded, "correct": decoded["prediction"] == reference}

    def tally(self, records: Sequence[Record]) -> np.ndarray:
        """Counts the hits, references and predictions of each class, `(utterances, 3 * classes)`."""
        names, references, predictions = _ids(records)
        counts = np.zeros((len(records), 3, len(names)))
        rows = np.arange(len(records))
        counts[rows, 0, references] = references == predictions
        counts[rows, 1, references] = 1
        counts[rows, 2, predictions] = 1
        return counts.reshape(len(records), -1)

    def metrics_from_counts(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the five metrics of summed counts `(..., 3 * classes)`, as defined by scikit-learn."""
        hits, references, predictions = np.moveaxis(counts.reshape(*counts.shape[:-1], 3, -1), -2, 0)
        occurs = references + predictions > 0
        classes = occurs.sum(-1)
        accuracy = _ratio(hits.sum(-1), references.sum(-1))
        return {
            "accuracy": accuracy,
            "f1_micro": accuracy,
            "f1_macro": _ratio(_ratio(2 * hits, references + predictions).sum(-1), classes),
            "precision_macro": _ratio(_ratio(hits, predictions).sum(-1), classes),
            "recall_macro": _ratio(_ratio(hits, references).sum(-1), classes),
        }

    def breakdowns(self, records: Sequence[Record], config: PreTrainedConfig) -> dict[str, dict[str, dict[str, float]]]:
        """Returns `per_class`: precision, recall, F1, utterances and predictions of each class that occurs."""
        names, matrix = self.confusion_matrix(records, config)
        hits, references, predictions = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
        precision, recall = _ratio(hits, predictions), _ratio(hits, references)
        f1 = _ratio(2 * hits, references + predictions)
        return {
            "per_class": {
                name: {
                    "precision": float(precision[i]),
                    "recall": float(recall[i]),
                    "f1": float(f1[i]),
                    "num_utterances": int(references[i]),
                    "num_predictions": int(predictions[i]),
                }
                for i, name in enumerate(names)
            }
        }

    def confusions(self, records: Sequence[Record]) -> list[tuple[str, str, int]]:
        """Returns the confused classes, most frequent first: (reference, prediction, utterances)."""
        wrong = Counter((r["reference"], r["prediction"]) for r in records if not r["correct"])
        return [(*pair, count) for pair, count in sorted(wrong.items(), key=lambda item: (-item[1], item[0]))]

    def confusion_matrix(self, records: Sequence[Record], config: PreTrainedConfig) -> tuple[list[str], np.ndarray]:
        """Returns class names and the confusion matrix `(classes, classes)` int64, references in rows.

        The classes are those that occur as a reference or a prediction, in the model's order.
        """
        names, references, predictions = _ids(records)
        matrix = np.zeros((len(names), len(names)), dtype=np.int64)
        np.add.at(matrix, (references, predictions), 1)
        rank = {name: index for index, name in sorted(config.id2label.items())}
        order = sorted(range(len(names)), key=lambda index: rank[names[index]])
        return [names[index] for index in order], matrix[np.ix_(order, order)]

    def answer(self, logits: np.ndarray, labels: Sequence[str], top_k: int = 3) -> Record:
        """Returns the most likely classes as `{"labels": [{"label", "score"}, ...]}`; scores are probabilities."""
        ranked = rank_labels(logits, dict(enumerate(labels)))[:top_k]
        return {"labels": [{"label": label, "score": score} for label, score in ranked]}

    def format_answer(self, answer: Mapping[str, Any]) -> str:
        """Formats the classes with their probabilities in percent."""
        return "   ".join(f"{one_line(entry['label'])} {entry['score']:.1%}" for entry in answer["labels"])

    def target_texts(self, rows: Dataset) -> list[str | None]:
        """Returns the class name of every row, None for a row without one."""
        names = rows.features[self.target_column].names
        return [None if label is None or label < 0 else names[label] for label in rows[self.target_column]]

    def target_groups(self, rows: Dataset) -> list[str]:
        """Returns the classes in the order of their ids."""
        names: list[str] = rows.features[self.target_column].names
        return names


def rank_labels(logits: np.ndarray, id2label: Mapping[int, str]) -> list[tuple[str, float]]:
    """Returns all classes with their probabilities (softmax of the logits `(num_labels,)`), most likely first."""
    scores = np.asarray(logits, dtype=np.float64)
    probabilities = np.exp(scores - scores.max())
    probabilities /= probabilities.sum()
    return [(id2label[int(i)], float(probabilities[i])) for i in np.argsort(-probabilities, kind="stable")]


def _ids(records: Sequence[Record]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Returns the sorted classes that occur, and the references and predictions as indices into them."""
    references = [record["reference"] for record in records]
    predictions = [record["prediction"] for record in records]
    names, inverse = np.unique(np.asarray(references + predictions, dtype=str), return_inverse=True)
    return names.tolist(), inverse[: len(records)], inverse[len(records) :]


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Divides, with 0 for 0/0."""
    numerator, denominator = np.broadcast_arrays(numerator, denominator)
    return np.divide(numerator, denominator, out=np.zeros(numerator.shape), where=denominator > 0)


def _quoted(names: Sequence[str], limit: int = 12) -> str:
    """Lists up to `limit` quoted names, separated by commas."""
    shown = ", ".join(f"'{name}'" for name in names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
