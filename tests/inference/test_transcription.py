"""A saved recognizer in evaluation and in transformers' pipeline."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from transformers import pipeline

from hf_speech.data.audio import read_audio
from hf_speech.evaluation import evaluate_model, format_report
from hf_speech.inference import load_model
from hf_speech.models import ConvGRUConfig, ConvGRUForCTC, SpeechFeatureExtractor
from hf_speech.tasks import TextOptions, get_task
from hf_speech.tasks.transcripts import build_tokenizer


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with random weights and lower-case words of a, b and c; tests only read it."""
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("recognizer")
    extractor = SpeechFeatureExtractor(sampling_rate=8000, num_mel_bins=20, hop_length=80, win_length=200)
    tokenizer = build_tokenizer(["ab", "c"], TextOptions("lower"))
    config = ConvGRUConfig(
        **get_task("automatic-speech-recognition").config_arguments({}, tokenizer),
        input_size=extractor.feature_size,
        hop_length=80,
        channels=8,
        hidden_size=8,
        num_hidden_layers=1,
    )
    model = ConvGRUForCTC(config)
    # Random logits hardly differ between utterances; larger ones give different predictions.
    model.classifier.weight.data *= 20
    for part in (model, extractor, tokenizer):
        part.save_pretrained(folder)
    return folder


@pytest.fixture
def spoken(tones: Dataset) -> Dataset:
    texts = ["A B" if label else "Cab" for label in tones["label"]]
    return tones.remove_columns("label").add_column("text", texts)


def test_error_rates_have_intervals_speakers_and_files(recognizer: Path, spoken: Dataset, tmp_path: Path):
    loaded = load_model(recognizer, device="cpu")
    report = evaluate_model(loaded, spoken, corpus="tones", split="test", command="command", progress=False)
    errors = sum(record["word_substitutions"] + record["word_deletions"] for record in report.records)
    errors += sum(record["word_insertions"] for record in report.records)
    assert report.metrics["wer"] == errors / sum(len(text.split()) for text in spoken["text"])
    assert set(report.metrics) == set(report.confidence) == {"wer", "cer"}
    assert {record["reference"] for record in report.records} == {"a b", "cab"}
    assert set(report.breakdowns) == {"errors", "per_speaker"}
    written = report.save(tmp_path)
    assert [path.suffix for path in written] == [".json", ".csv"]
    assert json.loads(written[0].read_text())["errors"]["words"]["total"] == 90
    assert "insertions" in format_report(report)


def test_predictions_equal_those_of_the_pipeline(recognizer: Path, spoken: Dataset):
    loaded = load_model(recognizer, device="cpu")
    report = evaluate_model(loaded, spoken, corpus="tones", split="test", command="command", progress=False)
    recognize = pipeline("automatic-speech-recognition", model=str(recognizer), device="cpu")
    said = set()
    for row, record in list(zip(spoken, report.records, strict=True))[::10]:
        samples = read_audio(row["audio"], 8000)
        text = recognize({"raw": samples, "sampling_rate": 8000})["text"]
        assert record["prediction"] == " ".join(text.split())
        said.add(text)
    assert len(said) > 1
