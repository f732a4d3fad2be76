from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hf_speech.errors import ModelError
from hf_speech.export.features import FeatureGraph, sparse_filters
from hf_speech.export.graph import Graph, Value
from hf_speech.models import SpeechFeatureExtractor

SHAPE = ("float32", ("batch", 5))
OPTIONS: list[dict[str, Any]] = [
    {"normalization": "none"},
    {},
    {"normalize_variance": False, "preemphasis": 0.97},
    {"normalization": "global", "window_type": "hamming"},
    {"normalization": "global", "normalize_variance": False},
    {"normalization": "peak", "mel_scale": "slaney", "mel_norm": "slaney", "n_fft": 256},
    {"normalization": "none", "log": "db", "top_db": 30.0, "power": 1.0},
    {"normalization": "none", "power": 1.5, "min_frequency": 300.0, "max_frequency": 3000.0},
    {"normalization": "none", "feature_type": "spectrogram", "log": "none", "win_length": 60},
    {"feature_type": "spectrogram", "win_length": 201, "hop_length": 67},
    {"feature_type": "mfcc", "num_deltas": 2, "delta_window": 7},
    {"feature_type": "mfcc", "num_deltas": 1, "normalization": "none", "log": "db", "top_db": 40.0},
    {"feature_type": "waveform", "normalization": "peak", "preemphasis": 0.9},
    {"feature_type": "waveform"},
    {"normalization": "none", "offset": 0.005, "max_duration": 0.5},
    {"normalization": "none", "win_length": 80},
    {"normalization": "none", "win_length": 512, "hop_length": 64},
]


def make_graph(extractor: SpeechFeatureExtractor, multiple: int) -> Graph:
    graph = Graph("features")
    features = FeatureGraph(extractor, "the model")
    made = features.whole(
        graph.input("waveform", "float32", ("batch", "samples")), graph.input("lengths", "int64", ("batch",)), multiple
    )
    for name, value, dtype, shape in (
        ("features", made.features, "float32", ("batch", "frames", extractor.feature_size)),
        ("counts", made.counts, "int64", ("batch",)),
        ("longest", made.longest, "int64", (1,)),
    ):
        assert isinstance(value, Value)
        graph.output(value, name, dtype, shape)
    return graph


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_features_equal_those_of_the_extractor(options, make_extractor, sounds, run_graph) -> None:
    extractor = make_extractor(**options)
    graph = make_graph(extractor, multiple=4)
    batch = run_graph(graph, sounds)
    assert batch["features"].shape[1] % 4 == 0
    for index, clip in enumerate(sounds):
        expected = extractor(clip, sampling_rate=8000, padding=False, return_tensors="np")["input_features"][0]
        count = batch["counts"][index]
        assert count == len(expected) == extractor.num_frames(len(clip))
        np.testing.assert_allclose(batch["features"][index, :count], expected, atol=1e-4, rtol=1e-5)
        assert not batch["features"][index, count:].any()
        alone = run_graph(graph, [clip])
        np.testing.assert_allclose(alone["features"][0, :count], expected, atol=1e-4, rtol=1e-5)
        assert alone["longest"] == [count]


def test_exports_time_averaged_features(make_extractor, sounds, run_graph) -> None:
    extractor = make_extractor(normalization="none", time_average=True)
    batch = run_graph(make_graph(extractor, multiple=1), sounds)
    expected = extractor(sounds, sampling_rate=8000, return_tensors="np")["input_features"]
    np.testing.assert_allclose(batch["features"], expected, atol=1e-4)
    assert batch["counts"].tolist() == [1, 1, 1, 1]


