"""The data of an answer: the sound, its waveform, and its features as an image."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

pytest.importorskip("gradio", reason="the Spaces need gradio: pip install 'hf_speech[demo]'")
Image = pytest.importorskip("PIL.Image")


@pytest.fixture
def page(space_module: Callable[[str, str], Any]) -> ModuleType:
    return space_module("transcribe", "page")


def content(uri: str, kind: str) -> io.BytesIO:
    head, _, body = uri.partition(",")
    assert head == f"data:{kind};base64"
    return io.BytesIO(base64.b64decode(body))


def test_the_answer_contains_the_whole_sound(page: ModuleType, make_tone) -> None:
    tone = make_tone(1.5, 440.0, 8000, 0.5)
    view = page.view("a b.wav", tone, 8000, np.zeros((150, 4)), "4 things")
    samples, rate = soundfile.read(content(view["audio"], "audio/flac"))
    assert rate == 8000
    np.testing.assert_allclose(samples, tone, atol=1e-4)
    assert (view["name"], view["stem"], view["duration"]) == ("a b.wav", "a b", 1.5)


def test_the_waveform_shows_loudness(page: ModuleType, make_tone) -> None:
    sound = np.concatenate([np.zeros(8000, np.float32), make_tone(1.0, 440.0, 8000, 0.25)])
    wave = np.array(page.view("a", sound, 8000, np.zeros((1, 1)), "")["wave"])
    half = len(wave) // 2
    assert np.abs(wave[: half - 1]).max() == 0
    assert wave[half + 1 :, 1].max() == 100
    assert wave[half + 1 :, 0].min() <= -99
    assert len(page.view("a", sound[:5], 8000, np.zeros((1, 1)), "")["wave"]) == 5


def test_the_image_has_time_to_the_right_and_low_features_below(page: ModuleType) -> None:
    features = np.zeros((30, 8), np.float32)
    features[20:, 0] = 1.0  # the lowest band, late
    view = page.view("a", np.resize(np.float32([1, -1]), 100), 100, features, "")
    image = np.asarray(Image.open(content(view["features"], "image/png")).convert("L"), dtype=int)
    assert image.shape == (8, 30)
    assert image[-1, 25] > image[-1, 5] + 100
    assert image[0, 25] == image[0, 5]


def test_limits_the_image_width(page: ModuleType) -> None:
    ramp = np.linspace(0, 1, 50_000, dtype=np.float32)[:, None].repeat(4, axis=1)
    view = page.view("a", np.zeros(100, np.float32), 100, ramp, "")
    image = np.asarray(Image.open(content(view["features"], "image/png")).convert("L"), dtype=int)
    assert image.shape == (4, 3000)
    assert (np.diff(image[0]) >= -1).all()  # averaged, in order


@pytest.mark.parametrize("features", [np.zeros((0, 4)), np.full((5, 4), 2.0), np.zeros((5, 0))])
def test_draws_features_without_contrast(page: ModuleType, features: np.ndarray) -> None:
    view = page.view("a", np.zeros(10, np.float32), 100, features.astype(np.float32), "")
    Image.open(content(view["features"], "image/png")).load()


def test_silence_gives_a_dark_image(page: ModuleType) -> None:
    noise = np.random.default_rng(0).normal(0, 1e-4, (50, 8)).astype(np.float32)
    shown = []
    for samples in (np.zeros(8000, np.float32), np.sin(np.arange(8000, dtype=np.float32))):
        view = page.view("a", samples, 8000, noise, "")
        shown.append(np.asarray(Image.open(content(view["features"], "image/png"))))
    assert shown[0].max() == 0
    assert shown[1].max() > 200


def test_describes_features(page: ModuleType) -> None:
    extractor = SimpleNamespace(feature_type="log_mel", feature_size=80, hop_length=160, sampling_rate=16_000)
    assert page.describe_features(extractor) == "80 log-mel bands, a frame every 10 ms"
    assert page.describe_features(SimpleNamespace()) == "features"
