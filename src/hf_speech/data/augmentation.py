"""Augmentation of training waveforms: voice, context, silence, rooms, equalizer, noise, gain, telephone, codec.

A recipe's `augmentation` section holds the fields of `Augmentation`. Random values come from a generator that the
caller seeds, so an epoch can be repeated exactly. SpecAugment, which acts on features, is part of the models.

The order follows the recording chain: the voice (speed, pitch, tempo), the silence around it, the room, the microphone
(equalizer, noise, gain), and the transmission (telephone, Opus).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import librosa  # Loads its parts when they are called: numba costs a second.
import numpy as np
from scipy.fft import irfft, next_fast_len, rfft

from hf_speech.common.ranges import Range, Share, check_ranges
from hf_speech.data.audio import read_audio, resample
from hf_speech.data.channels import opus, reverberate, simulate_room, telephone
from hf_speech.data.corpora.files import walk_files
from hf_speech.data.corpora.stretches import sound_bounds
from hf_speech.errors import CorpusError, RecipeError

SOUND_SUFFIXES = {".wav", ".flac", ".ogg", ".opus", ".mp3"}


@dataclass(kw_only=True)
class Augmentation:
    """How training waveforms are varied; a range is `[low, high]`, and null leaves the step out.

    Args:
        probability: Probability of each step to be applied to an utterance.
        joining: Share of the utterances that are followed by another one of the same speaker in the same clip (for
            transcription only), so that a model cannot memorize how utterances continue.
        speed: Range of the speed factor, by resampling: pitch, formants and pace move together, as between speakers
            (Ko et al., Interspeech 2015). Drawn evenly on a logarithmic scale.
        pitch: Range of the shift of pitch and formants in semitones, at the same pace.
        tempo: Range of the pace factor at the same pitch (time stretching by a phase vocoder).
        trim: Beginning and end are cut off where they are quieter than the loudest moment by more than this many dB.
        context_folders: Folders of recordings, such as other speech and noise, random stretches of which are put before
            and after the utterance, at random loudness, as in a stream.
        context_before: Range of the seconds of context before the utterance.
        context_after: Range of the seconds of context after the utterance.
        silence: Range of the silence put before and after the utterance, in seconds each; negative values cut instead.
        rooms: Folder of recorded room impulse responses, one of which is convolved with the utterance.
        reverberation: Range of the reverberation time (T60) in seconds of simulated rooms; with rooms too, half of the
            utterances are in recorded ones.
        equalizer: Largest gain in dB of a random smooth equalizer: another microphone and room.
        noise_snr: Range of the signal-to-noise ratio in dB of added noise.
        noise_folder: Folder of recordings to add as noise; without one the noise is random, of a random color from
            white to brown.
        gain: Range of the gain in dB.
        telephone: Share of the utterances that are sent through a telephone line: 300 to 3400 Hz, 8 kHz, μ-law.
        opus: Range of the bit rate in kbit/s at which utterances are encoded with Opus and decoded again.
        tempo_copies: Pace factors at which every training utterance is copied, once and for all epochs, such as
            [0.7, 1.0, 1.3]; with pitch_copies, at each combination.
        pitch_copies: Shifts in semitones at which every training utterance is copied, such as [-1, 0, 1].
        variants: Number of epochs after which the augmented utterances repeat, so that training.cache_features can
            keep them; null for new ones in every epoch.
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
            raise RecipeError("augmentation.tempo_copies and pitch_copies must be null or list one value or more.")

    def check_folders(self) -> None:
        """Refuses folders without recordings; a saved recipe may name folders that only its first machine has.

        Raises:
            RecipeError: Naming the key and the folder.
        """
        folders = [("context_folders", folder) for folder in self.context_folders or ()]
        for key, folder in (("noise_folder", self.noise_folder), ("rooms", self.rooms), *folders):
            if folder is not None and not _sound_files(folder):
                raise RecipeError(f"augmentation.{key}: there are no recordings in {folder}.")

    @property
    def is_active(self) -> bool:
        """Whether any step can change a waveform."""
        steps: list[object] = [self.speed, self.pitch, self.tempo, self.trim, self.context_folders, self.silence]
        steps += [self.rooms, self.reverberation, self.equalizer, self.noise_snr, self.gain, self.opus]
        always = self.joining > 0 or self.telephone > 0
        return always or (self.probability > 0 and any(step is not None for step in steps))

    @property
    def moving(self) -> list[str]:
        """The keys of steps that move sound to another time in its clip."""
        keys = ("joining", "speed", "tempo", "trim", "context_folders", "silence", "tempo_copies")
        return [key for key in keys if getattr(self, key)]

    @property
    def files(self) -> tuple[Path, ...]:
        """The recordings of noise_folder, rooms and context_folders."""
        folders = (self.noise_folder, self.rooms, *(self.context_folders or ()))
        return tuple(file for folder in folders if folder for file in _sound_files(folder))

    def draw(self, epoch: int) -> int:
        """The seed of an epoch: its number, modulo `variants` if they are limited."""
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
            sampling_rate: Its rate in Hz.
            rng: The random generator.
            applied: Filled with the values drawn for each applied step, by the name of its field (for `silence` the
                seconds before and after, for `equalizer` the largest gain).

        Returns:
            A new waveform, float32, of about the same loudness and possibly another length; never empty.
        """

        applied = {} if applied is None else applied

        def drawn(step: object) -> bool:
            return step is not None and rng.random() < self.probability

        if self.speed is not None and drawn(self.speed):
            low, high = self.speed
            factor = math.exp(rng.uniform(math.log(low), math.log(high)))
            samples = change_speed(samples, sampling_rate, factor)
            applied["speed"] = (factor,)
        if self.pitch is not None and drawn(self.pitch):
            semitones = rng.uniform(*self.pitch)
            samples = librosa.effects.pitch_shift(
                samples, sr=sampling_rate, n_steps=semitones, n_fft=stretch_window(sampling_rate)
            )
            applied["pitch"] = (semitones,)
        if self.tempo is not None and drawn(self.tempo):
            factor = rng.uniform(*self.tempo)
            samples = librosa.effects.time_stretch(samples, rate=factor, n_fft=stretch_window(sampling_rate))
            applied["tempo"] = (factor,)
        if self.trim is not None and drawn(self.trim):
            start, end = sound_bounds(samples, sampling_rate, self.trim)
            samples = samples[start:end]
            applied["trim"] = (start / sampling_rate, end / sampling_rate)
        if self.context_folders and drawn(self.context_folders):
            seconds = float(rng.uniform(*self.context_before)), float(rng.uniform(*self.context_after))
            around = [
                _context(self.context_folders, samples, round(length * sampling_rate), sampling_rate, rng)
                for length in seconds
            ]
            samples = np.concatenate((around[0], samples, around[1]))
            applied["context"] = seconds
        if self.silence is not None and drawn(self.silence):
            shortest = -(len(samples) // 4)
            before, after = (max(round(rng.uniform(*self.silence) * sampling_rate), shortest) for _ in range(2))
            samples = add_silence(samples, before, after)
            applied["silence"] = (before / sampling_rate, after / sampling_rate)
        if (self.rooms or self.reverberation) and drawn(self.rooms or self.reverberation):
            samples = self._in_a_room(samples, sampling_rate, rng, applied)
        if self.equalizer is not None and drawn(self.equalizer):
            samples = equalize(samples, self.equalizer, rng)
            applied["equalizer"] = (self.equalizer,)
        if self.noise_snr is not None and drawn(self.noise_snr):
            if self.noise_folder is None:
                noise = colored_noise(len(samples), rng)
            else:
                noise = _recorded_noise(self.noise_folder, len(samples), sampling_rate, rng)
            snr = rng.uniform(*self.noise_snr)
            samples = add_noise(samples, noise, snr)
            applied["noise_snr"] = (snr,)
        if self.gain is not None and drawn(self.gain):
            gain = rng.uniform(*self.gain)
            samples = samples * 10 ** (gain / 20)
            applied["gain"] = (gain,)
        if self.telephone > 0 and rng.random() < self.telephone:
            samples = telephone(samples, sampling_rate)
            applied["telephone"] = ()
        if self.opus is not None and drawn(self.opus):
            bitrate = rng.uniform(*self.opus)
            samples = opus(samples, sampling_rate, bitrate)
            applied["opus"] = (bitrate,)
        return np.ascontiguousarray(samples, dtype=np.float32)

    def _in_a_room(
        self, samples: np.ndarray, sampling_rate: int, rng: np.random.Generator, applied: dict[str, tuple[float, ...]]
    ) -> np.ndarray:
        """An utterance in a recorded or in a simulated room."""
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
    """Recording conditions that an evaluation simulates: a room, noise, a telephone; a sound's are always the same.

    Args:
        reverberation: Reverberation time (T60) in seconds of a simulated room, or None.
        noise_folder: Folder of recordings of noise, or None.
        noise_snr: Signal-to-noise ratio in dB.
        telephone: Whether the sound is sent through a telephone line.

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
        """The samples of the sound number `index`, float32, as they would have been recorded."""
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
        """What is simulated, for a report; empty if nothing is."""
        simulated: dict[str, Any] = {}
        if self.reverberation is not None:
            simulated["reverberation"] = self.reverberation
        if self.noise_folder is not None:
            simulated["noise"] = {"folder": Path(self.noise_folder).name, "snr": self.noise_snr}
        if self.telephone:
            simulated["telephone"] = True
        return simulated


