"""Audio classification: targets, metrics in the Trainer, and evaluation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features
from transformers import EvalPrediction, PreTrainedConfig

from hf_speech.errors import CorpusError
from hf_speech.models import SpeechLSTMConfig
from hf_speech.tasks import get_task, rank_labels
from hf_speech.tasks.metrics import ClassificationMetrics

TASK = get_task("audio-classification")


def rows(labels: list[int | None], names: list[str]) -> Dataset:
    return Dataset.from_dict({"label": labels}, features=Features({"label": ClassLabel(names=names)}))


def config(names: list[str]) -> PreTrainedConfig:
    return PreTrainedConfig(id2label=dict(enumerate(names)))


def records(pairs: list[tuple[str, str]]) -> list[dict]:
    return [TASK.score(reference, {"prediction": heard, "probability": 1.0}) for reference, heard in pairs]


def test_class_names_are_in_the_config():
    names = ["yes", "no", "maybe"]
    made = SpeechLSTMConfig(**TASK.config_arguments(DatasetDict(train=rows([0, 1, 2], names))))
    read = SpeechLSTMConfig.from_dict(made.to_dict())
    assert read.num_labels == 3
    assert read.id2label == {0: "yes", 1: "no", 2: "maybe"}
    assert read.label2id == {"yes": 0, "no": 1, "maybe": 2}


def test_collates_targets_to_int64():
    targets = [TASK.encode_target(row) for row in rows([2, 0], ["a", "b", "c"])]
    batch = TASK.collate_targets(targets)
    assert batch.dtype == torch.int64
    assert batch.tolist() == [2, 0]


def test_reduces_logits_to_ids():
    logits = torch.tensor([[0.0, 2.0, 1.0], [3.0, 2.0, 1.0]])
    assert TASK.preprocess_logits_for_metrics(logits, None).tolist() == [1, 0]
    assert TASK.preprocess_logits_for_metrics((logits, torch.zeros(2, 5)), None).tolist() == [1, 0]


def test_ignores_padding_of_the_trainer():
    metrics = TASK.compute_metrics(EvalPrediction(np.array([0, 1, 0]), np.array([0, 1, -100])))
    assert metrics["accuracy"] == 1.0
    assert TASK.best_metric in metrics
    assert next(iter(metrics)) == TASK.best_metric


def test_references_are_class_names():
    split = rows([0, 1, 1], ["no", "yes"])
    assert TASK.references(split, config(["yes", "maybe", "no"])) == ["no", "yes", "yes"]


def test_reports_a_class_unknown_to_the_model():
    split = rows([0, 1], ["yes", "perhaps"])
    with pytest.raises(CorpusError, match="does not know the classes 'perhaps': it knows 'yes', 'no'"):
        TASK.references(split, config(["yes", "no"]))
    # A declared class may be missing.
    assert TASK.references(rows([0], ["yes", "perhaps"]), config(["yes", "no"])) == ["yes"]


def test_shortens_a_long_list_of_classes():
    names = [f"word{i}" for i in range(40)]
    with pytest.raises(CorpusError, match="'word11' and 28 more, so evaluate"):
        TASK.references(rows([0], ["other"]), config(names))


@pytest.mark.parametrize("label", [None, -1])
def test_reports_a_row_without_label(label: int | None):
    with pytest.raises(CorpusError, match="Row 1 has no label"):
        TASK.references(rows([0, label], ["yes", "no"]), config(["yes", "no"]))


def test_predicts_the_most_likely_class_with_its_probability():
    decoded = TASK.decode(np.log(np.array([0.1, 0.7, 0.2], dtype=np.float32)) + 300, config(["a", "b", "c"]))
    assert decoded["prediction"] == "b"
    assert decoded["probability"] == pytest.approx(0.7, abs=1e-5)
    ranking = rank_labels(np.array([1000.0, -1000.0, 1001.0]), {0: "a", 1: "b", 2: "c"})
    assert [label for label, _ in ranking] == ["c", "a", "b"]
    assert sum(score for _, score in ranking) == pytest.approx(1)


@pytest.mark.parametrize("seed", range(5))
def test_metrics_of_counts_equal_those_of_scikit_learn(seed: int):
    """Returns random predictions, with classes that are never a reference or never predicted."""
    rng = np.random.default_rng(seed)
    references, predictions = rng.integers(0, 6, 50), rng.integers(2, 9, 50)
    split = records([(f"c{said}", f"c{heard}") for said, heard in zip(references, predictions, strict=True)])
    expected = ClassificationMetrics().compute(predictions=predictions, references=references)
    found = TASK.metrics_from_counts(TASK.tally(split).sum(axis=0))
    assert {name: float(value) for name, value in found.items()} == pytest.approx(expected)


def test_counts_of_parts_add_up():
    split = records([("a", "a"), ("a", "b"), ("b", "b"), ("c", "a")])
    tally = TASK.tally(split)
    parts = np.stack([tally[:2].sum(0), tally[2:].sum(0), tally.sum(0)])
    metrics = TASK.metrics_from_counts(parts)
    assert metrics["accuracy"].tolist() == [0.5, 0.5, 0.5]
    for index, part in enumerate((split[:2], split[2:], split)):
        alone = TASK.metrics_from_counts(TASK.tally(part).sum(0))
        assert all(metrics[name][index] == pytest.approx(float(value)) for name, value in alone.items())


def test_confusion_matrix_has_the_order_of_the_model():
    split = records([("ten", "ten"), ("two", "ten"), ("two", "two"), ("two", "one")])
    model = config(["one", "two", "nine", "ten"])
    names, matrix = TASK.confusion_matrix(split, model)
    assert names == ["one", "two", "ten"]
    assert matrix.tolist() == [[0, 0, 0], [1, 1, 1], [0, 0, 1]]
    table = TASK.breakdowns(split, model)["per_class"]
    assert list(table) == names
    assert table["two"] == {
        "precision": 1.0,
        "recall": pytest.approx(1 / 3),
        "f1": 0.5,
        "num_utterances": 3,
        "num_predictions": 1,
    }
    assert table["one"]["recall"] == table["one"]["precision"] == 0.0


def test_confusions_are_sorted_by_frequency():
    split = records([("a", "b"), ("c", "b"), ("c", "b"), ("a", "a")])
    assert TASK.confusions(split) == [("c", "b", 2), ("a", "b", 1)]
