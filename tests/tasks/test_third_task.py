"""A custom task in one file: the speaking rate, a number, from recordings with transcripts.

It supports training, evaluation, exploration, export, Spaces and cards without changes of other files.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from command_line import run
from datasets import Dataset, DatasetDict
from transformers import EvalPrediction, PreTrainedConfig
from transformers.modeling_outputs import SequenceClassifierOutput

from hf_speech.demo import prepare_demo
from hf_speech.errors import ModelError
from hf_speech.exploration import explore
from hf_speech.inference import classify_files, open_model
from hf_speech.models import SpeechLSTMForAudioClassification
from hf_speech.publishing.card import check_card, render_card
from hf_speech.publishing.space import with_model
from hf_speech.tasks import TASKS, Metric, Record, Task, register_task
from hf_speech.training import load_recipe, train

RATE = 8000


class SpeechLSTMForSpeakingRate(SpeechLSTMForAudioClassification):
    """The family's model with one output and squared error as the loss."""

    _auto_class = None  # The test module is not remote code.

    @classmethod
    def from_config(cls, config: PreTrainedConfig, **_: Any) -> SpeechLSTMForSpeakingRate:
        return cls(config)

    def forward(self, input_features: Any, attention_mask: Any = None, labels: Any = None) -> SequenceClassifierOutput:
        output = super().forward(input_features, attention_mask)
        if labels is not None:
            output.loss = torch.nn.functional.mse_loss(output.logits[:, 0], labels)
        return output


def letters_per_second(row: Mapping[str, Any]) -> float:
    return len(row["text"].replace(" ", "")) / row["duration"]