def change_speed(samples: np.ndarray, sampling_rate: int, factor: float) -> np.ndarray:
    """Plays `samples` `factor` times as fast, so that pitch and formants rise by the same factor."""
    # Resampling takes integer rates; steps of 1/1000 are inaudible.
    return resample(samples, round(1000 * factor), 1000) if len(samples) > 1 else samples


def time_map(applied: Mapping[str, Sequence[float]]) -> tuple[float, float]:
    """Where the sound at each moment of an augmented utterance is in the recording.

    Args:
        applied: What `Augmentation` has applied.

    Returns:
        `begin` and `rate`: what is heard after `t` seconds is in the recording at `begin + rate * t`.
    """
    rate = applied.get("speed", (1.0,))[0] * applied.get("tempo", (1.0,))[0]
    cut = applied.get("trim", (0.0,))[0] - applied.get("context", (0.0,))[0] - applied.get("silence", (0.0,))[0]
    return rate * cut, rate


def add_silence(samples: np.ndarray, before: int, after: int) -> np.ndarray:
    """Adds zero samples before and after; negative numbers cut, but at least half of the clip remains."""
    cut_before, cut_after = (min(max(-count, 0), len(samples) // 4) for count in (before, after))
    kept = samples[cut_before : len(samples) - cut_after]
    return np.pad(kept, (max(before, 0), max(after, 0)))


def equalize(samples: np.ndarray, strongest: float, rng: np.random.Generator, order: int = 3) -> np.ndarray:
    """Applies a random smooth frequency response: a cosine series of low order, at most `strongest` dB up or down."""
    size = next_fast_len(len(samples), real=True)  # A length that is a prime number takes twenty times as long.
    spectrum = rfft(samples, size)
    position = np.linspace(0.0, np.pi, len(spectrum))
    curve = sum(rng.uniform(-1, 1) * np.cos(k * position + rng.uniform(0, 2 * np.pi)) for k in range(1, order + 1))
    return irfft(spectrum * 10 ** (strongest * curve / order / 20), size)[: len(samples)]


def colored_noise(num_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise whose power falls by 0 (white) to 6 dB (brown) an octave, at random."""
    size = next_fast_len(num_samples, real=True)
    spectrum = rfft(rng.standard_normal(size))
    frequency = np.maximum(np.arange(len(spectrum)), 1)
    return irfft(spectrum * frequency ** -rng.uniform(0, 1), size)[:num_samples]


def add_noise(samples: np.ndarray, noise: np.ndarray, snr: float) -> np.ndarray:
    """Adds `noise`, of the same length, at a signal-to-noise ratio of `snr` dB; silence stays silence."""
    noise_power = np.mean(noise**2)
    if noise_power == 0:
        return samples
    return samples + noise * np.sqrt(np.mean(samples**2) / noise_power / 10 ** (snr / 10))


def stretch_window(sampling_rate: int) -> int:
    """The phase vocoder's window in samples: the power of two nearest to 32 ms, short enough for single words."""
    return 1 << round(math.log2(0.032 * sampling_rate))


@lru_cache(maxsize=8)
def _sound_files(folder: str) -> tuple[Path, ...]:
    files = walk_files(Path(folder)) if Path(folder).is_dir() else []  # It follows links to folders.
    return tuple(sorted(path for path in files if path.suffix.lower() in SOUND_SUFFIXES))


@lru_cache(maxsize=256)
def _read_sound(path: Path, sampling_rate: int) -> np.ndarray:
    return read_audio(path, sampling_rate)


# A stretch of context is this much louder than the utterance, in dB.
_CONTEXT_GAIN = (-20.0, 5.0)


def _context(
    folders: Sequence[str], samples: np.ndarray, length: int, sampling_rate: int, rng: np.random.Generator
) -> np.ndarray:
    """A random stretch of `length` samples of a recording in the folders, scaled to the loudness of `samples`."""
    noise = _recorded_noise(folders[int(rng.integers(len(folders)))], length, sampling_rate, rng)
    power = np.mean(noise**2) if length else 0.0
    gain = 10 ** (rng.uniform(*_CONTEXT_GAIN) / 20)
    return noise * (gain * math.sqrt(np.mean(samples**2) / power)) if power > 0 else noise


def _recorded_noise(folder: str, num_samples: int, sampling_rate: int, rng: np.random.Generator) -> np.ndarray:
    """A random stretch of a random recording, repeated where it is too short."""
    files = _sound_files(folder)
    noise = _read_sound(files[rng.integers(len(files))], sampling_rate)
    start = rng.integers(len(noise))
    return np.resize(np.roll(noise, -start), num_samples)
