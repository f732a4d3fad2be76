"""Reads audio as float32 mono at a given rate, or raises a one-sentence error.

Decisions:
- soundfile (libsndfile) decodes wav, flac, ogg, opus, mp3 and NIST SPHERE without FFmpeg. torchcodec, if installed,
  decodes files that libsndfile does not recognize.
- Truncated files, which have fewer samples than their header declares, raise an error.
- Audio is decoded, averaged and resampled block by block. Memory is allocated for the mono samples at the requested
  rate, never for the size that a header declares.
- Channels are averaged, integers are scaled by their full scale, and soxr resamples at high quality. Channels that
  cancel each other out and floats outside the valid scale raise an error, since such data is not what was recorded.
"""

from __future__ import annotations

import functools
import importlib
import io
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile
import soxr

from hf_speech.common.text import counted, one_line
from hf_speech.data.headers import BadAudio, check_header, describe_unknown
from hf_speech.data.mixing import Mixer
from hf_speech.data.streams import SteadyStream

# A path, the bytes of an audio file, a row {"path", "bytes"}, or decoded {"array", "sampling_rate"}.
AudioSource = str | os.PathLike[str] | bytes | Mapping[str, Any]

# A "sampling rate" outside this range is a mistake (a duration, a frame rate, a sample count).
MIN_RATE, MAX_RATE = 1_000, 768_000

MAX_CHANNELS = 64

# In all channels together: 18 hours of mono at 16 kHz. A megabyte of compressed silence can contain that much.
MAX_SAMPLES = 1 << 30

BLOCK_SAMPLES = 1 << 20
# libsndfile silently reads truncated files of these formats, and `headers` does not check them.
_UNCHECKED_FORMATS = ("AVR", "IRCAM", "MAT4", "MAT5", "MPC2K", "PAF", "PVF", "WVE", "XI")
_MP3_OVERLAP = 2304  # mp3 frames of 1152 samples overlap, so a complete file may be short of one or two frames
_UNKNOWN_FRAMES = 1 << 40  # libsndfile reports 2**63 - 1 frames for a flac stream of undeclared length


@dataclass(frozen=True)
class AudioInfo:
    """Header information of a recording.

    Attributes:
        duration: Length in seconds.
        sampling_rate: Sampling rate in Hz.
        channels: Number of channels.
        format: Container and encoding, such as "WAV PCM_16", or "array".
    """

    duration: float
    sampling_rate: int
    channels: int
    format: str


def read_audio(source: AudioSource, sampling_rate: int, max_seconds: float | None = None) -> np.ndarray:
    """Reads audio as mono samples at a given rate.

    Args:
        source: A path, the bytes of an audio file, a row `{"path", "bytes"}`, or decoded samples
            `{"array", "sampling_rate"}` (or "raw" for "array"). The array is `(samples,)`, `(channels, samples)` or
            `(samples, channels)`, floating point or 8/16/32-bit integers.
        sampling_rate: Sampling rate of the result in Hz.
        max_seconds: Maximum length. Decoding of a longer recording stops with an error, to save memory.

    Returns:
        Float32 array `(samples,)`, finite and not empty. Integers at full scale become -1 and 1.

    Raises:
        BadAudio: If the recording is missing, empty, truncated, unreadable, not finite, not scaled or too long.
    """
    blocks, count = [], 0
    for block in read_blocks(source, sampling_rate):
        blocks.append(block)
        count += len(block)
        if max_seconds is not None and count > max_seconds * sampling_rate:
            raise BadAudio(
                f"{source_name(source)} lasts more than {max_seconds:,.0f} s, the maximum length of an utterance: cut "
                "it into utterances.",
                "too long",
            )
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def read_blocks(source: AudioSource, sampling_rate: int, seconds: float | None = None) -> Iterator[np.ndarray]:
    """Yields the samples that `read_audio` would return, in blocks `(samples,)`.

    Raises:
        BadAudio: As in `read_audio`. Some errors, such as truncation, are raised only after the last block.
    """
    _check_rate(sampling_rate, "the requested audio")
    mixer = Mixer(source_name(source))
    given = yielded = 0
    resampler: Any = None
    for channels, rate in _decode(source, seconds):
        if rate != sampling_rate and resampler is None:
            resampler = soxr.ResampleStream(rate, sampling_rate, 1, dtype="float32", quality="HQ")
        given += len(channels)
        mono = mixer.mix(channels)
        block = mono if resampler is None else resampler.resample_chunk(mono)
        if len(block):
            yielded += len(block)
            yield block
    mixer.check_whole()
    if given == 0:
        raise BadAudio(f"{mixer.name} holds no samples (0 s): record or download it again.", "empty")
    if resampler is not None and len(block := resampler.resample_chunk(np.zeros(0, np.float32), last=True)):
        yielded += len(block)
        yield block
    if yielded == 0:
        samples = counted(given, "sample makes", "samples make")
        raise BadAudio(f"{mixer.name} is too short: its {samples} less than one at {sampling_rate} Hz.", "too short")


