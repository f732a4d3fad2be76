"""Unusable sounds are rejected with a one-sentence error that names them."""

from __future__ import annotations

import contextlib
import io
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from hf_speech.data import audio
from hf_speech.data.audio import audio_info, read_audio
from hf_speech.data.streams import SteadyStream
from hf_speech.errors import AudioError

RATE = 16_000


def truncated(path: Path, keep: float = 0.5) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    return path


@pytest.mark.parametrize("name", ["a.wav", "a.sph", "a.aiff", "a.flac", "a.mp3", "a.ogg"])
def test_rejects_a_truncated_file(tmp_path, make_tone, name):
    path = tmp_path / name
    soundfile.write(path, make_tone(2.0), RATE, format="NIST" if name.endswith("sph") else None)
    assert len(read_audio(path, RATE)) == 2 * RATE
    with pytest.raises(AudioError, match=rf"a\.{name[2:]} is (truncated|damaged)"):
        read_audio(truncated(path), RATE)


@pytest.mark.parametrize("length", [30, 44, 45])
def test_rejects_a_wav_cut_in_or_after_its_header(wav, length):
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
        r"text\.wav is not an audio file.*hello",
    ),
    "raw": (lambda tmp, wav: written(tmp / "a.raw", bytes(99)), r"a\.raw is not an audio file"),
    "aac": (
        lambda tmp, wav: written(tmp / "a.m4a", b"\0\0\0\x20ftypM4A " + bytes(99)),
        r"a\.m4a is an MP4/M4A \(AAC\) file, which needs torchcodec",
    ),
    "0 Hz": (lambda tmp, wav: patched(wav, 24, struct.pack("<I", 0)), r"sine\.wav has a sampling rate of 0 Hz"),
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
        r"a\.sph has a sampling rate of 0 Hz",
    ),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_one_sentence_error_names_a_bad_file(tmp_path, wav, kind):
    make, message = BAD_FILES[kind]
    with pytest.raises(AudioError, match=message) as caught:
        read_audio(make(tmp_path, wav), RATE)
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"array": [0.0, 0.1]}, "has no 'sampling_rate'"),
        ({"array": [0.0, 0.1], "sampling_rate": None}, "has no 'sampling_rate'"),
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
        ({"path": None, "bytes": None}, "needs 'path', 'bytes', or 'array'"),
        ({}, "needs 'path', 'bytes', or 'array'"),
        (b"", "a sound of 0 bytes is an empty file"),
        (None, "a NoneType is not a source of audio"),
        ("a\0b.wav", "cannot be opened"),
    ],
)
def test_one_sentence_error_for_a_bad_row(source, message):
    with pytest.raises(AudioError, match=message):
        read_audio(source, RATE)


def test_errors_about_bytes_name_the_path():
    with pytest.raises(AudioError, match=r"^clips/a\.wav is an empty file"):
        read_audio({"path": "clips/a.wav", "bytes": b""}, RATE)


def test_rejects_a_header_of_gigabytes_and_reads_an_unknown_length_to_the_end(wav, sine):
    content = wav.read_bytes()
    for claimed in (0xC0000000, 0x80000001, 0x7FFEFFFF, 1_000_000):
        with pytest.raises(AudioError, match=f"its header declares {claimed} bytes"):
            audio_info(patched(wav, 40, struct.pack("<I", claimed)))
    for unknown in (0xFFFFFFFF, 0x7FFFF000, 0x80000000):  # As ffmpeg, sox and arecord write into a pipe.
        wav.write_bytes(content)
        np.testing.assert_allclose(read_audio(patched(wav, 40, struct.pack("<I", unknown)), RATE), sine, atol=1e-4)


def test_rejects_thousands_of_chunks_quickly(tmp_path):
    chunks = b"RIFF\0\0\0\0WAVE" + (b"junk" + bytes(4)) * 1_000_000
    with pytest.raises(AudioError, match="none of its first 1000 chunks holds samples"):
        read_audio(written(tmp_path / "a.wav", chunks), RATE)


@pytest.mark.parametrize("read", [audio_info, lambda path: read_audio(path, RATE)])
def test_rejects_hundreds_of_channels(tmp_path, read):
    soundfile.write(tmp_path / "a.wav", np.zeros((10, 200), np.float32), RATE)
    with pytest.raises(AudioError, match="has 200 channels: give at most 64"):
        read(tmp_path / "a.wav")


def test_rejects_more_samples_than_fit_into_memory(tmp_path, monkeypatch, make_tone):
    soundfile.write(tmp_path / "a.flac", np.stack([make_tone(0.1)] * 2, axis=1), RATE)
    monkeypatch.setattr(audio, "BLOCK_SAMPLES", 1000)
    monkeypatch.setattr(audio, "MAX_SAMPLES", 3200)
    assert len(read_audio(tmp_path / "a.flac", RATE)) == 1600
    monkeypatch.setattr(audio, "MAX_SAMPLES", 3199)
    with pytest.raises(AudioError, match="holds more than 3,199 samples: cut it"):
        read_audio(tmp_path / "a.flac", RATE)


def test_no_traceback_for_a_header_that_points_before_the_file(tmp_path, capfd):
    stream = SteadyStream(io.BytesIO(b"abcdef"))
    assert stream.seek(2) == 2
    assert stream.seek(-1) == 2
    assert stream.seek(1, os.SEEK_CUR) == 3
    soundfile.write(tmp_path / "a.caf", np.zeros(100, np.float32), RATE)
    content = (tmp_path / "a.caf").read_bytes()
    for place in range(8, 64):  # For any field of the header.
        for value in (-1, -800_001, 1 << 62):
            damaged = content[:place] + struct.pack(">q", value) + content[place + 8 :]
            with contextlib.suppress(AudioError):
                read_audio(damaged, RATE)
    assert "Traceback" not in capfd.readouterr().err


def test_skips_chunks_of_odd_length_before_the_samples(wav, sine):
    content = wav.read_bytes()
    chunk = b"LIST" + struct.pack("<I", 5) + b"notes" + b"\0"  # padded to an even length
    wav.write_bytes(content[:36] + chunk + content[36:])
    np.testing.assert_allclose(read_audio(wav, RATE), sine, atol=1e-4)
    with pytest.raises(AudioError, match="is truncated"):
        read_audio(truncated(wav, 0.9), RATE)


def test_rejects_a_sound_that_is_empty_after_resampling():
    with pytest.raises(AudioError, match="too short"):
        read_audio({"array": [0.1], "sampling_rate": 48_000}, 8_000)
