"""Normalization of features by utterance, peak and global statistics, which are saved with the extractor."""

from __future__ import annotations

import copy
import json
import pickle

import librosa
import numpy as np
import pytest
import torch
from tests.models.noises import RATE, extract, noise

from hf_speech.models.feature_extraction_speech import SpeechFeatureExtractor
from hf_speech.models.spectral import normalize_utterances


def test_normalization_does_not_amplify_a_silent_band():
    # Sound at 8 kHz brought to 16 kHz has an upper half at the floor; its mean must be exact in any batch.
    samples = librosa.resample(noise(16_000), orig_sr=8000, target_sr=RATE).astype(np.float32)
    features = extract(SpeechFeatureExtractor(num_mel_bins=40, log_floor=1e-2), samples)
    constant = features.std(0) == 0
    assert constant.sum() >= 3
    assert not features[:, constant].any()


def test_utterance_normalization_equals_cmvn():
    plain = extract(SpeechFeatureExtractor(num_mel_bins=20, normalization="none"), noise(8000))
    both = extract(SpeechFeatureExtractor(num_mel_bins=20), noise(8000))
    np.testing.assert_allclose(both, (plain - plain.mean(0)) / plain.std(0), atol=1e-4)
    mean_only = extract(SpeechFeatureExtractor(num_mel_bins=20, normalize_variance=False), noise(8000))
    np.testing.assert_allclose(mean_only, plain - plain.mean(0), atol=1e-4)


def test_peak_normalization_removes_loudness():
    extractor = SpeechFeatureExtractor(num_mel_bins=20, normalization="peak")
    np.testing.assert_allclose(extract(extractor, noise(2000)), extract(extractor, 0.01 * noise(2000)), atol=1e-4)
    waveform = SpeechFeatureExtractor(feature_type="waveform", normalization="peak")
    assert np.abs(extract(waveform, noise(3200))).max() == 1
    assert not extract(waveform, np.zeros(320, np.float32)).any()


@pytest.fixture
def fitted() -> SpeechFeatureExtractor:
    extractor = SpeechFeatureExtractor(
        sampling_rate=8000, num_mel_bins=20, hop_length=80, win_length=200, normalization="global", num_deltas=1
    )
    extractor.fit_global_statistics(noise(length, seed=length) for length in (900, 2500, 4111))
    return extractor


def test_global_statistics_equal_numpy_over_all_frames(fitted):
    plain = SpeechFeatureExtractor(**{**fitted.to_dict(), "normalization": "none"})
    utterances = [noise(length, seed=length) for length in (900, 2500, 4111)]
    frames = np.concatenate([extract(plain, samples) for samples in utterances]).astype(np.float64)
    np.testing.assert_allclose(fitted.feature_mean, frames.mean(0), rtol=1e-9)
    np.testing.assert_allclose(fitted.feature_std, frames.std(0), rtol=1e-6)
    normalized = np.concatenate([extract(fitted, samples) for samples in utterances])
    np.testing.assert_allclose(normalized.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(normalized.std(0), 1, atol=1e-4)


def test_a_loaded_extractor_gives_equal_features(fitted, tmp_path):
    expected = extract(fitted, noise(3000))
    fitted.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert saved["feature_size"] == 40
    assert saved["window_type"] == "hann"
    loaded = SpeechFeatureExtractor.from_pretrained(tmp_path)
    assert loaded.to_dict() == fitted.to_dict()
    np.testing.assert_array_equal(extract(loaded, noise(3000)), expected)


def test_error_for_global_normalization_without_statistics():
    extractor = SpeechFeatureExtractor(normalization="global")
    with pytest.raises(ValueError, match="call fit_global_statistics"):
        extractor(noise(2000), sampling_rate=RATE)
    with pytest.raises(ValueError, match="need utterances"):
        extractor.fit_global_statistics([])
    with pytest.raises(ValueError, match="has no global statistics"):
        SpeechFeatureExtractor(normalization="peak").fit_global_statistics([noise(2000)])


@pytest.mark.parametrize(("deviation", "expected"), [(1e-3, 1e-3 / 1e-5**0.5), (4e-3, 1.0), (1.0, 1.0)])
def test_normalization_does_not_amplify_features_of_small_variance(deviation: float, expected: float) -> None:
    features = torch.randn(1, 400, 2)
    features = deviation * (features - features.mean(1)) / features.std(1, correction=0)
    mask = torch.ones(1, 400, 1, dtype=torch.bool)
    normalized = normalize_utterances(features, torch.tensor([400]), mask, True)
    torch.testing.assert_close(normalized.std(1, correction=0), torch.full((1, 2), expected), atol=1e-4, rtol=1e-3)


def test_can_be_copied_and_pickled(fitted):
    expected = extract(fitted, noise(3000))  # the caches are filled
    for clone in (copy.deepcopy(fitted), pickle.loads(pickle.dumps(fitted))):
        np.testing.assert_array_equal(extract(clone, noise(3000)), expected)
    assert not any(isinstance(value, (torch.Tensor, np.ndarray)) for value in vars(fitted).values())
