"""New front ends and feature types need a module or function, an ONNX writer and a registry entry."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from hf_speech.exploration.page import describe_features
from hf_speech.export import conv_gru, speech_lstm
from hf_speech.export.features import FeatureGraph
from hf_speech.models import SpeechFeatureExtractor
from hf_speech.models.feature_types import FEATURE_TYPES, FeatureType
from hf_speech.models.frontends import FRONT_ENDS, FrontEnd
from hf_speech.publishing.card.context import front_end


class StackingFrontEnd(torch.nn.Module):
    """A front end that joins two frames with a linear layer."""

    def __init__(self, config: Any, input_size: int) -> None:
        super().__init__()
        self.output_size = config.hidden_size
        self.projection = torch.nn.Linear(2 * input_size, self.output_size)

    def forward(self, features: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        count = features.shape[1] // 2
        lengths = lengths // 2
        frames = self.projection(features[:, : 2 * count].unflatten(1, (count, 2)).flatten(2))
        return frames * (torch.arange(count) < lengths[:, None])[..., None], lengths


def write_stacking(builder: Any, frontend: Any, x: Any, masks: Any, input_size: int) -> Any:
    even = masks.num_frames // 2 * 2
    x = masks.apply(x).slice(1, 0, even).reshape(0, -1, 2 * input_size)
    return builder.linear(x, frontend.projection), masks.halve()


def compute_extremes(extractor: Any, utterances: Any, device: torch.device) -> list[torch.Tensor]:
    """Returns the lowest and the highest sample of each window."""
    rows = []
    for samples in utterances:
        window, lead = extractor.frame_span
        count = len(samples) // extractor.hop_length
        padded = torch.nn.functional.pad(samples, (lead, window))
        frames = padded.unfold(0, window, extractor.hop_length)[:count]
        rows.append(torch.stack((frames.amin(1), frames.amax(1)), dim=1).to(device))
    return rows


def write_extremes(features: Any, frames: Any) -> Any:
    lowest = frames.graph.op("ReduceMin", frames, axes=[2], keepdims=1)
    return frames.graph.concat(2, lowest, frames.max(2))


@pytest.fixture(autouse=True)
def _toys(monkeypatch: pytest.MonkeyPatch) -> None:
    writers = ModuleType("toy_writers")
    writers.__dict__.update(stacking=write_stacking, extremes=write_extremes)
    monkeypatch.setitem(sys.modules, "toy_writers", writers)
    front_end = FrontEnd(
        StackingFrontEnd,
        stride=lambda config: 2,
        onnx_writer="toy_writers:stacking",
        sentence=lambda config: "pairs of frames",
        options=("hidden_size",),
        streams=True,
    )
    feature_type = FeatureType(
        compute_extremes,
        num_features=lambda extractor: 2,
        onnx_writer="toy_writers:extremes",
        phrase="extreme samples",
    )
    monkeypatch.setitem(FRONT_ENDS, "stacking", front_end)
    monkeypatch.setitem(FEATURE_TYPES, "extremes", feature_type)


def test_streams_and_exports_a_recognizer_with_registered_parts(
    make_recognizer, make_extractor, sounds, run_graph
) -> None:
    extractor = make_extractor(feature_type="extremes", normalization="global", preemphasis=0.9, num_deltas=0)
    assert (extractor.feature_size, extractor.num_frames(810)) == (2, 10)
    model = make_recognizer(extractor, frontend="stacking", bidirectional=False, causal=True, lookahead=1)
    assert model.config.inputs_to_logits_ratio == 160
    with torch.inference_mode():
        expected = [model(**extractor(clip, sampling_rate=8000)).logits[0].numpy() for clip in sounds]
    graph = conv_gru.whole_graph(model, FeatureGraph(extractor, ""), False, "")
    together = run_graph(graph, sounds)
    for row, count, logits in zip(together["logits"], together["logit_lengths"], expected, strict=True):
        np.testing.assert_allclose(row[:count], logits, atol=1e-4)
    stream = model.stream(extractor)
    pieces = [stream.accept(piece).logits for piece in np.split(sounds[0], [7, 1000, 1001, 5000])]
    streamed = torch.cat([*pieces, stream.finish().logits]).numpy()
    np.testing.assert_allclose(streamed, expected[0], atol=1e-5)
    graph, states = conv_gru.stream_graph(model, FeatureGraph(extractor, ""), False, "")
    assert {state.name for state in states} >= {"awaiting", "samples"}


def test_exports_a_classifier_with_registered_parts(make_classifier, make_extractor, sounds, run_graph) -> None:
    extractor = make_extractor(feature_type="extremes", normalization="none", num_deltas=1)
    assert extractor.feature_size == 4
    model = make_classifier(extractor, frontend="stacking")
    with torch.inference_mode():
        expected = model(**extractor(sounds, sampling_rate=8000)).logits.numpy()
    graph = speech_lstm.whole_graph(model, FeatureGraph(extractor, ""), False, "")
    np.testing.assert_allclose(run_graph(graph, sounds)["logits"], expected, atol=1e-4)


def test_descriptions_name_registered_parts() -> None:
    config = {"model_type": "conv_gru", "frontend": "stacking", "vocab_size": 5, "architectures": ["ConvGRUForCTC"]}
    assert front_end(config) == "Pairs of frames"
    assert front_end({"model_type": "speech_lstm", "subsampling": 2, "hidden_size": 9}).endswith("of 9 channels")
    assert front_end({"model_type": "speech_lstm"}) == ""
    extractor = SpeechFeatureExtractor(feature_type="extremes", normalization="none")
    assert describe_features(extractor).startswith("2 extreme samples every 10 ms")
