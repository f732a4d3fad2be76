"""Evaluation is independent of the task: it works for a task of words with an error rate."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset, DatasetDict

from hf_speech.errors import RecipeError
from hf_speech.evaluation import evaluate_model, format_report
from hf_speech.inference import load_model
from hf_speech.tasks import TASKS, AudioClassification, Metric, Task


class Transcription(Task):
    """A task that outputs the name of the most likely class as a word, evaluated by word error rate."""

    name = "writing"
    target_column = "text"
    auto_class = AudioClassification.auto_class
    architecture_suffixes = ("ForAudioClassification",)
    model_types = ()
    metrics = {"wer": Metric("Word error rate", "wer", greater_is_better=False)}  # noqa: RUF012
    best_metric = "wer"

    def config_arguments(self, dataset_dict: DatasetDict, tokenizer: Any = None) -> dict[str, Any]:
        return {}

    def encode_target(self, row: Any, tokenizer: Any = None) -> int:
        return 0

    def collate_targets(self, targets: Any) -> Any:
        return targets

    def preprocess_logits_for_metrics(self, logits: Any, labels: Any) -> Any:
        return logits

    def compute_metrics(self, prediction: Any, tokenizer: Any = None) -> dict[str, float]:
        return {}

    def load_tokenizer(self, folder: str, **hub_arguments: Any) -> Any:
        return {0: "high", 1: "low", 2: "a noise"}

    def references(self, rows: Dataset, config: Any, tokenizer: Any = None) -> list[str]:
        return list(rows["text"])

    def decode(self, logits: np.ndarray, config: Any, tokenizer: Any = None) -> dict[str, Any]:
        return {"prediction": tokenizer[int(logits.argmax())], "probability": 1.0}

    def score(self, reference: str, decoded: dict[str, Any]) -> dict[str, Any]:
        errors = int(decoded["prediction"] != reference)
        return {"reference": reference, **decoded, "correct": not errors, "errors": errors}

    def tally(self, records: Any) -> np.ndarray:
        return np.array([[record["errors"], len(record["reference"].split())] for record in records], dtype=float)

    def metrics_from_counts(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        return {"wer": counts[..., 0] / counts[..., 1]}

    def breakdowns(self, records: Any, config: Any) -> dict[str, Any]:
        return {}

    def confusions(self, records: Any) -> list[tuple[str, str, int]]:
        return []

    def confusion_matrix(self, records: Any, config: Any) -> None:
        return None


@pytest.fixture
def spoken(tones: Dataset) -> Dataset:
    texts = ["the " + ["low", "high"][label] if label else "low" for label in tones["label"]]
    return tones.remove_columns("label").add_column("text", texts)


@pytest.fixture
def saved_model(saved_model: Path, tmp_path: Path) -> Path:
    """The classifier of tones, as a model of this task."""
    folder = Path(shutil.copytree(saved_model, tmp_path / "writer"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"task": "writing"}))
    return folder


@pytest.fixture
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASKS, "writing", Transcription())


@pytest.mark.usefixtures("_registered")
def test_an_error_rate_has_interval_speakers_files_and_text(saved_model: Path, spoken: Dataset, tmp_path: Path):
    loaded = load_model(saved_model, device="cpu")
    report = evaluate_model(loaded, spoken, corpus="tones", split="test", command="command", progress=False)
    words = sum(len(text.split()) for text in spoken["text"])
    assert report.metrics == {"wer": sum(record["errors"] for record in report.records) / words}
    low, high = report.confidence["wer"]
    assert low < report.metrics["wer"] < high
    assert "Wilson" not in report.confidence_method
    assert set(report.breakdowns) == {"per_speaker"}
    assert [path.suffix for path in report.save(tmp_path)] == [".json", ".csv"]
    assert "wer" in format_report(report)


@pytest.mark.usefixtures("_registered")
def test_the_worst_of_an_error_rate_are_the_highest(saved_model: Path, spoken: Dataset):
    loaded = load_model(saved_model, device="cpu")
    report = evaluate_model(loaded, spoken, corpus="tones", split="test", command="command", progress=False)
    speakers = {f"speaker{i}": {"num_utterances": 3, "wer": i / 40} for i in range(40)}
    text = format_report(replace(report, breakdowns={"per_speaker": speakers}))
    shown = [line.split()[0] for line in text.splitlines() if line.startswith("speaker")]
    assert shown == [f"speaker{i}" for i in range(39, 29, -1)]


@pytest.mark.usefixtures("_registered")
def test_a_task_with_text_rejects_labels(saved_model: Path, tones: Dataset):
    loaded = load_model(saved_model, device="cpu")
    with pytest.raises(RecipeError, match="is for audio-classification"):
        evaluate_model(loaded, tones, corpus="tones", split="test", command="command", progress=False)