def test_a_band_without_sound_stays_silent_when_normalized(make_extractor, run_graph) -> None:
    """Rounding errors of the mean would be amplified a few hundred times; silence must become zero."""
    extractor = make_extractor(log_floor=0.37)
    clip = np.zeros(16_000, np.float32)
    clip[8000:8100] = 0.5
    features = run_graph(make_graph(extractor, multiple=1), [clip])["features"][0]
    expected = extractor(clip, sampling_rate=8000, return_tensors="np")["input_features"][0]
    np.testing.assert_allclose(features, expected, atol=1e-4)
    silence = run_graph(make_graph(extractor, multiple=1), [np.zeros(16_000, np.float32)])["features"]
    assert not silence.any()


def test_given_statistics_replace_those_of_the_utterance(make_extractor, sounds, run_graph) -> None:
    extractor = make_extractor()
    fitted = SpeechFeatureExtractor.from_dict({**extractor.to_dict(), "normalization": "global"})
    fitted.fit_global_statistics(sounds)
    graph = Graph("features")
    made = FeatureGraph(extractor, "the model").whole(
        graph.input("waveform", "float32", ("batch", "samples")),
        graph.input("lengths", "int64", ("batch",)),
        1,
        graph.input("statistics", "float32", (2, 20), default=np.zeros((2, 20), np.float32)),
    )
    graph.output(made.features, "features", "float32", ("batch", "frames", 20))
    given = np.array([fitted.feature_mean, fitted.feature_std], dtype=np.float32)
    for statistics, kind in (({}, extractor), ({"statistics": given}, fitted)):
        features = run_graph(graph, sounds, **statistics)["features"]
        expected = kind(sounds, sampling_rate=8000, return_tensors="np")["input_features"]
        np.testing.assert_allclose(features, expected, atol=1e-4)


def test_a_given_peak_replaces_that_of_the_utterance(make_extractor, sounds, run_graph) -> None:
    extractor = make_extractor(normalization="peak")
    graph = Graph("features")
    made = FeatureGraph(extractor, "the model").whole(
        graph.input("waveform", "float32", ("batch", "samples")),
        graph.input("lengths", "int64", ("batch",)),
        1,
        graph.input("statistics", "float32", (1, 1), default=np.zeros((1, 1), np.float32)),
    )
    graph.output(made.features, "features", "float32", ("batch", "frames", extractor.feature_size))
    fitted = make_extractor(normalization="peak")
    fitted.recording_peak = 0.6
    given = np.array([[0.6]], dtype=np.float32)
    for statistics, kind in (({}, extractor), ({"statistics": given}, fitted)):
        features = run_graph(graph, sounds, **statistics)["features"]
        expected = kind(sounds, sampling_rate=8000, return_tensors="np")["input_features"]
        np.testing.assert_allclose(features, expected, atol=1e-4)


def test_rejects_other_extractors(make_extractor) -> None:
    class WhisperFeatureExtractor:
        pass

    with pytest.raises(ModelError, match="the model has a WhisperFeatureExtractor"):
        FeatureGraph(WhisperFeatureExtractor(), "the model")
    extractor = make_extractor(normalization="global")
    extractor.feature_mean = None
    with pytest.raises(ModelError, match="without statistics"):
        FeatureGraph(extractor, "the model")


@pytest.mark.parametrize("width", [0, 1, 2, 3])
def test_sparse_filters_equal_the_dense_product(width: int, run_graph) -> None:
    rng = np.random.default_rng(width)
    filters = np.zeros((9, 5), dtype=np.float32)
    for row, first in zip(filters[:-1], rng.integers(0, 5, 8), strict=True):  # The last frequency has no filter.
        row[first : first + width] = rng.normal(size=len(row[first : first + width]))
    graph = Graph("filters")
    graph.output(graph.input("waveform", "float32", ("batch", 9)) @ sparse_filters(graph, filters), "product", *SHAPE)
    graph.input("lengths", "int64", ("batch",))
    inputs = rng.normal(size=(3, 9)).astype(np.float32)
    np.testing.assert_allclose(run_graph(graph, list(inputs))["product"], inputs @ filters, atol=1e-6)
