"""Simulates recording channels: rooms, telephone lines and codecs. No step changes the length.

Room impulse responses are recorded, or simulated as exponentially decaying noise (J.-D. Polack, "La transmission de
l'énergie sonore dans les salles", 1988; J. A. Moorer, "About this reverberation business", 1979). Decaying noise models
the diffuse tail but no early reflections. An image-source simulation (pyroomacoustics) would add these, but requires a
compiled package and the geometry of each room.
"""

from __future__ import annotations

import io

import numpy as np
import soundfile
from scipy.fft import irfft, next_fast_len, rfft
from scipy.signal import butter, sosfilt

from hf_speech.data.audio import resample

TELEPHONE_RATE = 8000
TELEPHONE_BAND = (300.0, 3400.0)
MU = 255
# Bit rates of libsndfile's compression levels 0 and 1, in kbit/s.
OPUS_BITRATES = (256.0, 6.0)
OPUS_RATES = (8000, 12_000, 16_000, 24_000, 48_000)


def simulate_room(sampling_rate: int, reverberation: float, rng: np.random.Generator) -> np.ndarray:
    """Returns the impulse response of a random room.

    Args:
        sampling_rate: Rate in Hz.
        reverberation: Seconds in which the sound decays by 60 dB (T60): the tail is noise times exp(-3 ln(10) t / T60).
        rng: The random generator.

    Returns:
        `(samples,)` float64: the direct sound, a pause of up to 20 ms, and the tail, with an energy of -10 to 5 dB
        relative to the direct sound.
    """
    times = np.arange(max(round(reverberation * sampling_rate), 1)) / sampling_rate
    tail = rng.standard_normal(len(times)) * np.exp(-3 * np.log(10) * times / reverberation)
    tail *= 10 ** (rng.uniform(-10, 5) / 20) / max(float(np.sqrt(np.sum(tail**2))), 1e-9)
    return np.concatenate(([1.0], np.zeros(rng.integers(max(sampling_rate // 50, 1))), tail))


def reverberate(samples: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Convolves an utterance with the impulse response of a room.

    Args:
        samples: `(samples,)`.
        response: `(response,)` at the same sampling rate; its largest value is the direct sound.

    Returns:
        `(samples,)` of the same loudness, aligned with the input so that time labels stay valid.
    """
    direct = int(np.argmax(np.abs(response)))
    size = next_fast_len(len(samples) + len(response) - 1, real=True)
    wet = irfft(rfft(samples, size) * rfft(response, size), size)[direct : direct + len(samples)]
    return wet * (_loudness(samples) / max(_loudness(wet), 1e-12))


def telephone(samples: np.ndarray, sampling_rate: int) -> np.ndarray:
    """Simulates a telephone line: 300 to 3400 Hz at 8 kHz, with 8-bit μ-law (ITU-T G.711).

    Args:
        samples: `(samples,)`.
        sampling_rate: Rate in Hz.

    Returns:
        `(samples,)` at the same rate and of the same length.
    """
    rate = min(sampling_rate, TELEPHONE_RATE)
    peak = max(float(np.max(np.abs(samples))), 1.0)  # μ-law values are at most 1.
    narrow = resample(_long_enough(samples, sampling_rate) / peak, sampling_rate, rate)
    high = min(TELEPHONE_BAND[1], 0.45 * rate)
    narrow = sosfilt(butter(4, (TELEPHONE_BAND[0], high), "bandpass", fs=rate, output="sos"), narrow)
    compressed = np.sign(narrow) * np.log1p(MU * np.abs(np.clip(narrow, -1, 1))) / np.log1p(MU)
    quantized = np.round(compressed * 127) / 127
    expanded = np.sign(quantized) * np.expm1(np.abs(quantized) * np.log1p(MU)) / MU
    return _fitted(resample(expanded.astype(np.float32), rate, sampling_rate) * peak, len(samples))


def opus(samples: np.ndarray, sampling_rate: int, bitrate: float) -> np.ndarray:
    """Encodes samples with Opus and decodes them again, with libsndfile.

    Args:
        samples: `(samples,)`.
        sampling_rate: Rate in Hz.
        bitrate: Bit rate in kbit/s, 6 to 256.

    Returns:
        `(samples,)` at the same rate and of the same length.
    """
    rate = next((rate for rate in OPUS_RATES if rate >= sampling_rate), OPUS_RATES[-1])
    low, high = OPUS_BITRATES
    peak = max(float(np.max(np.abs(samples))), 1.0)
    sound = resample(_long_enough(samples, sampling_rate) / peak, sampling_rate, rate)
    file = io.BytesIO()
    soundfile.write(file, sound, rate, format="OGG", subtype="OPUS", compression_level=(low - bitrate) / (low - high))
    file.seek(0)
    decoded, _ = soundfile.read(file, dtype="float32")
    return _fitted(resample(decoded, rate, sampling_rate) * peak, len(samples))


def _loudness(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(samples**2)))


def _long_enough(samples: np.ndarray, sampling_rate: int) -> np.ndarray:
    """Pads samples with zeros to at least 20 ms, since fewer might become none at a lower rate."""
    return _fitted(np.asarray(samples, dtype=np.float32), max(len(samples), sampling_rate // 50))


def _fitted(samples: np.ndarray, length: int) -> np.ndarray:
    """Cuts or pads samples to a length, since resampling back and forth may change it by one."""
    return np.pad(samples[:length], (0, max(length - len(samples), 0)))
