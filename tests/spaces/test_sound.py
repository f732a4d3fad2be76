"""Reading uploaded sounds, with limits that hold even if headers are wrong."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import soundfile

RATE = 16_000


@pytest.fixture
def sound(space_module: Callable[[str, str], Any]) -> ModuleType:
    return space_module("transcribe", "sound")


def read(sound: ModuleType, path: Path, seconds: float = 10, megabytes: float = 1) -> np.ndarray:
    return sound.read_sound(path, RATE, seconds, megabytes)


@pytest.mark.parametrize(
    ("name", "subtype"),
    [
        ("a.wav", "PCM_16"),
        ("a.wav", "PCM_U8"),
        ("a.wav", "PCM_24"),
        ("a.wav", "FLOAT"),
        ("a.wav", "MS_ADPCM"),
        ("a.flac", "PCM_16"),
        ("a.ogg", "VORBIS"),
        ("a.mp3", "MPEG_LAYER_III"),
        ("a.aiff", "PCM_16"),
        ("a.au", "PCM_16"),
        ("a.caf", "PCM_16"),
    ],
)
@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
def test_reads_formats_and_rates(sound: ModuleType, tmp_path: Path, make_tone, name: str, subtype: str, rate) -> None:
    soundfile.write(tmp_path / name, make_tone(1.0, 440.0, rate, 0.5), rate, subtype=subtype)
    samples = read(sound, tmp_path / name)
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert len(samples) == pytest.approx(RATE, rel=0.06)  # mp3 and ADPCM add a little
    spectrum = np.abs(np.fft.rfft(samples[: RATE // 2]))
    assert spectrum.argmax() * 2 == pytest.approx(440, abs=4)
    assert np.abs(samples[RATE // 4 : RATE // 2]).max() == pytest.approx(0.5, abs=0.05)


def test_channels_are_averaged(sound: ModuleType, tmp_path: Path, make_tone) -> None:
    left, right = make_tone(0.5, 300.0), make_tone(0.5, 900.0)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], axis=1), RATE, subtype="FLOAT")
    np.testing.assert_allclose(read(sound, tmp_path / "a.wav"), (left + right) / 2, atol=1e-6)


def test_rejects_channels_that_cancel(sound: ModuleType, tmp_path: Path, make_tone) -> None:
    tone = make_tone(0.5, 440.0)
    soundfile.write(tmp_path / "a.wav", np.stack([tone, -tone], axis=1), RATE, subtype="FLOAT")
    assert "cancel each other out" in refusal(sound, tmp_path / "a.wav")


def refusal(sound: ModuleType, path: Path, **limits: float) -> str:
    with pytest.raises(sound.SoundError) as error:
        read(sound, path, **limits)
    message = str(error.value)
    assert message.endswith(".")
    assert str(path.parent) not in message  # messages reveal nothing about the server
    assert path.name in message
    return message


def test_rejects_sound_that_is_too_long_by_its_header(sound: ModuleType, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.flac", np.zeros(2 * 3600 * 1000, np.int16), 1000)  # two hours in a few kilobytes
    assert "2 hours long (limit: 10 seconds)" in refusal(sound, tmp_path / "long.flac")


def test_rejects_sound_that_is_too_long_despite_its_header(sound: ModuleType, tmp_path: Path, make_tone) -> None:
    path = tmp_path / "lie.flac"
    soundfile.write(path, make_tone(20.0, 440.0, 8000), 8000)
    content = bytearray(path.read_bytes())
    # STREAMINFO: 20 bits rate, 3 channels, 5 bits a sample, 36 samples; the last say "unknown".
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    path.write_bytes(content)
    assert "too long" in refusal(sound, path)


def test_rejects_large_files(sound: ModuleType, tmp_path: Path, make_tone) -> None:
    soundfile.write(tmp_path / "large.wav", make_tone(5.0, 440.0, 48_000), 48_000, subtype="DOUBLE")
    assert "has 1.8 MB (limit: 1 MB)" in refusal(sound, tmp_path / "large.wav")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"these are words", "not a sound"),
        (b"RIFF\x00\x00\x00\x00WAVE", "not a sound"),
        (b"\x00\x00\x00\x20ftypM4A " + bytes(64), "not a sound"),
    ],
)
def test_rejects_files_that_are_not_sound(sound: ModuleType, tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    assert reason in refusal(sound, tmp_path / "a.wav")


def test_rejects_empty_files(sound: ModuleType, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "none.wav", np.zeros(0), RATE)
    assert "no sound (0 s)" in refusal(sound, tmp_path / "none.wav")
    assert "no longer stored" in refusal(sound, tmp_path / "gone.wav")


def test_rejects_samples_that_are_not_finite(sound: ModuleType, tmp_path: Path) -> None:
    samples = np.zeros(1000, np.float32)
    samples[10] = np.nan
    soundfile.write(tmp_path / "nan.wav", samples, RATE, subtype="FLOAT")
    assert "not finite" in refusal(sound, tmp_path / "nan.wav")


def test_rejects_invalid_rates(sound: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(100), RATE)
    content = bytearray(path.read_bytes())
    content[24:28] = struct.pack("<I", 3)
    path.write_bytes(content)
    assert "3 Hz" in refusal(sound, path)


def test_detects_silence(sound: ModuleType, make_tone) -> None:
    rng = np.random.default_rng(0)
    assert sound.is_silent(np.zeros(RATE, np.float32))
    assert sound.is_silent(np.zeros(0, np.float32))
    assert sound.is_silent(np.full(RATE, 0.3, np.float32))  # a microphone's constant
    assert sound.is_silent(rng.normal(0, 1e-4, RATE).astype(np.float32))
    assert not sound.is_silent(make_tone(0.1, 440.0, RATE, 0.01))


@pytest.mark.parametrize("rate", [8_000, 48_000])
def test_keeps_only_a_block_of_the_file_in_memory(
    sound: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_tone, rate: int
) -> None:
    soundfile.write(tmp_path / "a.wav", make_tone(3.3, 440.0, rate, 0.5), rate)
    whole = read(sound, tmp_path / "a.wav")
    monkeypatch.setattr(sound, "_BLOCK_SAMPLES", 1000)
    sizes = []
    original = soundfile.SoundFile.read

    def watched(self: Any, *arguments: Any, **options: Any) -> Any:
        block = original(self, *arguments, **options)
        sizes.append(block.size)
        return block

    monkeypatch.setattr(soundfile.SoundFile, "read", watched)
    np.testing.assert_allclose(read(sound, tmp_path / "a.wav"), whole, atol=1e-6)
    assert max(sizes) <= 1000
    assert len(whole) == pytest.approx(3.3 * RATE, abs=2)


def test_limits_samples_over_all_channels(sound: ModuleType, tmp_path: Path) -> None:
    """A small file can contain silence in many channels at a high rate, which takes long to decode."""
    soundfile.write(tmp_path / "many.flac", np.zeros((8 * 96_000, 8), np.int16), 96_000)
    assert "too many samples (96000 Hz, 8 channels)" in refusal(sound, tmp_path / "many.flac", seconds=8)
    soundfile.write(tmp_path / "high.wav", np.zeros(1000, np.int16), 600_000)
    assert "600000 Hz" in refusal(sound, tmp_path / "high.wav")


def test_errors_use_the_file_name_of_the_visitor(sound: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "sound").write_text("words")
    with pytest.raises(sound.SoundError, match=r"^my words\.wav is not a sound"):
        sound.read_sound(tmp_path / "sound", RATE, 10, 1, "my words.wav")
    for path in (tmp_path, "/dev/null", tmp_path / "x" / "y", "\0"):
        with pytest.raises(sound.SoundError, match=r"^it is no longer stored"):
            sound.read_sound(path, RATE, 10, 1, "it")


def test_formats_durations(sound: ModuleType) -> None:
    assert [sound.readable(x) for x in (4.25, 5, 60, 90, 300, 3600, 7200)] == [
        "4.2 seconds",
        "5 seconds",
        "1 minute",
        "1.5 minutes",
        "5 minutes",
        "1 hour",
        "2 hours",
    ]
