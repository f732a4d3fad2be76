from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from hf_speech.export.features import FeatureGraph
from hf_speech.export.speech_lstm import whole_graph

MODELS: list[dict[str, Any]] = [
    {},
    {"pooling": "last"},
    {"pooling": "mean", "bidirectional": False, "layer_norm": False},
    {"pooling": "max", "num_hidden_layers": 3},
    {"pooling": "last", "subsampling": 2, "bidirectional": False},
    {"subsampling": 4, "projection_size": 7, "head_sizes": [9, 5]},
    {"pooling": "max", "subsampling": 2, "projection_size": 7},
    {"stem_channels": [3, 4], "subsampling": 2},
    {"stem_channels": [2, 2, 3], "subsampling": 4, "pooling": "mean"},
]


@pytest.mark.parametrize("options", MODELS, ids=str)
def test_classifiers_have_the_logits_of_pytorch(options, make_extractor, make_classifier, sounds, run_graph) -> None:
    extractor = make_extractor(normalization="peak")
    model = make_classifier(extractor, **options)
    graph = whole_graph(model, FeatureGraph(extractor, ""), False, "")
    with torch.inference_mode():
        expected = model(**extractor(sounds, sampling_rate=8000, return_tensors="pt")).logits.numpy()
    assert np.abs(expected - expected[0]).max() > 0.1
    np.testing.assert_allclose(run_graph(graph, sounds)["logits"], expected, atol=1e-4)
    for row, clip in zip(expected, sounds, strict=True):
        np.testing.assert_allclose(run_graph(graph, [clip])["logits"][0], row, atol=1e-4)


def test_deltas_are_channels(make_extractor, make_classifier, sounds, run_graph) -> None:
    extractor = make_extractor(num_deltas=1)
    model = make_classifier(extractor, stem_channels=[3, 3, 6], subsampling=2, num_deltas=1)
    graph = whole_graph(model, FeatureGraph(extractor, ""), False, "")
    with torch.inference_mode():
        expected = model(**extractor(sounds, sampling_rate=8000, return_tensors="pt")).logits.numpy()
    np.testing.assert_allclose(run_graph(graph, sounds)["logits"], expected, atol=1e-4)


@pytest.mark.parametrize("features_as_steps", [False, True])
def test_exports_averaged_features(features_as_steps, make_extractor, make_classifier, sounds, run_graph) -> None:
    extractor = make_extractor(normalization="global", time_average=True, offset=0.005, max_duration=0.6)
    model = make_classifier(extractor, features_as_steps=features_as_steps, pooling="last")
    graph = whole_graph(model, FeatureGraph(extractor, ""), False, "")
    with torch.inference_mode():
        expected = model(**extractor(sounds, sampling_rate=8000, return_tensors="pt")).logits.numpy()
    np.testing.assert_allclose(run_graph(graph, sounds)["logits"], expected, atol=1e-4)
