"""Container headers: truncated files are rejected, unfinished ones are read to their end."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import soundfile

from hf_speech.data.audio import audio_info, read_audio
from hf_speech.errors import AudioError

RATE = 16_000


def encode(samples: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, **options)
    return file.getvalue()


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * RATE)).astype(np.float32)


FORMATS = [
    *(("WAV", "PCM_16"), ("WAVEX", "PCM_24"), ("RF64", "PCM_16"), ("W64", "FLOAT"), ("AIFF", "PCM_16")),
    *(("AU", "PCM_16"), ("AU", "ULAW"), ("VOC", "PCM_16"), ("SVX", "PCM_16"), ("CAF", "PCM_16"), ("NIST", "PCM_16")),
    *(("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")),
]


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9])
@pytest.mark.parametrize(("container", "coding"), FORMATS, ids=[f"{c}-{s}" for c, s in FORMATS])
def test_rejects_truncated_files_of_any_format(container, coding, keep):
    content = encode(noise(8.0), format=container, subtype=coding)
    assert len(read_audio(content, RATE)) == pytest.approx(8 * RATE, abs=2400)
    with pytest.raises(AudioError, match=r"is (truncated|damaged)"):
        read_audio(content[: int(len(content) * keep)], RATE)


def test_checks_au_files_of_either_byte_order():
    for endian in ("BIG", "LITTLE"):
        content = encode(noise(1.0), format="AU", subtype="PCM_16", endian=endian)
        with pytest.raises(AudioError, match="its header declares 32000 bytes, it holds 31000"):
            read_audio(content[:-1000], RATE)
        unknown = content[:8] + b"\xff\xff\xff\xff" + content[12:]
        assert len(read_audio(unknown, RATE)) == RATE


@pytest.mark.parametrize("container", ["PVF", "MAT5", "PAF", "AVR", "IRCAM"])
def test_reports_files_that_cannot_be_checked(container):
    with pytest.raises(AudioError, match=f"has the format {container}, in which .* convert it to wav or flac"):
        read_audio(encode(noise(0.1), format=container, subtype="PCM_16"), RATE)


def unfinished(content: bytes, riff: int, data: int) -> bytes:
    return content[:4] + struct.pack("<I", riff) + content[8:40] + struct.pack("<I", data) + content[44:]


@pytest.mark.parametrize("data", [0, 2, 32_000, 100_000, 127_998 - 3200])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_U8", "PCM_24"])
def test_reads_an_unfinished_wav_to_its_end(data, subtype):
    samples = noise(4.0)
    content = encode(samples, format="WAV", subtype=subtype)
    whole = read_audio(content, RATE)
    broken = unfinished(content, 36 + data, data * (len(content) - 44) // 128_000 // 6 * 6)
    np.testing.assert_array_equal(read_audio(broken, RATE), whole)
    assert audio_info(broken).duration == pytest.approx(4.0)


@pytest.mark.parametrize(
    "rest",
    [
        b"TAG" + b"x" * 20_000,
        b"ID3\x04" + b"x" * 20_000,
        b"LIST" + struct.pack("<I", 20_000) + bytes(range(1, 251)) * 80,
        bytes(20_000),
        np.arange(700, dtype="<i2").tobytes(),  # 44 ms: too little to be told from damage
    ],
    ids=["tag", "id3", "chunk", "zeros", "few"],
)
def test_does_not_read_chunks_after_the_samples(rest):
    content = encode(noise(1.0), format="WAV", subtype="PCM_16")
    assert len(read_audio(content + rest, RATE)) == RATE


def variable_mp3(*parts: np.ndarray) -> tuple[bytes, int]:
    """Returns an MP3 of variable bit rate, and the position of the frame after its Xing header."""
    file = io.BytesIO()
    options = {"format": "MP3", "bitrate_mode": "VARIABLE", "compression_level": 0.5}
    with soundfile.SoundFile(file, "w", RATE, 1, **options) as sound:
        sound.write(np.concatenate(parts))
    content = file.getvalue()
    return content, content.find(b"\xff\xf3", 4)


@pytest.mark.parametrize("rest", [b"L", b"LIST", b"LIST\0\0\0", b"\0LIST\0\0\0"])
def test_reads_a_wav_that_ends_within_the_header_of_a_chunk(rest):
    """Its format claims so few bytes per second that the last bytes are long enough to be samples."""
    content = encode(noise(1.0), format="WAV", subtype="PCM_16")
    content = content[:28] + struct.pack("<I", 0) + content[32:]
    assert RATE <= len(read_audio(content + rest, RATE)) <= RATE + len(rest)


@pytest.mark.parametrize("order", ["loud first", "quiet first", "turns"])
@pytest.mark.parametrize("tag", [b"", b"ID3\x04\0\0\0\0\x01\x00" + bytes(128)], ids=["bare", "ID3"])
def test_reads_an_mp3_without_a_length_header(order, tag):
    loud, quiet = 3 * noise(10.0), np.zeros(10 * RATE, np.float32)
    parts = {"loud first": (loud, quiet), "quiet first": (quiet, loud), "turns": (loud, quiet, loud)}[order]
    content, second = variable_mp3(*parts)
    stream = tag + content[second:]
    samples = read_audio(stream, RATE)
    assert len(samples) / RATE == pytest.approx(sum(map(len, parts)) / RATE, abs=0.2)
    assert audio_info(stream).duration == pytest.approx(len(samples) / RATE, abs=0.15)
    if order != "quiet first":
        # The decoder delays a stream, whose encoder does not tell the delay, by less than a tenth of a second.
        whole = read_audio(content, RATE)
        assert max(np.corrcoef(whole[:RATE], samples[d : d + RATE])[0, 1] for d in range(2400)) > 0.99


def test_a_constant_rate_mp3_needs_no_length_header():
    content = encode(noise(10.0), format="MP3", bitrate_mode="CONSTANT")
    bare = content[content.find(b"\xff\xf3", 4) :]
    assert len(read_audio(bare, RATE)) / RATE == pytest.approx(10.0, abs=0.2)


@pytest.mark.parametrize("factor", [-1.0, -0.98, -1.01])
@pytest.mark.parametrize("channels", [2, 4])
def test_rejects_channels_that_cancel_out(tmp_path, factor, channels):
    samples = noise(2.0)
    pair = np.stack([samples, factor * samples] * (channels // 2), axis=1)
    soundfile.write(tmp_path / "pair.wav", pair, RATE, subtype="FLOAT")
    for source in (tmp_path / "pair.wav", {"array": pair, "sampling_rate": RATE}):
        with pytest.raises(AudioError, match=r"channels that cancel each other out.*: keep one of them, or invert"):
            read_audio(source, RATE)


def test_averages_unrelated_channels():
    stereo = np.stack([noise(1.0, 1), noise(1.0, 2)], axis=1)
    many = np.stack([noise(1.0, seed) for seed in range(64)], axis=1)
    for array in (stereo, many, np.zeros((RATE, 2), np.float32), stereo * (1.0, -0.5)):
        assert len(read_audio({"array": array, "sampling_rate": RATE}, RATE)) == RATE


@pytest.mark.parametrize("scale", [128.0, 32_768.0, 2.0**31])
def test_rejects_unscaled_integers_as_floats(tmp_path, scale):
    soundfile.write(tmp_path / "a.wav", 8 * noise(0.5) * scale, RATE, subtype="FLOAT")
    for source in (tmp_path / "a.wav", {"array": 8 * noise(0.5) * scale, "sampling_rate": RATE}):
        with pytest.raises(AudioError, match=r"is not scaled: its samples reach .*, where full scale is 1; divide"):
            read_audio(source, RATE)


def test_reads_floats_that_exceed_full_scale():
    samples = 20 * noise(0.5)
    np.testing.assert_array_equal(read_audio({"array": samples, "sampling_rate": RATE}, RATE), samples)


def test_decoding_stops_at_the_limit(monkeypatch):
    from hf_speech.data import audio

    monkeypatch.setattr(audio, "BLOCK_SAMPLES", RATE)
    content = encode(np.zeros(60 * RATE, np.float32), format="FLAC")
    with pytest.raises(AudioError, match=r"lasts more than 10 s, the maximum length of an utterance"):
        read_audio(content, RATE, max_seconds=10)
    assert len(read_audio(content, RATE, max_seconds=60)) == 60 * RATE


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_blocks_equal_the_whole_file(rate):
    from hf_speech.data.audio import read_blocks

    content = encode(noise(7.3), format="WAV", subtype="PCM_16")
    blocks = list(read_blocks(content, rate, seconds=0.5))
    assert len(blocks) > 10
    np.testing.assert_array_equal(np.concatenate(blocks), read_audio(content, rate))
