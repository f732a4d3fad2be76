"""Augmentation of training waveforms: voice, context, silence, rooms, equalizer, noise, gain, telephone, codec.

The `augmentation` section of a recipe contains the fields of `Augmentation`. Random values come from a generator that
the caller seeds, so an epoch can be repeated exactly. SpecAugment, which operates on features, is part of the models.

The steps are in the order of the recording chain: voice (speed, pitch, tempo), surrounding silence, room, microphone
(equalizer, noise, gain), and transmission (telephone, Opus).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import librosa  # Imports its submodules lazily, which saves the second that numba takes.
import numpy as np
from scipy.fft import irfft, next_fast_len, rfft

from hf_speech.common.ranges import Range, Share, check_ranges
from hf_speech.data.audio import read_audio, resample
from hf_speech.data.channels import opus, reverberate, simulate_room, telephone
from hf_speech.data.corpora.excerpts import sound_bounds
from hf_speech.data.corpora.files import walk_files
from hf_speech.errors import CorpusError, RecipeError

SOUND_SUFFIXES = {".wav", ".flac", ".ogg", ".opus", ".mp3"}


SILENCE = 1e-16
"""Power below which noise is digital silence, of which decoders of compressed sound leave traces, such as 1e-44."""


@dataclass(kw_only=True)
class Augmentation:
    """Random augmentation of training waveforms. A range is `[low, high]`, and null turns a step off.

    Args:
        probability: Probability of applying each step to an utterance.
        joining: Share of utterances that are joined with another utterance of the same speaker (transcription only),
            so that a model cannot memorize how utterances continue.
        speed: Range of the speed factor. Resampling changes pitch, formants and tempo together, like the difference
            between speakers (Ko et al., Interspeech 2015). Sampled uniformly on a logarithmic scale.
        pitch: Range of the shift of pitch and formants in semitones, with the tempo unchanged.
        tempo: Range of the tempo factor, with the pitch unchanged (time stretching with a phase vocoder).
        trim: Cut the start and end where they are more than this many dB below the loudest part.
        context_folders: Folders of recordings, such as other speech and noise. Random segments of them, at random
            loudness, are put before and after the utterance, as in a stream.
        context_before: Range of the context before the utterance in seconds.
        context_after: Range of the context after the utterance in seconds.
        silence: Range of the silence to add before and after the utterance, in seconds; negative values cut samples.
        rooms: Folder of recorded room impulse responses, one of which is convolved with the utterance.
        reverberation: Range of the reverberation time (T60) of simulated rooms in seconds. If rooms is set as well,
            half of the utterances use recorded rooms.
        equalizer: Maximum gain in dB of a random smooth equalizer, which simulates other microphones and rooms.
        noise_snr: Range of the signal-to-noise ratio of added noise in dB.
        noise_folder: Folder of noise recordings to add. Without one, the noise is random, with a random color between
            white and brown.
        gain: Range of the gain in dB.
        telephone: Share of utterances that are passed through a telephone channel: 300 to 3400 Hz, 8 kHz, μ-law.
        opus: Range of the bit rate in kbit/s for encoding utterances with Opus and decoding them again.
        tempo_copies: Tempo factors at which every training utterance is copied before training, such as
            [0.7, 1.0, 1.3]. Combined with pitch_copies, there is a copy for each combination.
        pitch_copies: Shifts in semitones at which every training utterance is copied before training, such as
            [-1, 0, 1].
        variants: Number of epochs after which the augmented utterances repeat, so that training.cache_features can
            cache them; null for new augmentation in every epoch.
    """

    probability: Share = 0.8
    joining: Share = 0.0
    speed: Annotated[tuple[float, float], Range(0.1, 10)] | None = None
    pitch: Annotated[tuple[float, float], Range(-48, 48)] | None = None
    tempo: Annotated[tuple[float, float], Range(0.1, 10)] | None = None
    trim: Annotated[float, Range(1, 200)] | None = None
    context_folders: list[str] | None = None
    context_before: Annotated[tuple[float, float], Range(0, 60)] = (0.0, 2.0)
    context_after: Annotated[tuple[float, float], Range(0, 60)] = (0.1, 0.4)
    silence: Annotated[tuple[float, float], Range(-60, 60)] | None = None
    rooms: str | None = None
    reverberation: Annotated[tuple[float, float], Range(0.01, 20)] | None = None
    equalizer: Annotated[float, Range(0, 60)] | None = None
    noise_snr: Annotated[tuple[float, float], Range(-100, 200)] | None = None
    noise_folder: str | None = None
    gain: Annotated[tuple[float, float], Range(-100, 100)] | None = None
    telephone: Share = 0.0
    opus: Annotated[tuple[float, float], Range(6, 256)] | None = None
    tempo_copies: Annotated[list[float], Range(0.1, 10)] | None = None
    pitch_copies: Annotated[list[float], Range(-48, 48)] | None = None
    variants: Annotated[int, Range(1, below=10**6)] | None = None

    def __post_init__(self) -> None:
        check_ranges(self, "augmentation")
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, tuple | list) or field.name.endswith(("_copies", "_folders")):
                continue
            low, high = value
            if low > high:
                raise RecipeError(f"augmentation.{field.name} must be a range [low, high]; {list(value)} is not.")
        if [] in (self.tempo_copies, self.pitch_copies):
            raise RecipeError("augmentation.tempo_copies and pitch_copies must be null or list at least one value.")

    def check_folders(self) -> None:
        """Checks that all folders contain recordings; those of a saved recipe may be missing on this machine.

        Raises:
            RecipeError: If a folder has no recordings; names the key and the folder.
        """
        folders = [("context_folders", folder) for folder in self.context_folders or ()]
        for key, folder in (("noise_folder", self.noise_folder), ("rooms", self.rooms), *folders):
            if folder is not None and not _sound_files(folder):
                raise RecipeError(f"augmentation.{key}: there are no recordings in {folder}: correct the path.")

    @property
    def is_active(self) -> bool:
        """Whether any step can change a waveform."""
        steps: list[object] = [self.speed, self.pitch, self.tempo, self.trim, self.context_folders, self.silence]
        steps += [self.rooms, self.reverberation, self.equalizer, self.noise_snr, self.gain, self.opus]
        always = self.joining > 0 or self.telephone > 0
        return always or (self.probability > 0 and any(step is not None for step in steps))

    @property
    def moving(self) -> list[str]:
        """The keys of active steps that move audio to a different time in its clip."""
        keys = ("joining", "speed", "tempo", "trim", "context_folders", "silence", "tempo_copies")
        return [key for key in keys if getattr(self, key)]

    @property
    def files(self) -> tuple[Path, ...]:
        """The recordings in noise_folder, rooms and context_folders."""
        folders = (self.noise_folder, self.rooms, *(self.context_folders or ()))
        return tuple(file for folder in folders if folder for file in _sound_files(folder))

    def draw(self, epoch: int) -> int:
        """Returns the seed of an epoch: its number, modulo `variants` if set."""
        return epoch if self.variants is None else epoch % self.variants

    def __call__(
        self,
        samples: np.ndarray,
        sampling_rate: int,
        rng: np.random.Generator,
        applied: dict[str, tuple[float, ...]] | None = None,
    ) -> np.ndarray:
        """Augments one utterance.

        Args:
            samples: Mono waveform `(samples,)`, float32.
            sampling_rate: The sampling rate in Hz.
            rng: The random generator.
            applied: A dictionary to which the random values of each applied step are added, by field name (for
                `silence` the seconds before and after, for `equalizer` the maximum gain).

        Returns:
            A float32 waveform of about the same loudness, possibly of a different length, never empty.
        """

        applied = {} if applied is None else applied

        def is_drawn() -> bool:
            return rng.random() < self.probability

        if self.speed is not None and is_drawn():
            low, high = self.speed
            factor = math.exp(rng.uniform(math.log(low), math.log(high)))
            samples = change_speed(samples, sampling_rate, factor)
            applied["speed"] = (factor,)
        if self.pitch is not None and is_drawn():
            semitones = rng.uniform(*self.pitch)
            samples = librosa.effects.pitch_shift(
                samples, sr=sampling_rate, n_steps=semitones, n_fft=stretch_window(sampling_rate)
            )
            applied["pitch"] = (semitones,)
        if self.tempo is not None and is_drawn():
            factor = rng.uniform(*self.tempo)
            samples = librosa.effects.time_stretch(samples, rate=factor, n_fft=stretch_window(sampling_rate))
            applied["tempo"] = (factor,)
        if self.trim is not None and is_drawn():
            start, end = sound_bounds(samples, sampling_rate, self.trim)
            samples = samples[start:end]
            applied["trim"] = (start / sampling_rate, end / sampling_rate)
        if self.context_folders and is_drawn():
            seconds = float(rng.uniform(*self.context_before)), float(rng.uniform(*self.context_after))
            around = [
                _context(self.context_folders, samples, round(length * sampling_rate), sampling_rate, rng)
                for length in seconds
            ]
            samples = np.concatenate((around[0], samples, around[1]))
            applied["context"] = seconds
        if self.silence is not None and is_drawn():
            shortest = -(len(samples) // 4)
            before, after = (max(round(rng.uniform(*self.silence) * sampling_rate), shortest) for _ in range(2))
            samples = add_silence(samples, before, after)
            applied["silence"] = (before / sampling_rate, after / sampling_rate)
        if (self.rooms or self.reverberation) and is_drawn():
            samples = self._reverberate(samples, sampling_rate, rng, applied)
        if self.equalizer is not None and is_drawn():
            samples = equalize(samples, self.equalizer, rng)
            applied["equalizer"] = (self.equalizer,)
        if self.noise_snr is not None and is_drawn():
            if self.noise_folder is None:
                noise = colored_noise(len(samples), rng)
            else:
                noise = _recorded_noise(self.noise_folder, len(samples), sampling_rate, rng)
            snr = rng.uniform(*self.noise_snr)
            samples = add_noise(samples, noise, snr)
            applied["noise_snr"] = (snr,)
        if self.gain is not None and is_drawn():
            gain = rng.uniform(*self.gain)
            samples = samples * 10 ** (gain / 20)
            applied["gain"] = (gain,)
        if self.telephone > 0 and rng.random() < self.telephone:
            samples = telephone(samples, sampling_rate)
            applied["telephone"] = ()
        if self.opus is not None and is_drawn():
            bitrate = rng.uniform(*self.opus)
            samples = opus(samples, sampling_rate, bitrate)
            applied["opus"] = (bitrate,)
        return np.ascontiguousarray(samples, dtype=np.float32)

    def _reverberate(
        self, samples: np.ndarray, sampling_rate: int, rng: np.random.Generator, applied: dict[str, tuple[float, ...]]
    ) -> np.ndarray:
        """Returns an utterance in a recorded or simulated room."""
        if self.rooms is not None and (self.reverberation is None or rng.random() < 0.5):
            files = _sound_files(self.rooms)
            response = _read_sound(files[rng.integers(len(files))], sampling_rate)
            applied["rooms"] = ()
        else:
            assert self.reverberation is not None
            reverberation = rng.uniform(*self.reverberation)
            response = simulate_room(sampling_rate, reverberation, rng)
            applied["reverberation"] = (reverberation,)
        return reverberate(samples, response)


@dataclass(frozen=True)
class Conditions:
    """Recording conditions that an evaluation simulates, identical in every run: a room, noise, a telephone.

    Args:
        reverberation: Reverberation time (T60) of a simulated room in seconds, or None.
        noise_folder: Folder of noise recordings, or None.
        noise_snr: Signal-to-noise ratio in dB.
        telephone: Whether to pass utterances through a telephone channel.

    Raises:
        CorpusError: If there are no recordings in the folder.
    """

    reverberation: float | None = None
    noise_folder: str | None = None
    noise_snr: float = 10.0
    telephone: bool = False

    def __post_init__(self) -> None:
        if self.noise_folder is not None and not _sound_files(self.noise_folder):
            raise CorpusError(f"There are no recordings of noise in {self.noise_folder}.")

    def apply(self, samples: np.ndarray, sampling_rate: int, index: int) -> np.ndarray:
        """Returns the samples of utterance number `index` under these conditions, as float32."""
        rng = np.random.default_rng(index)
        if self.reverberation is not None:
            samples = reverberate(samples, simulate_room(sampling_rate, self.reverberation, rng))
        if self.noise_folder is not None:
            noise = _recorded_noise(self.noise_folder, len(samples), sampling_rate, rng)
            samples = add_noise(samples, noise, self.noise_snr)
        if self.telephone:
            samples = telephone(samples, sampling_rate)
        return samples.astype(np.float32, copy=False)

    def describe(self) -> dict[str, Any]:
        """Returns the simulated conditions for a report."""
        simulated: dict[str, Any] = {}
        if self.reverberation is not None:
            simulated["reverberation"] = self.reverberation
        if self.noise_folder is not None:
            simulated["noise"] = {"folder": Path(self.noise_folder).name, "snr": self.noise_snr}
        if self.telephone:
            simulated["telephone"] = True
        return simulated


def change_speed(samples: np.ndarray, sampling_rate: int, factor: float) -> np.ndarray:
    """Speeds up `samples` by `factor`, which raises pitch and formants by the same factor."""
    # The resampler takes integer rates, and steps of 1/1000 are inaudible.
    return resample(samples, round(1000 * factor), 1000) if len(samples) > 1 else samples


def time_map(applied: Mapping[str, Sequence[float]]) -> tuple[float, float]:
    """Maps times in an augmented utterance to times in the original recording.

    Args:
        applied: The steps that `Augmentation` applied, with their values.

    Returns:
        `begin` and `rate`: time `t` in the augmented utterance is time `begin + rate * t` in the recording.
    """
    rate = applied.get("speed", (1.0,))[0] * applied.get("tempo", (1.0,))[0]
    cut = applied.get("trim", (0.0,))[0] - applied.get("context", (0.0,))[0] - applied.get("silence", (0.0,))[0]
    return rate * cut, rate


def add_silence(samples: np.ndarray, before: int, after: int) -> np.ndarray:
    """Adds zero samples before and after. Negative numbers cut samples, at most a quarter of the clip on each side."""
    cut_before, cut_after = (min(max(-count, 0), len(samples) // 4) for count in (before, after))
    return np.pad(samples[cut_before : len(samples) - cut_after], (max(before, 0), max(after, 0)))


def equalize(samples: np.ndarray, max_gain: float, rng: np.random.Generator, order: int = 3) -> np.ndarray:
    """Applies a random smooth frequency response: a cosine series of low order, within ±`max_gain` dB."""
    size = next_fast_len(len(samples), real=True)  # The FFT of a prime length takes twenty times as long.
    spectrum = rfft(samples, size)
    position = np.linspace(0.0, np.pi, len(spectrum))
    curve = sum(rng.uniform(-1, 1) * np.cos(k * position + rng.uniform(0, 2 * np.pi)) for k in range(1, order + 1))
    return irfft(spectrum * 10 ** (max_gain * curve / order / 20), size)[: len(samples)]


def colored_noise(num_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Returns Gaussian noise whose power falls by a random 0 (white) to 6 dB (brown) per octave."""
    size = next_fast_len(num_samples, real=True)
    spectrum = rfft(rng.standard_normal(size))
    frequency = np.maximum(np.arange(len(spectrum)), 1)
    return irfft(spectrum * frequency ** -rng.uniform(0, 1), size)[:num_samples]


