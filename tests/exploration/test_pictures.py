"""Pictures of utterances: axes, units and layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from hf_speech.exploration.examples import compute_features
from hf_speech.exploration.pictures import Scale, draw_utterance, feature_unit, mel_positions
from hf_speech.models import SpeechFeatureExtractor

OPTIONS = {
    "log-mel": {"num_mel_bins": 40},
    "mfcc with deltas": {"feature_type": "mfcc", "num_deltas": 2, "normalization": "none"},
    "spectrogram": {"feature_type": "spectrogram", "log": "db", "normalization": "none"},
    "raw samples": {"feature_type": "waveform", "normalization": "none"},
    "mean over time": {"feature_type": "mfcc", "time_average": True, "normalization": "none"},
    "cut": {"num_mel_bins": 40, "max_duration": 0.3},
}


def draw(samples: np.ndarray, options: dict, path: Path, title: str = "seven") -> SpeechFeatureExtractor:
    extractor = SpeechFeatureExtractor(**options)
    features = compute_features(samples, extractor)
    draw_utterance(samples, features, extractor, Scale.of([samples], [features], extractor), path, title)
    return extractor


@pytest.mark.parametrize("mel_scale", ["htk", "slaney"])
@pytest.mark.parametrize("sampling_rate", [8000, 16000, 22050])
def test_mel_axis_shows_the_frequency_of_a_tone(mel_scale: str, sampling_rate: int, make_tone):
    extractor = SpeechFeatureExtractor(
        sampling_rate=sampling_rate, num_mel_bins=64, mel_scale=mel_scale, min_frequency=50, normalization="none",
        win_length=1024, n_fft=4096,
    )  # fmt: skip
    positions, frequencies = mel_positions(extractor)
    assert frequencies == sorted(frequencies)
    assert len(frequencies) >= 4
    for position, frequency in zip(positions, frequencies, strict=True):
        if frequency >= 500:  # below, filters are narrower than the spectrum of a tone
            features = compute_features(make_tone(0.5, frequency, sampling_rate), extractor)
            assert features.mean(0).argmax() == pytest.approx(position, abs=0.75)


@pytest.mark.parametrize("name", OPTIONS)
def test_axes_have_names_and_nothing_overlaps(name: str, tmp_path: Path, drawn: list[Figure], make_tone):
    extractor = draw(make_tone(0.7), OPTIONS[name], tmp_path / "seven.png", "seven and $5 or $6 " * 9)
    (figure,) = drawn
    assert (tmp_path / "seven.png").read_bytes()[:4] == b"\x89PNG"
    waveform, *panels = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
    assert len(panels) == 1 + extractor.num_deltas
    assert "Amplitude" in waveform.get_ylabel()
    assert all(axes.get_ylabel() for axes in panels)
    assert panels[-1].get_xlabel() == ("Coefficient" if extractor.time_average else "Time (s)")
    bars = [axes for axes in figure.axes if axes.get_label() == "<colorbar>"]
    assert len(bars) == (0 if extractor.time_average else len(panels))
    assert all(bar.get_xlabel() == feature_unit(extractor, index) for index, bar in enumerate(bars))
    title = figure._suptitle.get_window_extent()
    assert title.x1 <= figure.bbox.x1
    assert all(axes.get_tightbbox().y1 <= title.y0 + 1 for axes in figure.axes)
    for axes in (waveform, *panels):
        ticks = [label.get_window_extent() for label in axes.get_yticklabels() if label.get_text()]
        assert axes.yaxis.label.get_window_extent().x1 <= min(box.x0 for box in ticks if box.height) + 1


def test_the_image_shows_the_features(tmp_path: Path, drawn: list[Figure], make_tone):
    samples = make_tone(0.7)
    extractor = draw(samples, OPTIONS["mfcc with deltas"], tmp_path / "seven.png")
    images = [axes.images[0] for axes in drawn[0].axes if axes.images]
    shown = np.concatenate([image.get_array().T for image in images], axis=1)
    np.testing.assert_array_equal(shown, compute_features(samples, extractor))
    left, right, bottom, top = images[0].get_extent()
    assert (left, right) == pytest.approx((-0.005, 0.695))  # frames are centered on their time
    assert (bottom, top) == (-0.5, 12.5)


def test_sound_beyond_max_duration_is_gray(tmp_path: Path, drawn: list[Figure], make_tone):
    draw(make_tone(0.7), OPTIONS["cut"], tmp_path / "cut.png")
    waveform = drawn[0].axes[0]
    assert [text.get_text() for text in waveform.texts] == ["not used"]
    assert waveform.patches[0].get_x() == pytest.approx(0.3)
    draw(make_tone(0.2), OPTIONS["cut"], tmp_path / "short.png")
    assert not drawn[1].axes[0].texts


def test_draws_a_silent_clip(tmp_path: Path):
    draw(np.zeros(4000, dtype=np.float32), OPTIONS["log-mel"], tmp_path / "silence.png")
    assert (tmp_path / "silence.png").is_file()


@pytest.mark.parametrize(
    ("options", "order", "unit"),
    [
        ({"normalization": "none"}, 0, "ln power"),
        ({"normalization": "peak", "log": "db"}, 0, "dB"),
        ({"normalization": "none", "power": 1.0, "log": "none", "feature_type": "spectrogram"}, 0, "amplitude"),
        ({"normalization": "utterance"}, 0, "standard deviations from the mean of the utterance"),
        ({"normalization": "utterance", "normalize_variance": False}, 0, "ln power, less the mean of the utterance"),
        ({"normalization": "none", "num_deltas": 2}, 1, "delta: ln power per frame"),
        ({"normalization": "none", "num_deltas": 2}, 2, "delta-delta: ln power per frame per frame"),
    ],
)
def test_units_of_features(options: dict, order: int, unit: str):
    assert feature_unit(SpeechFeatureExtractor(**options), order) == unit
