"""Reading sound: every format gives the same samples, every bad input gives one sentence that names it."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from hf_speech.data import audio
from hf_speech.data.audio import audio_info, read_audio, resample
from hf_speech.data.streams import SteadyStream
from hf_speech.errors import AudioError

RATE = 16_000


@pytest.fixture
def sine(make_tone) -> np.ndarray:
    return make_tone(0.5, 440.0, RATE)


@pytest.fixture
def wav(tmp_path: Path, sine: np.ndarray) -> Path:
    soundfile.write(tmp_path / "sine.wav", sine, RATE)
    return tmp_path / "sine.wav"


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
def test_lossless_formats_give_the_samples_back(tmp_path, sine, name, options, tolerance):
    soundfile.write(tmp_path / name, sine, RATE, **options)
    samples = read_audio(tmp_path / name, RATE)
    assert samples.dtype == np.float32
    assert samples.shape == sine.shape
    assert np.abs(samples - sine).max() <= tolerance


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.ogg", {}), ("a.opus", {"format": "OGG", "subtype": "OPUS"}), ("a.mp3", {})],
)
def test_lossy_formats_give_the_sound_back(tmp_path, sine, name, options):
    soundfile.write(tmp_path / name, sine, RATE, **options)
    samples = read_audio(tmp_path / name, RATE)
    assert len(samples) == pytest.approx(len(sine), abs=1200)
    assert correlation(samples, sine) > 0.95


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_any_rate_comes_out_at_the_wanted_one(tmp_path, make_tone, rate):
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


def test_every_kind_of_source_gives_the_same_samples(wav):
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


def test_arrays_are_taken_channels_first_and_channels_last(sine):
    stereo = np.stack([sine, 0 * sine])
    for array in (stereo, stereo.T, np.asfortranarray(stereo)):
        np.testing.assert_allclose(read_audio({"array": array, "sampling_rate": RATE}, RATE), sine / 2)


def test_a_one_sample_file_is_read(tmp_path):
    soundfile.write(tmp_path / "one.wav", np.array([0.25]), RATE)
    np.testing.assert_allclose(read_audio(tmp_path / "one.wav", RATE), [0.25])


def test_streams_that_do_not_know_their_length_are_read(tmp_path, wav, sine):
    content = bytearray(wav.read_bytes())
    content[4:8] = content[40:44] = b"\xff\xff\xff\xff"  # a wav written into a pipe by ffmpeg
    np.testing.assert_allclose(read_audio(bytes(content), RATE), sine, atol=1e-4)

    soundfile.write(tmp_path / "a.flac", sine, RATE)
    content = bytearray((tmp_path / "a.flac").read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)  # the 36-bit sample count of STREAMINFO; 0 is "unknown"
    np.testing.assert_allclose(read_audio(bytes(content), RATE), sine, atol=1e-4)
    assert audio_info(bytes(content)).duration == pytest.approx(0.5)


def test_a_sound_longer_than_a_block_is_read_whole(monkeypatch, wav, sine):
    monkeypatch.setattr(audio, "BLOCK_SAMPLES", 1000)  # 8 whole blocks: the last read is empty
    np.testing.assert_allclose(read_audio(wav, RATE), sine, atol=1e-4)


def test_a_header_that_claims_gigabytes_is_refused_and_an_unknown_length_lasts_to_the_end(wav, sine):
    content = wav.read_bytes()
    for claimed in (0xC0000000, 0x80000001, 0x7FFEFFFF, 1_000_000):
        with pytest.raises(AudioError, match=f"its header promises {claimed} bytes"):
            audio_info(patched(wav, 40, struct.pack("<I", claimed)))
    for unknown in (0xFFFFFFFF, 0x7FFFF000, 0x80000000):  # As ffmpeg, sox and arecord write into a pipe.
        wav.write_bytes(content)
        np.testing.assert_allclose(read_audio(patched(wav, 40, struct.pack("<I", unknown)), RATE), sine, atol=1e-4)


def test_thousands_of_chunks_are_not_walked_through(tmp_path):
    chunks = b"RIFF\0\0\0\0WAVE" + (b"junk" + bytes(4)) * 1_000_000
    with pytest.raises(AudioError, match="none of its first 1000 chunks holds samples"):
        read_audio(written(tmp_path / "a.wav", chunks), RATE)


@pytest.mark.parametrize("read", [audio_info, lambda path: read_audio(path, RATE)])
def test_hundreds_of_channels_are_refused(tmp_path, read):
    soundfile.write(tmp_path / "a.wav", np.zeros((10, 200), np.float32), RATE)
    with pytest.raises(AudioError, match="has 200 channels: give at most 64"):
        read(tmp_path / "a.wav")


def test_more_samples_than_fit_into_memory_are_refused(tmp_path, monkeypatch, make_tone):
    soundfile.write(tmp_path / "a.flac", np.stack([make_tone(0.1)] * 2, axis=1), RATE)
    monkeypatch.setattr(audio, "BLOCK_SAMPLES", 1000)
    monkeypatch.setattr(audio, "MAX_SAMPLES", 3200)
    assert len(read_audio(tmp_path / "a.flac", RATE)) == 1600
    monkeypatch.setattr(audio, "MAX_SAMPLES", 3199)
    with pytest.raises(AudioError, match="holds more than 3,199 samples: cut it"):
        read_audio(tmp_path / "a.flac", RATE)


def test_an_unknown_length_is_counted_without_keeping_the_samples(tmp_path, monkeypatch, sine):
    soundfile.write(tmp_path / "a.flac", sine, RATE)
    content = bytearray((tmp_path / "a.flac").read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    monkeypatch.setattr(audio, "BLOCK_SAMPLES", 1000)
    monkeypatch.setattr(audio, "read_blocks", None)
    assert audio_info(bytes(content)).duration == pytest.approx(0.5)


def test_a_header_that_points_before_the_file_prints_no_traceback(tmp_path, capfd):
    stream = SteadyStream(io.BytesIO(b"abcdef"))
    assert stream.seek(2) == 2
    assert stream.seek(-1) == 2
    assert stream.seek(1, os.SEEK_CUR) == 3
    soundfile.write(tmp_path / "a.caf", np.zeros(100, np.float32), RATE)
    content = (tmp_path / "a.caf").read_bytes()
    for place in range(8, 64):  # Whichever field of the header it is.
        for value in (-1, -800_001, 1 << 62):
            damaged = content[:place] + struct.pack(">q", value) + content[place + 8 :]
            with contextlib.suppress(AudioError):
                read_audio(damaged, RATE)
    assert "Traceback" not in capfd.readouterr().err


def truncated(path: Path, keep: float = 0.5) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    return path


@pytest.mark.parametrize("name", ["a.wav", "a.sph", "a.aiff", "a.flac", "a.mp3", "a.ogg"])
def test_a_truncated_file_is_refused(tmp_path, make_tone, name):
    path = tmp_path / name
    soundfile.write(path, make_tone(2.0), RATE, format="NIST" if name.endswith("sph") else None)
    assert len(read_audio(path, RATE)) == 2 * RATE
    with pytest.raises(AudioError, match=rf"a\.{name[2:]} is (truncated|damaged)"):
        read_audio(truncated(path), RATE)


def test_chunks_of_odd_length_before_the_samples_are_stepped_over(wav, sine):
    content = wav.read_bytes()
    chunk = b"LIST" + struct.pack("<I", 5) + b"notes" + b"\0"  # padded to an even length
    wav.write_bytes(content[:36] + chunk + content[36:])
    np.testing.assert_allclose(read_audio(wav, RATE), sine, atol=1e-4)
    with pytest.raises(AudioError, match="is truncated"):
        read_audio(truncated(wav, 0.9), RATE)


@pytest.mark.parametrize("length", [30, 44, 45])
def test_a_wav_cut_in_or_after_its_header_is_refused(wav, length):
    wav.write_bytes(wav.read_bytes()[:length])
    for read in (lambda path: read_audio(path, RATE), audio_info):
        with pytest.raises(AudioError, match=r"sine\.wav is truncated"):
            read(wav)


def patched(wav: Path, offset: int, content: bytes) -> Path:
    whole = bytearray(wav.read_bytes())
    whole[offset : offset + len(content)] = content
    wav.write_bytes(whole)
    return wav


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def sound(path: Path, samples: list[float] | np.ndarray, **options: str) -> Path:
    soundfile.write(path, np.array(samples, dtype=np.float32), RATE, **options)
    return path


BAD_FILES = {
    "missing": (lambda tmp, wav: tmp / "gone.wav", r"gone\.wav does not exist"),
    "folder": (lambda tmp, wav: tmp, "is a folder"),
    "empty": (lambda tmp, wav: written(tmp / "empty.wav", b""), r"empty\.wav is an empty file"),
    "no samples": (lambda tmp, wav: sound(tmp / "none.wav", []), r"none\.wav holds no samples"),
    "text": (
        lambda tmp, wav: written(tmp / "text.wav", b"hello\n" * 9),
        r"text\.wav is not a sound file.*hello",
    ),
    "raw": (lambda tmp, wav: written(tmp / "a.raw", bytes(99)), r"a\.raw is not a sound file"),
    "aac": (
        lambda tmp, wav: written(tmp / "a.m4a", b"\0\0\0\x20ftypM4A " + bytes(99)),
        r"a\.m4a is an MP4/M4A \(AAC\) file, which needs torchcodec",
    ),
    "0 Hz": (lambda tmp, wav: patched(wav, 24, struct.pack("<I", 0)), r"sine\.wav says .* is 0 Hz"),
    "44 Hz": (
        lambda tmp, wav: patched(wav, 24, struct.pack("<I", 44)),
        "rate of 44 Hz",
    ),
    "nan": (
        lambda tmp, wav: sound(tmp / "nan.wav", [0, np.nan, 0.1], subtype="FLOAT"),
        r"nan\.wav is not finite: 1 of its 3 samples",
    ),
    "inf": (
        lambda tmp, wav: sound(tmp / "inf.wav", [np.inf, 0], subtype="FLOAT"),
        r"inf\.wav is not finite: 1 of its 2",
    ),
    "huge": (
        lambda tmp, wav: sound(tmp / "huge.wav", [1e30, 0], subtype="FLOAT"),
        r"huge\.wav is not finite: 1 of its 2 samples are NaN, infinite or absurdly large",
    ),
    "shorten": (
        lambda tmp, wav: written(tmp / "a.sph", b"NIST_1A\n 1024\nsample_coding -s26 pcm,embedded-shorten\n"),
        r"a\.sph is a SPHERE file compressed with shorten",
    ),
    "0 Hz SPHERE": (
        lambda tmp, wav: written(
            tmp / "a.sph",
            b"NIST_1A\n   1024\nsample_rate -i 0\nsample_count -i 9\nchannel_count -i 1\nsample_n_bytes -i 2\n",
        ),
        r"a\.sph says .* is 0 Hz",
    ),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_bad_file_gives_one_sentence_that_names_it(tmp_path, wav, kind):
    make, message = BAD_FILES[kind]
    with pytest.raises(AudioError, match=message) as caught:
        read_audio(make(tmp_path, wav), RATE)
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"array": [0.0, 0.1]}, "without a 'sampling_rate'"),
        ({"array": [0.0, 0.1], "sampling_rate": None}, "without a 'sampling_rate'"),
        ({"array": [0.0, 0.1], "sampling_rate": 0}, "sampling rate of 0 Hz"),
        ({"array": [0.0, 0.1], "sampling_rate": -16000}, "sampling rate of -16000 Hz"),
        ({"array": [0.0, 0.1], "sampling_rate": "16 kHz"}, "sampling rate '16 kHz'"),
        ({"array": [0.0, 0.1], "sampling_rate": float("nan")}, "sampling rate nan"),
        ({"array": [0.0, 0.1], "sampling_rate": True}, "sampling rate True"),
        ({"array": [], "sampling_rate": RATE}, "holds no samples"),
        ({"array": [0.0, float("nan")], "sampling_rate": RATE}, "the array is not finite: 1 of"),
        ({"array": np.zeros((2, 3, 4)), "sampling_rate": RATE}, "3 dimensions"),
        ({"array": 0.5, "sampling_rate": RATE}, "0 dimensions"),
        (
            {"array": np.zeros((80, 300)), "sampling_rate": RATE},
            "80 channels: give samples, not a spectrogram",
        ),
        ({"array": [[0.0], [0.0, 1.0]], "sampling_rate": RATE}, "not an array of numbers"),
        ({"array": [1, 2, 3], "sampling_rate": RATE}, "holds int64 values"),
        ({"array": ["a"], "sampling_rate": RATE}, "whose full scale is unknown"),
        ({"path": None, "bytes": None}, "needs 'path', 'bytes' or 'array'"),
        ({}, "needs 'path', 'bytes' or 'array'"),
        (b"", "a sound of 0 bytes is an empty file"),
        (None, "a NoneType is not a source of audio"),
        ("a\0b.wav", "cannot be opened"),
    ],
)
def test_a_bad_row_gives_one_sentence(source, message):
    with pytest.raises(AudioError, match=message):
        read_audio(source, RATE)


def test_the_path_of_a_row_names_its_bytes():
    with pytest.raises(AudioError, match=r"^clips/a\.wav is an empty file"):
        read_audio({"path": "clips/a.wav", "bytes": b""}, RATE)


def test_one_sample_that_vanishes_in_resampling_is_too_short():
    with pytest.raises(AudioError, match="too short"):
        read_audio({"array": [0.1], "sampling_rate": 48_000}, 8_000)


def test_info_reads_the_header(tmp_path, make_tone):
    soundfile.write(tmp_path / "a.wav", np.stack([make_tone(0.25, 440.0, 8000)] * 2, axis=1), 8000)
    info = audio_info(tmp_path / "a.wav")
    assert (info.duration, info.sampling_rate, info.channels, info.format) == (0.25, 8000, 2, "WAV PCM_16")
    info = audio_info({"array": np.zeros((2, 4000), np.float32), "sampling_rate": 8000})
    assert (info.duration, info.sampling_rate, info.channels) == (0.5, 8000, 2)


def test_resample_leaves_the_right_rate_alone(sine):
    assert resample(sine, RATE, RATE) is sine
    assert resample(sine.astype(np.float64), RATE, 8000).dtype == np.float32


def test_torchcodec_reads_what_soundfile_does_not(tmp_path, monkeypatch, sine):
    """A stand-in for torchcodec, which is optional: it is asked only for what libsndfile does not know."""

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
        path = written(tmp_path / "a.m4a", b"\0\0\0\x20ftypM4A ")
        np.testing.assert_allclose(read_audio(path, RATE), sine)
        assert audio_info(path).channels == 2
        with pytest.raises(AudioError, match="is not a sound file"):
            read_audio(written(tmp_path / "b.m4a", b"text"), RATE)
    finally:
        audio._ffmpeg_decoder.cache_clear()


def test_threads_read_alike(wav):
    from concurrent.futures import ThreadPoolExecutor

    expected = read_audio(wav, RATE)
    with ThreadPoolExecutor(4) as pool:
        for samples in pool.map(lambda _: read_audio(wav, RATE), range(20)):
            np.testing.assert_array_equal(samples, expected)


@pytest.mark.corpora
def test_real_recordings_of_every_kind_are_read(corpora_dir):
    sphere = sorted((corpora_dir / "an4" / "wav").rglob("*.sph"))[0]
    opus = sorted((corpora_dir / "speechocean762" / "WAVE").rglob("*.opus"))[0]
    ravdess = sorted((corpora_dir / "ravdess").rglob("*.opus"))[0]
    for path, rate in ((sphere, 16_000), (opus, 16_000), (ravdess, 48_000)):
        samples, info = read_audio(path, RATE), audio_info(path)
        assert info.sampling_rate == rate
        assert len(samples) == pytest.approx(info.duration * RATE, abs=1)
        assert 0.01 < np.abs(samples).max() < 2