def add_noise(samples: np.ndarray, noise: np.ndarray, snr: float) -> np.ndarray:
    """Adds noise of the same length at a signal-to-noise ratio of `snr` dB. Silence stays silent."""
    noise_power = _power(noise)
    if noise_power < SILENCE:
        return samples
    return samples + noise * math.sqrt(_power(samples) / noise_power / 10 ** (snr / 10))


def stretch_window(sampling_rate: int) -> int:
    """Returns the phase vocoder's window in samples: the power of two nearest to 32 ms, short enough for words."""
    return 1 << round(math.log2(0.032 * sampling_rate))


@lru_cache(maxsize=8)
def _sound_files(folder: str) -> tuple[Path, ...]:
    files = walk_files(Path(folder)) if Path(folder).is_dir() else []
    return tuple(sorted(path for path in files if path.suffix.lower() in SOUND_SUFFIXES))


@lru_cache(maxsize=256)
def _read_sound(path: Path, sampling_rate: int) -> np.ndarray:
    return read_audio(path, sampling_rate)


# Range of the loudness of the context relative to the utterance, in dB.
_CONTEXT_GAIN = (-20.0, 5.0)


def _context(
    folders: Sequence[str], samples: np.ndarray, length: int, sampling_rate: int, rng: np.random.Generator
) -> np.ndarray:
    """Returns `length` random samples of a recording in the folders, scaled relative to the loudness of `samples`."""
    noise = _recorded_noise(folders[int(rng.integers(len(folders)))], length, sampling_rate, rng)
    power = _power(noise) if length else 0.0
    gain = 10 ** (rng.uniform(*_CONTEXT_GAIN) / 20)
    return noise * (gain * math.sqrt(_power(samples) / power)) if power >= SILENCE else noise


def _power(samples: np.ndarray) -> float:
    return float(np.mean(np.square(samples, dtype=np.float64)))


def _recorded_noise(folder: str, num_samples: int, sampling_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Returns a random segment of a random recording, which is repeated if it is too short."""
    files = _sound_files(folder)
    noise = _read_sound(files[rng.integers(len(files))], sampling_rate)
    start = rng.integers(len(noise))
    return np.resize(np.roll(noise, -start), num_samples)