class SpeakingRate(Task):
    """Letters per second, evaluated by mean absolute error."""

    name = "speaking-rate"
    target_column = "text"
    auto_class = "AutoModelForAudioClassification"
    auto_model_class = SpeechLSTMForSpeakingRate
    model_types = ("speech_lstm",)
    metrics = {"mae": Metric("Mean absolute error", "mae", greater_is_better=False, unit="letters/s")}  # noqa: RUF012
    best_metric = "mae"
    units = "different transcripts"

    def config_arguments(self, dataset_dict: DatasetDict, tokenizer: Any = None) -> dict[str, Any]:
        return {"num_labels": 1, "id2label": {0: "letters/s"}, "label2id": {"letters/s": 0}}

    def encode_target(self, row: Mapping[str, Any], tokenizer: Any = None) -> torch.Tensor:
        return torch.tensor(letters_per_second(row))

    def collate_targets(self, targets: Sequence[int | torch.Tensor]) -> torch.Tensor:
        return torch.stack([torch.as_tensor(target, dtype=torch.float32) for target in targets])

    def preprocess_logits_for_metrics(self, logits: Any, labels: torch.Tensor | None) -> torch.Tensor:
        scores: torch.Tensor = logits[0] if isinstance(logits, tuple) else logits
        return scores[:, 0]

    def compute_metrics(self, prediction: EvalPrediction, tokenizer: Any = None) -> dict[str, float]:
        return {"mae": float(np.abs(np.asarray(prediction.predictions) - prediction.label_ids).mean())}

    def references(self, rows: Dataset, config: PreTrainedConfig, tokenizer: Any = None) -> list[str]:
        self.check_columns(rows)
        return [f"{letters_per_second(row):.4f}" for row in rows.select_columns(["text", "duration"])]

    def decode(self, logits: np.ndarray, config: PreTrainedConfig, tokenizer: Any = None) -> Record:
        return {"prediction": f"{logits[0]:.4f}"}

    def score(self, reference: str, decoded: Record) -> Record:
        error = abs(float(reference) - float(decoded["prediction"]))
        return {"reference": reference, **decoded, "correct": error < 1, "error": error}

    def tally(self, records: Sequence[Record]) -> np.ndarray:
        return np.array([[record["error"], 1.0] for record in records])

    def metrics_from_counts(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        return {"mae": counts[..., 0] / counts[..., 1]}

    def answer(self, logits: np.ndarray, labels: Sequence[str], top_k: int = 3) -> Record:
        return {labels[0]: round(float(logits[0]), 3)}


RECIPE = """
name: pace
task: speaking-rate
corpus: {name: csv, train_file: FOLDER/rows.csv, text_column: text, speaker_column: speaker, split_column: split}
features: {sampling_rate: 8000, num_mel_bins: 16, hop_length: 80, win_length: 200, normalization: none}
model: {hidden_size: 16, num_hidden_layers: 1, dropout: 0.0, pooling: mean}
training: {num_train_epochs: 25, per_device_train_batch_size: 8, learning_rate: 2.0e-2, dataloader_num_workers: 0}
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Slow and fast sequences of beeps, each of which stands for a letter."""
    folder = tmp_path_factory.mktemp("pace")
    rng = np.random.default_rng(0)
    time = np.arange(RATE // 20) / RATE
    beep = 0.4 * np.sin(2 * np.pi * 600 * time)
    with (folder / "rows.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "text", "speaker", "split"])
        for index in range(60):
            letters = int(rng.integers(3, 8))
            pause = np.zeros(round(RATE * rng.uniform(0.03, 0.3)))
            samples = np.concatenate([part for _ in range(letters) for part in (beep, pause)])
            soundfile.write(folder / f"{index}.wav", samples + rng.normal(0, 0.003, samples.shape), RATE)
            split = ("validation", "test", "train")[min(index % 6, 2)]
            writer.writerow([f"{index}.wav", "a" * letters, f"s{index // 6 % 3}", split])
    return folder


@pytest.fixture(scope="module", autouse=True)
def _registered() -> Iterator[None]:
    register_task(SpeakingRate())
    yield
    del TASKS["speaking-rate"]


@pytest.fixture(scope="module")
def run_dir(corpus: Path, _registered: None) -> Path:
    (corpus / "recipe.yaml").write_text(RECIPE.replace("FOLDER", str(corpus)))
    return train(load_recipe(corpus / "recipe.yaml"), corpus / "run").run_dir


def test_a_custom_task_trains_and_is_saved(run_dir: Path, corpus: Path) -> None:
    assert json.loads((run_dir / "config.json").read_text())["task"] == "speaking-rate"
    report = json.loads((run_dir / "evaluation" / "test.json").read_text())
    rates = []
    for row in csv.DictReader((corpus / "rows.csv").open()):
        rates.append(len(row["text"]) / soundfile.info(corpus / row["path"]).duration)
    guess = float(np.abs(np.array(rates) - np.mean(rates)).mean())
    assert report["task"] == "speaking-rate"
    assert report["metrics"]["mae"] < guess / 2
    low, high = report["confidence"]["mae"]
    assert low < report["metrics"]["mae"] < high
    assert set(report["per_speaker"]) == {"s0", "s1", "s2"}


def test_evaluation_of_a_custom_task_is_reproducible(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = json.loads((run_dir / "evaluation" / "test.json").read_text())["metrics"]
    assert run("evaluate", str(run_dir)) == 0
    assert json.loads((run_dir / "evaluation" / "test.json").read_text())["metrics"] == pytest.approx(before)
    printed = capsys.readouterr().out
    assert "mae (letters/s)" in printed
    assert "%)" not in printed


def test_a_custom_task_gives_the_same_answer_with_both_back_ends(
    run_dir: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("export", str(run_dir), "--output", str(tmp_path / "onnx"), "--no_int8") == 0
    assert f"hf-speech classify {tmp_path / 'onnx'} SOUND_FILE" in capsys.readouterr().out
    files = [str(corpus / f"{index}.wav") for index in (0, 1)]
    answers = {model: list(classify_files(model, files)) for model in (run_dir, tmp_path / "onnx")}
    for one, other in zip(*answers.values(), strict=True):
        assert one["file"] == other["file"]
        assert one["letters/s"] == pytest.approx(other["letters/s"], abs=2e-3)
    assert run("classify", str(tmp_path / "onnx"), files[0]) == 0
    assert capsys.readouterr().out == f"{files[0]}: letters/s {answers[tmp_path / 'onnx'][0]['letters/s']}\n"
    assert open_model(tmp_path / "onnx").task.name == "speaking-rate"
    with pytest.raises(ModelError, match="is a model for speaking-rate, not for automatic-speech-recognition"):
        open_model(run_dir, verb="transcribe")


def test_a_custom_task_has_a_card(run_dir: Path) -> None:
    card = render_card(run_dir, repo_id="ann/pace")
    assert "pipeline_tag: speaking-rate" in card
    assert "A small model for speaking rate" in card
    report = json.loads((run_dir / "evaluation" / "test.json").read_text())
    assert f"**{report['metrics']['mae']:.3g} letters/s**" in card
    assert "hf-speech classify ann/pace recording.wav" in card
    check_card(card, run_dir)


def test_a_custom_task_has_a_space(run_dir: Path) -> None:
    pytest.importorskip("gradio")
    program, variables = prepare_demo(str(run_dir), environment={})
    assert program.is_file()
    assert variables["MODEL_ID"] == str(run_dir)
    assert "ann/pace" in with_model(program.parent, "ann/pace")


def test_a_custom_task_can_be_explored(run_dir: Path, corpus: Path, tmp_path: Path) -> None:
    found = explore(load_recipe(corpus / "recipe.yaml"), tmp_path / "explored", examples=2)
    page = found.page.read_text()
    assert "different transcripts" in page
    assert (tmp_path / "explored" / "labels.png").is_file()
    assert len(found.examples) == 2


def test_reports_a_model_of_an_unregistered_task(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(TASKS, "speaking-rate")
    with pytest.raises(ModelError, match="is a model for speaking-rate: only models for audio-classification and"):
        open_model(run_dir)
