"""Small models with random weights whose logits depend on the sound, and exported graphs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hf_speech.export.exporting import export_model
from hf_speech.inference import load_model
from hf_speech.models import (
    ConvGRUConfig,
    ConvGRUForCTC,
    ConvGRUForKeywordSpotting,
    SpeechFeatureExtractor,
    SpeechLSTMConfig,
    SpeechLSTMForAudioClassification,
)
from hf_speech.tasks import TextOptions
from hf_speech.tasks.transcripts import build_tokenizer

RATE = 8000


@pytest.fixture
def make_extractor() -> Callable[..., SpeechFeatureExtractor]:
    def make(**options: Any) -> SpeechFeatureExtractor:
        defaults: dict[str, Any] = {"sampling_rate": RATE, "num_mel_bins": 20, "hop_length": 80, "win_length": 200}
        extractor = SpeechFeatureExtractor(**(defaults | options))
        if extractor.normalization == "global":
            extractor.fit_global_statistics([sound(1.0, seed) for seed in range(3)])
        return extractor

    return make


def as_trained(model: Any) -> Any:
    """Scales random weights for larger logits, and sets the statistics of batch norm."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    model.classifier.weight.data *= 2
    return model.eval()


@pytest.fixture
def make_recognizer() -> Callable[..., ConvGRUForCTC]:
    def make(extractor: SpeechFeatureExtractor, **options: Any) -> ConvGRUForCTC:
        torch.manual_seed(0)
        defaults: dict[str, Any] = {
            "input_size": extractor.feature_size,
            "hop_length": extractor.hop_length,
            "channels": 8,
            "hidden_size": 12,
            "num_hidden_layers": 2,
            "vocab_size": 6,
        }
        return as_trained(ConvGRUForCTC(ConvGRUConfig(**(defaults | options))))

    return make


@pytest.fixture
def make_classifier() -> Callable[..., SpeechLSTMForAudioClassification]:
    def make(extractor: SpeechFeatureExtractor, **options: Any) -> SpeechLSTMForAudioClassification:
        torch.manual_seed(0)
        defaults: dict[str, Any] = {"input_size": extractor.feature_size, "hidden_size": 12, "num_labels": 4}
        return as_trained(SpeechLSTMForAudioClassification(SpeechLSTMConfig(**(defaults | options))))

    return make


@pytest.fixture
def spotter(make_extractor: Callable[..., SpeechFeatureExtractor], tmp_path: Path) -> Path:
    """A folder with a keyword spotter with random weights that are large enough for events."""
    torch.manual_seed(4)
    extractor = make_extractor(normalization="none")
    config = ConvGRUConfig(
        input_size=extractor.feature_size,
        hop_length=extractor.hop_length,
        channels=8,
        hidden_size=12,
        num_hidden_layers=1,
        bidirectional=False,
        causal=True,
        vocab_size=3,
        id2label={0: "other", 1: "high", 2: "low"},
    )
    model = as_trained(ConvGRUForKeywordSpotting(config))
    torch.nn.init.normal_(model.classifier.weight, std=2.0)
    model.save_pretrained(tmp_path / "spotter")
    extractor.save_pretrained(tmp_path / "spotter")
    return tmp_path / "spotter"


def sound(seconds: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    return (rng.standard_normal(len(time)) * 0.1 * np.sin(7 * time + seed) + 0.05 * np.sin(3000 * time)).astype("f")


@pytest.fixture
def sounds() -> list[np.ndarray]:
    """Four clips: the longest, one of 1.5 frames, one of whole frames, one in between."""
    return [sound(1.2345), sound(0.015, 1), sound(0.4, 2), sound(0.777, 3)]


@pytest.fixture
def run_graph() -> Callable[..., dict[str, np.ndarray]]:
    """Runs a graph with onnxruntime for a batch of clips with random padding, or for given feeds."""
    import onnxruntime

    sessions: dict[int, Any] = {}

    def run(graph: Any, clips: list[np.ndarray] | None = None, **feeds: np.ndarray) -> dict[str, np.ndarray]:
        if id(graph) not in sessions:
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3
            content = graph.model().SerializeToString()
            sessions[id(graph)] = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        if clips is not None:
            waveform = np.full((len(clips), max(map(len, clips))), 7.0, dtype=np.float32)
            for row, clip in zip(waveform, clips, strict=True):
                row[: len(clip)] = clip
            feeds |= {"waveform": waveform, "lengths": np.array([len(clip) for clip in clips])}
        names = [output.name for output in sessions[id(graph)].get_outputs()]
        return dict(zip(names, sessions[id(graph)].run(None, feeds), strict=True))

    return run


@pytest.fixture(scope="session")
def exported_beeps(beeps_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The causal recognizer of `beeps_run`, exported; tests only read it."""
    folder = tmp_path_factory.mktemp("exported") / "beeps"
    export_model(load_model(beeps_run, device="cpu"), folder)
    return folder


@pytest.fixture(scope="session")
def exported_tones(tones_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The classifier of `tones_run`, exported; tests only read it."""
    folder = tmp_path_factory.mktemp("exported") / "tones"
    export_model(load_model(tones_run, device="cpu"), folder)
    return folder


@pytest.fixture
def saved_recognizer(tmp_path: Path, make_extractor: Any, make_recognizer: Any) -> Path:
    """A model folder of a bidirectional recognizer with random weights that normalizes by utterance."""
    folder = tmp_path / "recognizer"
    extractor = make_extractor()
    tokenizer = build_tokenizer(["ab", "c"], TextOptions("lower"))
    for part in (make_recognizer(extractor, vocab_size=len(tokenizer)), extractor, tokenizer):
        part.save_pretrained(folder)
    return folder
