"""Reads uploaded sounds as mono float32 samples at the model's rate.

soundfile (libsndfile) decodes files: wav, flac, ogg, opus, mp3, aiff, au, caf and more, without FFmpeg. Files that are
too large or too long by their header are rejected before decoding. Because headers can be wrong, files are decoded and
resampled in blocks, and decoding stops at the limit of seconds or of samples over all channels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
import soxr

from hf_speech.data.mixing import Mixer
from hf_speech.errors import AudioError

# Rates outside this range are errors or attacks.
LOWEST_RATE, HIGHEST_RATE = 1_000, 384_000
MAX_CHANNELS = 64
# A recording without a sample above this (-60 dB of full scale) is silent.
SILENCE = 1e-3
_BLOCK_SAMPLES = 1 << 20
# Samples per second over all channels: eight channels at 48 kHz.
_MAX_SAMPLES_PER_SECOND = 8 * 48_000
_UNKNOWN_FRAMES = 1 << 40  # libsndfile returns 2**63 - 1 for a stream of unknown length


class SoundError(ValueError):
    """Raised if a sound cannot be used; the message is one sentence with its name and the remedy."""


def read_sound(
    path: str | Path, rate: int, max_seconds: float, max_megabytes: float, name: str | None = None
) -> np.ndarray:
    """Reads a sound file.

    Args:
        path: The file.
        rate: The sampling rate to convert to, in Hz.
        max_seconds: Maximal duration of the sound.
        max_megabytes: Maximal size of the file.
        name: The name of the file in error messages.

    Returns:
        Float32 samples `(samples,)`, mono, finite and not empty.

    Raises:
        SoundError: If the file is missing, empty, too large, too long, or in a format that libsndfile cannot read.
    """
    path = Path(path)
    name = name or path.name
    try:
        size = path.stat().st_size
        is_file = path.is_file()
    except (OSError, ValueError):
        is_file = False
    if not is_file:
        raise SoundError(f"{name} is no longer stored, because sounds are erased after a while: upload it again.")
    if size == 0:
        raise SoundError(f"{name} is an empty file: record it again.")
    if size > max_megabytes * 2**20:
        raise SoundError(f"{name} has {size / 2**20:.1f} MB (limit: {max_megabytes:g} MB): upload a part of it.")
    try:
        with soundfile.SoundFile(path) as sound:
            samples = _decode(sound, rate, name, max_seconds)
    except AudioError as error:
        raise SoundError(str(error)) from error
    except (soundfile.SoundFileError, TypeError) as error:  # TypeError for .raw files, which have no header
        raise SoundError(
            f"{name} is not a sound in a supported format: use wav, flac, ogg, opus, mp3 or aiff."
        ) from error
    if not len(samples):
        raise SoundError(f"{name} contains no sound (0 s): record it again.")
    return samples


def is_silent(samples: np.ndarray) -> bool:
    """Returns whether samples `(samples,)` are silent, as from a microphone that is switched off."""
    # The mean is subtracted because cheap microphones add a constant.
    return not len(samples) or float(np.abs(samples - samples.mean()).max()) < SILENCE


def _decode(sound: soundfile.SoundFile, rate: int, name: str, max_seconds: float) -> np.ndarray:
    """Returns the samples of an open file at a rate, with its channels averaged."""
    original, channels = sound.samplerate, sound.channels
    if not LOWEST_RATE <= original <= HIGHEST_RATE or channels > MAX_CHANNELS:
        raise SoundError(f"{name} has {original} Hz and {channels} channels: upload an ordinary recording.")
    if sound.frames > _UNKNOWN_FRAMES:
        sound.seekable = lambda: False  # soundfile seeks after each read, which fails if the end is unknown
    elif sound.frames > max_seconds * original:
        raise SoundError(_too_long(name, sound.frames / original, max_seconds))
    size = max(1, _BLOCK_SAMPLES // channels)
    stream = soxr.ResampleStream(original, rate, 1, dtype="float32", quality="HQ")
    mixer, pieces, frames = Mixer(name), [], 0
    while True:
        block = mixer.mix(sound.read(size, dtype="float32", always_2d=True))
        frames += len(block)
        if frames > max_seconds * original:
            raise SoundError(_too_long(name, None, max_seconds))
        if frames * channels > max_seconds * _MAX_SAMPLES_PER_SECOND:
            raise SoundError(
                f"{name} has too many samples ({original} Hz, {channels} channels): convert it to fewer channels."
            )
        last = len(block) < size
        pieces.append(block if original == rate else stream.resample_chunk(block, last=last))
        if last:
            mixer.check_whole()
            return np.concatenate(pieces)


def _too_long(name: str, seconds: float | None, max_seconds: float) -> str:
    duration = "too long" if seconds is None else f"{readable(seconds)} long"
    return f"{name} is {duration} (limit: {readable(max_seconds)}): upload a part of it."


def readable(seconds: float) -> str:
    """Formats a duration: "4.2 seconds", "5 minutes", "2 hours"."""
    for unit, length in (("hour", 3600), ("minute", 60)):
        if seconds >= length:
            number = f"{seconds / length:.1f}".removesuffix(".0")
            return f"{number} {unit}{'' if number == '1' else 's'}"
    return f"{seconds:.1f}".removesuffix(".0") + " seconds"