def audio_info(source: AudioSource) -> AudioInfo:
    """Reads the header of a recording, without decoding its samples where possible.

    Args:
        source: As for `read_audio`.

    Raises:
        BadAudio: If the recording is missing, empty, shorter than its header declares, or of an unknown format.
    """
    if _is_decoded(source):
        samples, rate = _from_mapping(source)
        return AudioInfo(len(samples) / rate, rate, samples.shape[1], "array")
    stream, name = _open(source)
    with stream:
        try:
            with soundfile.SoundFile(SteadyStream(check_header(stream, name))) as sound:
                _check_sound(sound, name)
                rate, frames = sound.samplerate, sound.frames
                if frames > _UNKNOWN_FRAMES:
                    frames = sum(len(block) for block in _blocks(sound, BLOCK_SAMPLES))
                return AudioInfo(frames / rate, rate, sound.channels, f"{sound.format} {sound.subtype}")
        except (soundfile.SoundFileError, TypeError) as error:
            samples, rate = _decode_unrecognized(stream, name, error)
            return AudioInfo(len(samples) / rate, rate, samples.shape[1], "FFmpeg")


def resample(samples: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    """Changes the sampling rate with soxr's high-quality resampler.

    Args:
        samples: Float array `(samples,)`.
        from_rate: Sampling rate of `samples` in Hz.
        to_rate: Sampling rate of the result in Hz.

    Returns:
        Float32 array of about `len(samples) * to_rate / from_rate` samples.
    """
    samples = np.ascontiguousarray(samples, dtype=np.float32)
    return samples if from_rate == to_rate else soxr.resample(samples, from_rate, to_rate, quality="HQ")


def source_name(source: AudioSource) -> str:
    """Returns the name of a source for messages: its path, or a description."""
    if isinstance(source, Mapping):
        if source.get("path"):
            return one_line(str(source["path"]))
        return "the array" if _is_decoded(source) else f"a sound of {counted(len(source.get('bytes') or b''), 'byte')}"
    if isinstance(source, bytes | bytearray | memoryview):
        return f"a sound of {counted(len(source), 'byte')}"
    return one_line(os.fsdecode(source)) if isinstance(source, str | os.PathLike) else f"a {type(source).__name__}"


def _is_decoded(source: AudioSource) -> bool:
    return isinstance(source, Mapping) and ("array" in source or "raw" in source)


def _decode(source: AudioSource, seconds: float | None) -> Iterator[tuple[np.ndarray, int]]:
    """Decodes any source, and yields blocks of float32 `(samples, channels)`, each with the rate in Hz."""
    if _is_decoded(source):
        yield _from_mapping(source)
        return
    stream, name = _open(source)
    with stream:
        try:
            sound = soundfile.SoundFile(SteadyStream(check_header(stream, name)))
        except (soundfile.SoundFileError, TypeError) as error:  # TypeError: headerless, named .raw
            yield _decode_unrecognized(stream, name, error)
            return
        with sound:
            _check_sound(sound, name)
            rate, count = sound.samplerate, 0
            size = BLOCK_SAMPLES if seconds is None else min(BLOCK_SAMPLES, round(seconds * rate) * sound.channels)
            try:
                for block in _blocks(sound, size):
                    count += len(block)
                    if count * sound.channels > MAX_SAMPLES:
                        raise BadAudio(
                            f"{name} holds more than {MAX_SAMPLES:,} samples: cut it into shorter recordings."
                        )
                    yield block, rate
            except soundfile.SoundFileError as error:
                raise BadAudio(f"{name} is damaged ({_reason(error)}): get it again.") from error
            if count < sound.frames - _MP3_OVERLAP and sound.frames < _UNKNOWN_FRAMES:
                raise BadAudio(
                    f"{name} is truncated: its header declares {sound.frames} samples, it holds {count}; get it again.",
                    "truncated",
                )


def _check_sound(sound: soundfile.SoundFile, name: str) -> None:
    """Raises `BadAudio` for an invalid rate, number of channels or format before memory is allocated."""
    if sound.format in _UNCHECKED_FORMATS:
        raise BadAudio(
            f"{name} has the format {sound.format}, in which truncated files cannot be detected: convert it to wav or "
            "flac."
        )
    _check_rate(sound.samplerate, name)
    if sound.channels > MAX_CHANNELS:
        raise BadAudio(f"{name} has {sound.channels} channels: give at most {MAX_CHANNELS}.")


def _blocks(sound: soundfile.SoundFile, size: int) -> Iterator[np.ndarray]:
    """Yields blocks `(samples, channels)` of at most `size` values, since the header's count may be wrong."""
    if sound.frames > _UNKNOWN_FRAMES:
        sound.seekable = lambda: False  # soundfile seeks after each read, which fails for an unknown length
    frames = max(1, size // sound.channels)
    while True:
        block = sound.read(frames, dtype="float32", always_2d=True)
        yield block
        if len(block) < frames:
            return


def _open(source: AudioSource) -> tuple[BinaryIO, str]:
    """Opens a path, bytes, or a row of the `audio` column, and returns the stream and its name for messages."""
    name = source_name(source)
    content: Any = source
    if isinstance(source, Mapping):
        content = source.get("path") if source.get("bytes") is None else source["bytes"]
        if content is None:
            raise BadAudio(
                "a row of audio needs 'path', 'bytes', or 'array' with 'sampling_rate', but has "
                f"{', '.join(map(repr, source)) or 'nothing'}."
            )
    if isinstance(content, bytes | bytearray | memoryview):
        return io.BytesIO(content), name
    if not isinstance(content, str | os.PathLike):
        raise BadAudio(
            f"{name} is not a source of audio: give a path, the bytes of an audio file, or a dictionary with "
            "'array' and 'sampling_rate'."
        )
    try:
        path = Path(content)
        return io.BytesIO(path.read_bytes()) if path.is_fifo() else path.open("rb"), name
    except FileNotFoundError:
        raise BadAudio(f"{name} does not exist: check the path.", "missing") from None
    except IsADirectoryError:
        raise BadAudio(f"{name} is a folder: give an audio file.", "missing") from None
    except (OSError, ValueError) as error:
        raise BadAudio(f"{name} cannot be opened: {error}.", "missing") from error


def _from_mapping(source: Any) -> tuple[np.ndarray, int]:
    """Returns float32 `(samples, channels)` and the rate in Hz of `{"array" or "raw", "sampling_rate"}`."""
    name = source_name(source)
    rate = source.get("sampling_rate")
    if rate is None:
        raise BadAudio(f"{name} has no 'sampling_rate': add it, in Hz, next to 'array'.")
    rate = _check_rate(rate, name)
    array = source["array"] if "array" in source else source["raw"]
    if hasattr(array, "detach"):  # a torch tensor, which may require gradients or be on an accelerator
        array = array.detach().cpu()
    try:
        array = np.asarray(array)
    except ValueError as error:  # a ragged list
        raise BadAudio(f"{name} is not an array of numbers: give one list of samples per channel.") from error
    if array.ndim not in (1, 2):
        expected = "(samples,), (channels, samples) or (samples, channels)"
        raise BadAudio(f"{name} has {array.ndim} dimensions {array.shape}: give {expected}.")
    if array.ndim == 1:
        array = array[:, None]
    elif array.shape[0] < array.shape[1]:  # the shorter axis is that of the channels
        array = array.T
    if array.shape[1] > MAX_CHANNELS:
        raise BadAudio(f"{name} has {array.shape[1]} channels: give samples, not a spectrogram.")
    return _to_float32(array, name), rate


def _to_float32(array: np.ndarray, name: str) -> np.ndarray:
    """Scales integers by their full scale; raises `BadAudio` for other data types."""
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    if array.dtype == np.uint8:  # unsigned 8-bit audio is centered on 128
        return ((array.astype(np.float32) - 128) / 128).astype(np.float32)
    if array.dtype in (np.int8, np.int16, np.int32):
        return (array / -float(np.iinfo(array.dtype).min)).astype(np.float32)
    raise BadAudio(f"{name} holds {array.dtype} values, whose full scale is unknown: give float32 in [-1, 1] or int16.")


def _check_rate(rate: Any, name: str) -> int:
    """Returns a sampling rate as an int; raises `BadAudio` if it is invalid."""
    number = isinstance(rate, int | float | np.integer | np.floating) and not isinstance(rate, bool)
    if not number or rate != rate or rate in (float("inf"), float("-inf")) or int(rate) != rate:
        raise BadAudio(f"{name} has the sampling rate {rate!r}: give a whole number of Hz, such as 16000.")
    if not MIN_RATE <= rate <= MAX_RATE:
        raise BadAudio(
            f"{name} has a sampling rate of {int(rate)} Hz, outside {MIN_RATE} to {MAX_RATE} Hz: "
            "give the correct rate, such as 16000."
        )
    return int(rate)


@functools.cache
def _ffmpeg_decoder() -> Any:
    """Returns the class torchcodec.decoders.AudioDecoder, or None if torchcodec or FFmpeg is missing."""
    try:
        return importlib.import_module("torchcodec.decoders").AudioDecoder
    except (ImportError, OSError, RuntimeError):  # RuntimeError: FFmpeg is missing
        return None


def _decode_unrecognized(stream: BinaryIO, name: str, error: Exception) -> tuple[np.ndarray, int]:
    """Decodes a format unknown to libsndfile with torchcodec: float32 `(samples, channels)` and rate in Hz."""
    if "malformed" in str(error):
        raise BadAudio(f"{name} is damaged ({_reason(error)}): get it again.") from error
    decoder = _ffmpeg_decoder()
    if decoder is not None:
        stream.seek(0)
        try:
            decoded = decoder(stream.read()).get_all_samples()
        except (RuntimeError, ValueError):
            pass  # unknown to FFmpeg, too
        else:
            return decoded.data.numpy().T, _check_rate(decoded.sample_rate, name)
    raise BadAudio(f"{name} is {describe_unknown(stream)}.") from error


def _reason(error: Exception) -> str:
    """Returns libsndfile's message without the name of the stream object."""
    return str(error).rsplit(": ", 1)[-1].rstrip(". ").lower()
