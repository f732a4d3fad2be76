"""Any sound a visitor brings becomes mono float32 samples at the model's rate, or one sentence.

soundfile (libsndfile) decodes files: wav, flac, ogg, opus, mp3, aiff, au, caf and more, without FFmpeg. What is too
large or too long is refused by its size and header, before it is decoded; as headers can lie, decoding stops at the
limit, too.

This file is the same in every Space of hf_speech; a test holds the copies equal.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
import soxr

# Outside these a "sampling rate" is a mistake.
LOWEST_RATE, HIGHEST_RATE = 1_000, 768_000
MOST_CHANNELS = 64
# Quieter than this (-60 dB of full scale) at its loudest, a recording holds nothing to be recognized.
SILENCE = 1e-3
_BLOCK_FRAMES = 1 << 18


class SoundError(ValueError):
    """A sound that cannot be used: one sentence that names it and the remedy."""


def read_sound(path: str | Path, rate: int, max_seconds: float, max_megabytes: float) -> np.ndarray:
    """Reads a sound file.

    Args:
        path: The file.
        rate: The wanted sampling rate in Hz.
        max_seconds: The longest sound that is taken.
        max_megabytes: The largest file that is taken.

    Returns:
        Float32 samples `(samples,)`, mono, finite and not empty.

    Raises:
        SoundError: If the file is missing, empty, too large or too long, or no sound that libsndfile reads.
    """
    path = Path(path)
    name = path.name
    if not path.is_file():
        raise SoundError(f"{name} is no longer here, for sounds are erased after a while: give it once more.")
    size = path.stat().st_size
    if size == 0:
        raise SoundError(f"{name} is an empty file: record it again.")
    if size > max_megabytes * 2**20:
        raise SoundError(
            f"{name} is {size / 2**20:.1f} MB large, and {max_megabytes:g} MB is the most: give a part of it."
        )
    try:
        with soundfile.SoundFile(path) as sound:
            samples, original_rate = _decode(sound, name, max_seconds), sound.samplerate
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError: headerless, named .raw
        raise SoundError(
            f"{name} is not a sound that can be read here: give wav, flac, ogg, opus, mp3 or aiff."
        ) from error
    if not len(samples):
        raise SoundError(f"{name} holds no sound (0 s): record it again.")
    if not np.isfinite(samples).all():
        raise SoundError(f"{name} has samples that are not numbers: record it again.")
    samples = samples if original_rate == rate else soxr.resample(samples, original_rate, rate, quality="HQ")
    if not len(samples):
        raise SoundError(f"{name} is too short to hold a sound: record it again.")
    return samples


def is_silent(samples: np.ndarray) -> bool:
    """Whether samples `(samples,)` hold nothing to be recognized, as of a microphone that is switched off."""
    # Around their mean: a cheap microphone adds a constant.
    return not len(samples) or float(np.abs(samples - samples.mean()).max()) < SILENCE


def to_mono(samples: np.ndarray) -> np.ndarray:
    """Decoded samples of any shape and type as mono float32 `(samples,)`.

    Args:
        samples: `(samples,)`, `(samples, channels)` or `(channels, samples)`, floats or integers of 8, 16 or 32 bits.

    Raises:
        SoundError: If they are no samples.
    """
    array = np.asarray(samples)
    if array.ndim == 2:
        channels = 0 if array.shape[0] < array.shape[1] and array.shape[0] <= MOST_CHANNELS else 1
        array = _to_float(array).mean(axis=channels)
    elif array.ndim != 1:
        raise SoundError(
            f"A sound has one or two dimensions, and this one has {array.ndim}: give samples and channels."
        )
    return np.ascontiguousarray(_to_float(array), dtype=np.float32)


def _to_float(array: np.ndarray) -> np.ndarray:
    """Integers scaled by their full scale; 8-bit samples are centered on 128."""
    if array.dtype.kind == "f":
        return array
    if array.dtype == np.uint8:
        return (array.astype(np.float32) - 128) / 128
    if array.dtype in (np.int8, np.int16, np.int32):
        return array.astype(np.float32) / -float(np.iinfo(array.dtype).min)
    raise SoundError(f"Samples of type {array.dtype} have no known full scale: give float32 or int16.")


def _decode(sound: soundfile.SoundFile, name: str, max_seconds: float) -> np.ndarray:
    """The samples of an open file, its channels averaged, read by blocks up to the limit."""
    rate, limit = sound.samplerate, max_seconds * sound.samplerate
    if not LOWEST_RATE <= rate <= HIGHEST_RATE or sound.channels > MOST_CHANNELS:
        raise SoundError(f"{name} says it has {rate} Hz and {sound.channels} channels: give an ordinary recording.")
    unknown_length = sound.frames > 1 << 40  # libsndfile says 2**63 - 1 of a stream that does not know its length
    if unknown_length:
        sound.seekable = lambda: False  # soundfile seeks after each read, which fails at an unknown end
    elif sound.frames > limit:
        raise SoundError(_too_long(name, sound.frames / rate, max_seconds))
    blocks, frames = [], 0
    while len(block := sound.read(_BLOCK_FRAMES, dtype="float32", always_2d=True)):
        frames += len(block)
        if frames > limit:
            raise SoundError(_too_long(name, None, max_seconds))
        blocks.append(block.mean(axis=1))
    return np.concatenate(blocks) if blocks else np.zeros(0, dtype=np.float32)


def _too_long(name: str, seconds: float | None, max_seconds: float) -> str:
    length = "too long" if seconds is None else f"{readable(seconds)} long"
    return f"{name} is {length}, and {readable(max_seconds)} is the most: give a part of it."


def readable(seconds: float) -> str:
    """A duration as a person says it: "4.2 seconds", "5 minutes", "2 hours"."""
    for unit, length in (("hour", 3600), ("minute", 60)):
        if seconds >= length:
            number = f"{seconds / length:.1f}".removesuffix(".0")
            return f"{number} {unit}{'' if number == '1' else 's'}"
    return f"{seconds:.1f}".removesuffix(".0") + " seconds"
