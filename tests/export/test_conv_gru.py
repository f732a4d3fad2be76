from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from hf_speech.errors import ModelError
from hf_speech.export.conv_gru import stream_graph, whole_graph
from hf_speech.export.features import FeatureGraph
from hf_speech.export.layers import Builder
from hf_speech.models import ConvGRUForCTC, SpeechFeatureExtractor

FRONT_ENDS: list[dict[str, Any]] = [
    {"frontend": "deepspeech2", "num_convolutions": 3, "recurrent_norm": "batch"},
    {"frontend": "residual", "num_convolutions": 2},
    {"frontend": "subsampling", "subsampling": 4},
    {"frontend": "subsampling", "subsampling": 8, "kernel_size": 2, "num_convolutions": 0},
    {"frontend": "subsampling", "subsampling": 2, "kernel_size": 6, "stem_channels": 3},
    {"frontend": "subsampling", "subsampling": 8, "kernel_size": 3, "stem_channels": 3},
]
DIRECTIONS: list[dict[str, Any]] = [
    {},
    {"bidirectional": False, "lookahead": 3},
    {"bidirectional": False, "causal": True, "lookahead": 2},
    {"bidirectional": False, "causal": True},
]


@pytest.fixture(autouse=True)
def _exact_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests loops with float32 products; `test_layers` tests the int8 ones."""
    monkeypatch.setattr(Builder, "_int8_product", staticmethod(lambda graph, x, weight: x @ weight.T))


@torch.inference_mode()
def logits_of(model: ConvGRUForCTC, extractor: SpeechFeatureExtractor, sound: Any) -> np.ndarray:
    return model(**extractor(sound, sampling_rate=8000, return_tensors="pt")).logits.numpy()


@pytest.mark.parametrize("loops", [False, True])
@pytest.mark.parametrize("direction", DIRECTIONS, ids=str)
@pytest.mark.parametrize("frontend", FRONT_ENDS, ids=str)
def test_whole_clips_have_the_logits_of_pytorch(
    frontend, direction, loops, make_extractor, make_recognizer, sounds, run_graph
) -> None:
    extractor = make_extractor()
    model = make_recognizer(extractor, **frontend, **direction)
    graph = whole_graph(model, FeatureGraph(extractor, ""), loops, "")
    expected = logits_of(model, extractor, sounds)
    assert np.abs(expected).max() > 1
    batch = run_graph(graph, sounds)
    np.testing.assert_allclose(batch["logits"], expected, atol=1e-4, rtol=1e-4)
    assert batch["logit_lengths"].tolist() == [len(clip) // 80 // model.config.stride for clip in sounds]
    for clip in sounds:
        np.testing.assert_allclose(
            run_graph(graph, [clip])["logits"], logits_of(model, extractor, clip), atol=1e-4, rtol=1e-4
        )


@pytest.mark.parametrize("loops", [False, True])
@pytest.mark.parametrize(
    "features",
    [
        {"normalization": "global"},
        {"normalization": "none", "preemphasis": 0.97},
        {"normalization": "none", "feature_type": "mfcc", "window_type": "hamming", "n_fft": 256, "log": "db"},
        {"normalization": "global", "feature_type": "waveform"},
        {"normalization": "none", "win_length": 60},
    ],
    ids=str,
)
@pytest.mark.parametrize("frontend", FRONT_ENDS, ids=str)
def test_streams_have_the_logits_of_the_whole_recording(
    frontend, features, loops, make_extractor, make_recognizer, sounds, run_graph
) -> None:
    extractor = make_extractor(**features)
    model = make_recognizer(extractor, **frontend, bidirectional=False, causal=True, lookahead=len(features))
    graph, states = stream_graph(model, FeatureGraph(extractor, ""), loops, "")
    clip = sounds[0]
    expected = logits_of(model, extractor, clip)[0]
    for cuts in ([], [1, 2, 300, 303, 1000, 5000], list(range(640, len(clip), 640))):
        remembered = {s.name: np.zeros([1 if size == "batch" else size for size in s.shape], "f") for s in states}
        heard = []
        pieces = np.split(clip, cuts)
        for index, piece in enumerate(pieces):
            final = np.array([index == len(pieces) - 1])
            outputs = run_graph(graph, waveform=piece[None], final=final, **remembered)
            remembered = {name: outputs[f"next_{name}"] for name in remembered}
            assert remembered["samples"].shape[1] < 1000  # Memory does not grow.
            heard.append(outputs["logits"][0])
        np.testing.assert_allclose(np.concatenate(heard), expected, atol=1e-4, rtol=1e-4)


def test_streams_advance_in_batches(make_extractor, make_recognizer, sounds, run_graph) -> None:
    extractor = make_extractor(normalization="none")
    model = make_recognizer(extractor, bidirectional=False, causal=True, lookahead=2)
    graph, states = stream_graph(model, FeatureGraph(extractor, ""), False, "")
    both = np.stack([sounds[0][:4000], sounds[0][4000:8000]])
    remembered = {s.name: np.zeros([2 if size == "batch" else size for size in s.shape], "f") for s in states}
    first = run_graph(graph, waveform=both[:, :1500], final=np.array([False]), **remembered)
    remembered = {name: first[f"next_{name}"] for name in remembered}
    second = run_graph(graph, waveform=both[:, 1500:], final=np.array([True]), **remembered)
    got = np.concatenate([first["logits"], second["logits"]], axis=1)
    np.testing.assert_allclose(got, logits_of(model, extractor, list(both)), atol=1e-4, rtol=1e-4)


def test_leaves_out_parts_used_only_in_training(make_extractor, make_recognizer, sounds, run_graph) -> None:
    extractor = make_extractor()
    model = make_recognizer(extractor, intermediate_ctc_weight=0.3)
    outputs = run_graph(whole_graph(model, FeatureGraph(extractor, ""), False, ""), sounds)
    assert "phone_logits" not in outputs
    np.testing.assert_allclose(outputs["logits"], logits_of(model, extractor, sounds), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("direction", DIRECTIONS, ids=str)
@pytest.mark.parametrize("layer", [0, 1, 3])
def test_exports_phone_logits(make_extractor, make_recognizer, sounds, run_graph, direction, layer) -> None:
    """For whole clips and for pieces, phones have the same frames as letters."""
    extractor = make_extractor(normalization="none")
    model = make_recognizer(
        extractor, intermediate_ctc_weight=0.3, num_phones=9, num_hidden_layers=3, intermediate_layer=layer, **direction
    )
    with torch.inference_mode():
        inputs = extractor(sounds, sampling_rate=8000, return_tensors="pt")
        expected = model(**inputs).phone_logits.numpy()
    graph = whole_graph(model, FeatureGraph(extractor, ""), False, "")
    np.testing.assert_allclose(run_graph(graph, sounds)["phone_logits"], expected, atol=1e-4, rtol=1e-4)
    if not direction.get("causal"):
        return
    graph, states = stream_graph(model, FeatureGraph(extractor, ""), False, "")
    remembered = {s.name: np.zeros([1 if size == "batch" else size for size in s.shape], "f") for s in states}
    found = []
    for index, piece in enumerate(np.split(sounds[0], [1, 300, 1000, 5000])):
        outputs = run_graph(graph, waveform=piece[None], final=np.array([index == 4]), **remembered)
        remembered = {name: outputs[f"next_{name}"] for name in remembered}
        assert outputs["phone_logits"].shape[:2] == outputs["logits"].shape[:2]
        found.append(outputs["phone_logits"][0])
    whole = np.concatenate(found)
    np.testing.assert_allclose(whole, expected[0, : len(whole)], atol=1e-4, rtol=1e-4)
    assert len(whole) == len(sounds[0]) // 80 // model.config.stride


def test_rejects_unsupported_parts(make_extractor, make_recognizer) -> None:
    extractor = make_extractor()
    model = make_recognizer(extractor)
    model.adapter = torch.nn.Linear(3, 3)
    with pytest.raises(ModelError, match=r"runs/x has parts that cannot be exported, such as adapter\.weight"):
        whole_graph(model, FeatureGraph(extractor, ""), False, "runs/x")
