"""Features agree with those of librosa and torchaudio."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import torch
import torchaudio
from tests.models.noises import RATE, extract, noise

from hf_speech.models.feature_extraction_speech import SpeechFeatureExtractor


@pytest.mark.parametrize(
    "geometry",
    [
        {"n_fft": 400, "win_length": 400, "hop_length": 160},
        {"n_fft": 512, "win_length": 400, "hop_length": 160},
        {"n_fft": 512, "win_length": 333, "hop_length": 100},
    ],
)
@pytest.mark.parametrize(("mel_scale", "mel_norm"), [("htk", None), ("slaney", "slaney")])
def test_log_mel_agrees_with_librosa_to_1e_4_db(geometry, mel_scale, mel_norm):
    samples = noise(RATE)
    extractor = SpeechFeatureExtractor(
        num_mel_bins=40,
        min_frequency=50,
        max_frequency=7000,
        mel_scale=mel_scale,
        mel_norm=mel_norm,
        log="db",
        log_floor=1e-10,
        top_db=60,
        normalization="none",
        **geometry,
    )
    mel = librosa.feature.melspectrogram(
        y=samples, sr=RATE, n_mels=40, fmin=50, fmax=7000, htk=mel_scale == "htk", norm=mel_norm, **geometry
    )
    # top_db is taken over the frames that exist here: librosa's extra last one is dropped first.
    expected = librosa.power_to_db(mel[:, : RATE // geometry["hop_length"]], top_db=60).T
    np.testing.assert_allclose(extract(extractor, samples), expected, atol=1e-4)


@pytest.mark.parametrize("power", [1.0, 2.0, 1.5])
def test_log_mel_agrees_with_torchaudio_to_1e_3(power):
    samples = noise(RATE)
    extractor = SpeechFeatureExtractor(num_mel_bins=40, power=power, log_floor=1e-6, normalization="none")
    transform = torchaudio.transforms.MelSpectrogram(
        RATE, n_fft=400, hop_length=160, n_mels=40, power=power, pad_mode="constant"
    )
    expected = transform(torch.from_numpy(samples)).clamp(min=1e-6).log().T[:-1]
    # torchaudio makes its filters in float32: that is the difference.
    np.testing.assert_allclose(extract(extractor, samples), expected, atol=1e-3)


def test_spectrogram_agrees_with_librosa():
    samples = noise(RATE)
    options = {"feature_type": "spectrogram", "n_fft": 512, "win_length": 400, "normalization": "none"}
    spectrum = np.abs(librosa.stft(samples, n_fft=512, win_length=400, hop_length=160, window="hamming")).T[:-1]
    amplitude = SpeechFeatureExtractor(log="none", power=1.0, window_type="hamming", **options)
    assert amplitude.feature_size == 257
    np.testing.assert_allclose(extract(amplitude, samples), spectrum, rtol=1e-4, atol=1e-5)
    decibels = SpeechFeatureExtractor(log="db", power=1.0, log_floor=1e-5, window_type="hamming", **options)
    expected = librosa.amplitude_to_db(spectrum, amin=1e-5, top_db=None)
    np.testing.assert_allclose(extract(decibels, samples), expected, atol=1e-2)


def test_mfcc_agrees_with_librosa_and_torchaudio():
    samples = noise(RATE)[:-1]  # 99 frames either way: no extra last frame in the reckoning of top_db
    extractor = SpeechFeatureExtractor(
        feature_type="mfcc",
        num_mfcc=20,
        num_mel_bins=64,
        n_fft=512,
        win_length=512,
        hop_length=160,
        log="db",
        log_floor=1e-10,
        top_db=80,
        normalization="none",
    )
    ours = extract(extractor, samples)
    geometry = {"n_fft": 512, "hop_length": 160, "n_mels": 64}
    expected = librosa.feature.mfcc(y=samples, sr=RATE, n_mfcc=20, htk=True, norm="ortho", **geometry).T[:99]
    area_normalized = SpeechFeatureExtractor(**{**extractor.to_dict(), "mel_norm": "slaney"})
    np.testing.assert_allclose(extract(area_normalized, samples), expected, atol=2e-3)
    melkwargs = {"n_fft": 512, "hop_length": 160, "n_mels": 64, "pad_mode": "constant"}
    transform = torchaudio.transforms.MFCC(RATE, n_mfcc=20, melkwargs=melkwargs)
    np.testing.assert_allclose(ours, transform(torch.from_numpy(samples)).T[:99], atol=2e-3)


@pytest.mark.parametrize("delta_window", [3, 5, 9])
def test_deltas_agree_with_torchaudio(delta_window):
    extractor = SpeechFeatureExtractor(num_mel_bins=20, num_deltas=2, delta_window=delta_window, normalization="none")
    features = torch.from_numpy(extract(extractor, noise(RATE))).T
    assert features.shape == (60, 100)
    first = torchaudio.functional.compute_deltas(features[:20], win_length=delta_window)
    second = torchaudio.functional.compute_deltas(first, win_length=delta_window)
    torch.testing.assert_close(features[20:40], first, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(features[40:], second, atol=1e-5, rtol=1e-5)


def test_preemphasis_is_a_first_difference():
    samples = noise(4000)
    emphasized = SpeechFeatureExtractor(preemphasis=0.97, normalization="none")
    plain = SpeechFeatureExtractor(normalization="none")
    filtered = np.append(samples[:1], samples[1:] - np.float32(0.97) * samples[:-1])
    np.testing.assert_allclose(extract(emphasized, samples), extract(plain, filtered), atol=1e-5)


@pytest.mark.corpora
def test_real_speech_agrees_with_librosa(fsdd_dir):
    import soundfile

    samples, rate = soundfile.read(fsdd_dir / "recordings" / "7_jackson_0.wav", dtype="float32")
    extractor = SpeechFeatureExtractor(
        sampling_rate=rate, num_mel_bins=40, hop_length=80, win_length=200, n_fft=256, log="db", normalization="none"
    )
    mel = librosa.feature.melspectrogram(
        y=samples, sr=rate, n_mels=40, hop_length=80, win_length=200, n_fft=256, htk=True, norm=None
    )
    expected = librosa.power_to_db(mel, amin=1e-6, top_db=None).T[: len(samples) // 80]
    np.testing.assert_allclose(extract(extractor, samples), expected, atol=1e-3)
