"""Reading sound: every format gives the same samples, and errors name the bad input."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest
import soundfile
import torch

from hf_speech.data import audio
from hf_speech.data.audio import audio_info, read_audio, resample
from hf_speech.errors import AudioError

RATE = 16_000


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    length = min(len(a), len(b))
    return float(np.corrcoef(a[:length], b[:length])[0, 1])


@pytest.mark.parametrize(
    ("name", "options", "tolerance"),
    [
        ("a.wav", {"subtype": "PCM_U8"}, 1 / 100),
        ("a.wav", {"subtype": "PCM_16"}, 1e-4),
        ("a.wav", {"subtype": "PCM_24"}, 1e-6),
        ("a.wav", {"subtype": "PCM_32"}, 1e-6),
        ("a.wav", {"subtype": "FLOAT"}, 0),
        ("a.wav", {"subtype": "DOUBLE"}, 0),
        ("a.wav", {"subtype": "ULAW"}, 0.05),
        ("a.flac", {}, 1e-4),
        ("a.sph", {"format": "NIST"}, 1e-4),
        ("a.aiff", {}, 1e-4),
    ],
)
def test_lossless_formats_preserve_samples(tmp_path, sine, name, options, tolerance):
    soundfile.write(tmp_path / name, sine, RATE, **options)
    samples = read_audio(tmp_path / name, RATE)
    assert samples.dtype == np.float32
    assert samples.shape == sine.shape
    assert np.abs(samples - sine).max() <= tolerance


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.ogg", {}), ("a.opus", {"format": "OGG", "subtype": "OPUS"}), ("a.mp3", {})],
)
def test_lossy_formats_preserve_the_sound(tmp_path, sine, name, options):
    soundfile.write(tmp_path / name, sine, RATE, **options)
    samples = read_audio(tmp_path / name, RATE)
    assert len(samples) == pytest.approx(len(sine), abs=1200)
    assert correlation(samples, sine) > 0.95


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_resamples_any_rate(tmp_path, make_tone, rate):
    soundfile.write(tmp_path / "a.wav", make_tone(0.5, 440.0, rate), rate, subtype="FLOAT")
    samples = read_audio(tmp_path / "a.wav", RATE)
    assert abs(len(samples) - RATE // 2) <= 1
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    assert np.argmax(spectrum) * RATE / len(samples) == pytest.approx(440, abs=2)
    assert np.abs(samples[1000:-1000]).max() == pytest.approx(0.5, abs=0.005)


@pytest.mark.parametrize("channels", [2, 8])
def test_channels_are_averaged(tmp_path, sine, channels):
    gains = np.linspace(0.2, 1.0, channels, dtype=np.float32)
    soundfile.write(tmp_path / "a.wav", sine[:, None] * gains, RATE, subtype="FLOAT")
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav", RATE), sine * gains.mean(), atol=1e-6)


def test_all_kinds_of_sources_give_the_same_samples(wav):
    expected = read_audio(wav, RATE)
    content = wav.read_bytes()
    decoded = {"array": expected, "sampling_rate": RATE}
    sources = [str(wav), content, {"path": str(wav), "bytes": None}, {"path": "gone.wav", "bytes": content}]
    sources += [decoded, {"raw": expected, "sampling_rate": float(RATE)}]
    sources += [{"array": torch.from_numpy(expected).requires_grad_(), "sampling_rate": np.int64(RATE)}]
    sources += [{"array": expected.tolist(), "sampling_rate": RATE}]
    for source in sources:
        np.testing.assert_array_equal(read_audio(source, RATE), expected)
    assert set(decoded) == {"array", "sampling_rate"}, "the caller's dictionary is left as it was"


@pytest.mark.parametrize(
    ("dtype", "values", "expected"),
    [
        ("uint8", [0, 128, 255], [-1, 0, 127 / 128]),
        ("int8", [-128, 0, 64], [-1, 0, 0.5]),
        ("int16", [-32768, 0, 16384], [-1, 0, 0.5]),
        ("int32", [-(2**31), 0, 2**30], [-1, 0, 0.5]),
        ("float64", [-1, 0, 0.5], [-1, 0, 0.5]),
    ],
)
def test_integers_are_scaled_by_their_full_scale(dtype, values, expected):
    samples = read_audio({"array": np.array(values, dtype=dtype), "sampling_rate": RATE}, RATE)
    np.testing.assert_array_equal(samples, np.array(expected, dtype=np.float32))


def test_accepts_channels_first_and_last(sine):
    stereo = np.stack([sine, 0 * sine])
    for array in (stereo, stereo.T, np.asfortranarray(stereo)):
        np.testing.assert_allclose(read_audio({"array": array, "sampling_rate": RATE}, RATE), sine / 2)


def test_reads_a_file_of_one_sample(tmp_path):
    soundfile.write(tmp_path / "one.wav", np.array([0.25]), RATE)
    np.testing.assert_allclose(read_audio(tmp_path / "one.wav", RATE), [0.25])


def test_reads_streams_of_unknown_length(tmp_path, wav, sine):
    content = bytearray(wav.read_bytes())
    content[4:8] = content[40:44] = b"\xff\xff\xff\xff"  # a wav written into a pipe by ffmpeg
    np.testing.assert_allclose(read_audio(bytes(content), RATE), sine, atol=1e-4)

    soundfile.write(tmp_path / "a.flac", sine, RATE)
    content = bytearray((tmp_path / "a.flac").read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)  # the 36-bit sample count of STREAMINFO; 0 is "unknown"
    np.testing.assert_allclose(read_audio(bytes(content), RATE), sine, atol=1e-4)
    assert audio_info(bytes(content)).duration == pytest.approx(0.5)


def test_reads_sounds_longer_than_a_block(monkeypatch, wav, sine):
    monkeypatch.setattr(audio, "BLOCK_SAMPLES", 1000)  # 8 whole blocks: the last read is empty
    np.testing.assert_allclose(read_audio(wav, RATE), sine, atol=1e-4)


def test_counts_an_unknown_length_without_storing_samples(tmp_path, monkeypatch, sine):
    soundfile.write(tmp_path / "a.flac", sine, RATE)
    content = bytearray((tmp_path / "a.flac").read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    monkeypatch.setattr(audio, "BLOCK_SAMPLES", 1000)
    monkeypatch.setattr(audio, "read_blocks", None)
    assert audio_info(bytes(content)).duration == pytest.approx(0.5)


def test_info_reads_the_header(tmp_path, make_tone):
    soundfile.write(tmp_path / "a.wav", np.stack([make_tone(0.25, 440.0, 8000)] * 2, axis=1), 8000)
    info = audio_info(tmp_path / "a.wav")
    assert (info.duration, info.sampling_rate, info.channels, info.format) == (0.25, 8000, 2, "WAV PCM_16")
    info = audio_info({"array": np.zeros((2, 4000), np.float32), "sampling_rate": 8000})
    assert (info.duration, info.sampling_rate, info.channels) == (0.5, 8000, 2)


def test_resample_does_nothing_at_the_same_rate(sine):
    assert resample(sine, RATE, RATE) is sine
    assert resample(sine.astype(np.float64), RATE, 8000).dtype == np.float32


def test_falls_back_to_torchcodec(tmp_path, monkeypatch, sine):
    """A replacement for torchcodec, which is optional and used only for formats that libsndfile does not support."""

    class AudioDecoder:
        def __init__(self, content: bytes) -> None:
            if b"ftyp" not in content[:12]:
                raise RuntimeError("invalid data found when processing input")

        def get_all_samples(self) -> types.SimpleNamespace:
            return types.SimpleNamespace(data=torch.from_numpy(np.stack([sine, sine])), sample_rate=RATE)

    module = types.ModuleType("torchcodec.decoders")
    module.AudioDecoder = AudioDecoder  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchcodec", types.ModuleType("torchcodec"))
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", module)
    audio._ffmpeg_decoder.cache_clear()
    try:
        path, other = tmp_path / "a.m4a", tmp_path / "b.m4a"
        path.write_bytes(b"\0\0\0\x20ftypM4A ")
        other.write_bytes(b"text")
        np.testing.assert_allclose(read_audio(path, RATE), sine)
        assert audio_info(path).channels == 2
        with pytest.raises(AudioError, match="is not an audio file"):
            read_audio(other, RATE)
    finally:
        audio._ffmpeg_decoder.cache_clear()


def test_reads_the_same_in_threads(wav):
    from concurrent.futures import ThreadPoolExecutor

    expected = read_audio(wav, RATE)
    with ThreadPoolExecutor(4) as pool:
        for samples in pool.map(lambda _: read_audio(wav, RATE), range(20)):
            np.testing.assert_array_equal(samples, expected)


@pytest.mark.corpora
def test_reads_real_recordings_of_every_kind(corpora_dir):
    sphere = sorted((corpora_dir / "an4" / "wav").rglob("*.sph"))[0]
    opus = sorted((corpora_dir / "speechocean762" / "WAVE").rglob("*.opus"))[0]
    ravdess = sorted((corpora_dir / "ravdess").rglob("*.opus"))[0]
    for path, rate in ((sphere, 16_000), (opus, 16_000), (ravdess, 48_000)):
        samples, info = read_audio(path, RATE), audio_info(path)
        assert info.sampling_rate == rate
        assert len(samples) == pytest.approx(info.duration * RATE, abs=1)
        assert 0.01 < np.abs(samples).max() < 2
