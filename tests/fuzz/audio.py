"""Damaged sound files in all formats of libsndfile, with extreme header fields or random bytes."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from random import Random

import numpy as np
import soundfile

from fuzz.mutations import EXTREME_INTEGERS, integer_bytes, mutate_bytes
from hf_speech.data.audio import audio_info, read_audio
from hf_speech.errors import AudioError
from hf_speech.inference import load_model, transcribe_files

LONG_SECONDS, SHORT_SECONDS = 21.0, 0.4
"""What is longer than 20 s is read by blocks."""

FORMATS = (
    *(("WAV", coding) for coding in ("PCM_16", "PCM_16", "PCM_U8", "PCM_24", "FLOAT", "ULAW", "IMA_ADPCM", "GSM610")),
    *(("WAVEX", "PCM_16"), ("RF64", "PCM_16"), ("W64", "PCM_16"), ("AIFF", "PCM_16"), ("AU", "PCM_16")),
    *(("CAF", "ALAC_16"), ("NIST", "PCM_16"), ("NIST", "PCM_16"), ("NIST", "ULAW"), ("VOC", "PCM_16")),
    *(("FLAC", "PCM_16"), ("FLAC", "PCM_16"), ("FLAC", "PCM_24"), ("OGG", "VORBIS"), ("OGG", "VORBIS")),
    *(("OGG", "OPUS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"), ("MP3", "MPEG_LAYER_III")),
)
LONG_FORMATS = (("WAV", "PCM_U8"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III"), ("NIST", "ULAW"))

# Where numbers stand: (first byte, bytes), and their order.
WAV_FIELDS = ((4, 4), (16, 4), (20, 2), (22, 2), (24, 4), (28, 4), (32, 2), (34, 2), (40, 4))
AIFF_FIELDS = ((4, 4), (16, 4), (20, 2), (22, 4), (26, 2), (28, 2), (42, 4), (46, 4))
AU_FIELDS = ((4, 4), (8, 4), (12, 4), (16, 4), (20, 4))
# Of a flac's STREAMINFO: block sizes, frame sizes; rate, channels, bits and the number of samples share eight bytes.
FLAC_FIELDS = ((5, 3), (8, 2), (10, 2), (12, 3), (15, 3), (18, 8), (18, 3), (20, 2), (22, 4))
OGG_FIELDS = ((5, 1), (6, 8), (14, 4), (18, 4), (26, 1), (27, 1), (28, 16), (35, 4), (39, 1), (40, 4), (44, 4), (56, 1))
SPHERE_FIELDS = ("1024", "sample_count", "channel_count", "sample_rate", "sample_n_bytes", "sample_sig_bits")


class Audio:
    """Cases with damaged sounds.

    Args:
        models: A folder with the model folder `recognizer` of `folders.make_models`.

    Attributes:
        declared: The only error that may reject a sound.
    """

    declared = AudioError

    def __init__(self, models: Path) -> None:
        self.folder = models
        self.recognizer = load_model(models / "recognizer", device="cpu")
        self.short = [make_sound(*kind, SHORT_SECONDS, channels) for kind in FORMATS for channels in (1, 2)]
        self.long = [make_sound(*kind, LONG_SECONDS, 1) for kind in LONG_FORMATS]

    def run(self, rng: Random) -> None:
        """Runs a case: inspects a damaged file, reads it from memory, and transcribes it from disk.

        Raises:
            AudioError: If it is rejected.
        """
        content = self.damage(rng)
        path = self.folder / f"sound{rng.choice(('.wav', '.flac', '.mp3', '.raw', ''))}"
        path.write_bytes(content)
        refusals = []
        try:
            info = audio_info(path)
            assert info.duration >= 0
            assert info.channels >= 1
        except AudioError as error:
            refusals.append(error)
        try:
            samples = read_audio({"bytes": content, "path": None}, self.recognizer.sampling_rate)
            assert samples.ndim == 1
            assert samples.dtype == np.float32
            assert samples.size
            assert np.isfinite(samples).all()
        except AudioError as error:
            refusals.append(error)
        (transcript,) = transcribe_files(self.recognizer, [str(path)], progress=False)
        if transcript.error is not None:
            refusals.append(AudioError(transcript.error))
        else:
            transcript.format("json")
        if refusals:
            raise refusals[-1]

    def damage(self, rng: Random) -> bytes:
        """Makes a damaged file."""
        content = rng.choice(self.short if rng.random() < 0.9 else self.long)
        if rng.random() < 0.4:
            content = damage_header(content, rng)
        if rng.random() < 0.7:
            content = mutate_bytes(content, rng)
        if rng.random() < 0.05:  # Two files in one.
            other = rng.choice(self.short)
            content = content[: rng.randrange(len(content) + 1)] + other[rng.randrange(len(other)) :]
        return with_checksums(content) if content[:4] == b"OggS" and rng.random() < 0.7 else content


def make_sound(container: str, coding: str, seconds: float, channels: int) -> bytes:
    """Returns the bytes of a sound file with a rising tone at 8 kHz."""
    time = np.arange(round(seconds * 8000)) / 8000
    tone = 0.3 * np.sin(2 * np.pi * (300 + 50 * time) * time).astype(np.float32)
    if coding == "GSM610":
        channels = 1
    stream = io.BytesIO()
    soundfile.write(stream, np.tile(tone[:, None], (1, channels)), 8000, subtype=coding, format=container)
    return stream.getvalue()


def damage_header(content: bytes, rng: Random) -> bytes:
    """Sets one to three fields of the header to extreme values."""
    data, order, fields = bytearray(content), "big", ((0, 4), (4, 4), (8, 4))
    if content[:8] == b"NIST_1A\n":
        return _damage_sphere(content, rng)
    if content[:4] in (b"RIFF", b"RF64"):
        order, fields = "little", WAV_FIELDS
    elif content[:4] == b"OggS":
        order, fields = "little", OGG_FIELDS
    elif content[:4] == b"fLaC":
        fields = FLAC_FIELDS
    elif content[:4] == b"FORM":
        fields = AIFF_FIELDS
    elif content[:4] == b".snd":
        fields = AU_FIELDS
    for start, size in rng.sample(fields, rng.randint(1, 3)):
        value = rng.choice(EXTREME_INTEGERS) if rng.random() < 0.8 else rng.getrandbits(8 * size)
        data[start : start + size] = integer_bytes(value, size, order)
    return bytes(data)


def _damage_sphere(content: bytes, rng: Random) -> bytes:
    """Changes or removes a number in a SPHERE header, which is text."""
    field = rng.choice(SPHERE_FIELDS).encode()
    value = rng.choice((*map(str, EXTREME_INTEGERS), "1e9", "", "9" * 400, "nan", "-5")).encode()
    lines = content[:1024].split(b"\n")
    for index, line in enumerate(lines):
        if line.strip().startswith(field):
            parts = line.split(b" ")
            lines[index] = b" ".join([*parts[:2], value]) if len(parts) > 2 else value
    return b"\n".join(lines)[:1024].ljust(1024) + content[1024:]


def with_checksums(content: bytes) -> bytes:
    """Returns a damaged Ogg stream with correct checksums, so that it is decoded."""
    data, start = bytearray(content), 0
    while data[start : start + 4] == b"OggS" and len(data) >= start + 27:
        body = start + 27 + data[start + 26]
        end = body + sum(data[start + 27 : body])
        data[start + 22 : start + 26] = bytes(4)
        data[start + 22 : start + 26] = struct.pack("<I", _ogg_checksum(data[start:end]))
        start = end
    return bytes(data)


def _checksum_table() -> list[int]:
    table = []
    for byte in range(256):
        remainder = byte << 24
        for _ in range(8):
            remainder = (remainder << 1 ^ (0x04C11DB7 if remainder & 0x80000000 else 0)) & 0xFFFFFFFF
        table.append(remainder)
    return table


CHECKSUMS = _checksum_table()


def _ogg_checksum(page: bytes) -> int:
    """Returns the CRC-32 of RFC 3533: polynomial 0x04C11DB7, initial value 0, not reflected."""
    checksum = 0
    for byte in page:
        checksum = (checksum << 8 & 0xFFFFFFFF) ^ CHECKSUMS[checksum >> 24 ^ byte]
    return checksum
