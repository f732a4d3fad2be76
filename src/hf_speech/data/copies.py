"""Copies of the training utterances at other tempos and pitches, stored on disk.

Whereas augmentation draws new variants in every epoch, this is a fixed set with a copy of each utterance for every
tempo and pitch of a grid. Copies on disk take no memory, and the phase vocoder runs only once. The folder is named by a
digest of all inputs, so a different grid or a changed recording gives a new set.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import librosa
import numpy as np
import soundfile
from datasets import Dataset

from hf_speech.common.progress import progress_bar
from hf_speech.data.audio import read_audio
from hf_speech.data.augmentation import stretch_window
from hf_speech.data.cache import build_once, cache_dir, digest
from hf_speech.data.first_pass import FirstPass

# Part of the digest: increase it when the copies for the same grid change.
FORMAT_VERSION = 1


def multiply(
    rows: Dataset,
    sampling_rate: int,
    tempos: Sequence[float],
    pitches: Sequence[float],
    first_pass: FirstPass | None = None,
) -> Dataset:
    """Copies every utterance for each combination of tempo and pitch.

    Args:
        rows: The training split, with the columns `audio` and `duration`.
        sampling_rate: Sampling rate of the copies in Hz.
        tempos: Tempo factors with the pitch unchanged; 0.7 is slower, and longer.
        pitches: Shifts of the pitch in semitones with the tempo unchanged.
        first_pass: Holds utterances that were decoded before.

    Returns:
        The rows of all copies, grouped by utterance. The copy with factor 1 and shift 0 is the original recording; it
        is missing if the grid does not include it.
    """
    grid = list(itertools.product(tempos, pitches))
    sources = list(rows["audio"])
    folder = cache_dir() / "copies" / digest(sources, FORMAT_VERSION, sampling_rate, grid)
    with build_once(folder) as part:
        if part is not None:
            for index, source in enumerate(progress_bar(sources, desc="Making copies", unit="utterance")):
                samples = read_audio(source, sampling_rate) if first_pass is None else first_pass.read(source)
                _write_copies(samples, sampling_rate, grid, part, index)
    indices, audio, durations = [], [], []
    for index, (source, duration) in enumerate(zip(sources, rows["duration"], strict=True)):
        for number, copy in enumerate(grid):
            indices.append(index)
            is_original = copy == (1.0, 0.0)
            path = folder / _name(index, number)
            audio.append(source if is_original else {"path": str(path), "bytes": None})
            durations.append(duration if is_original else soundfile.info(path).duration)
    columns = {"audio": audio, "duration": durations}
    multiplied = rows.select(indices).remove_columns(list(columns))
    for name, values in columns.items():
        multiplied = multiplied.add_column(name, values, feature=rows.features[name])
    return multiplied


def _name(index: int, number: int) -> str:
    return f"{index:06d}-{number:02d}.wav"


def _write_copies(
    samples: np.ndarray, sampling_rate: int, grid: Sequence[tuple[float, float]], folder: Path, index: int
) -> None:
    """Writes the copies of one utterance as 16-bit wav files, scaled down if they exceed full scale."""
    window = stretch_window(sampling_rate)
    for number, (tempo, pitch) in enumerate(grid):
        if (tempo, pitch) == (1.0, 0.0):
            continue
        copy = samples
        if pitch != 0:
            copy = librosa.effects.pitch_shift(copy, sr=sampling_rate, n_steps=pitch, n_fft=window)
        if tempo != 1:
            copy = librosa.effects.time_stretch(copy, rate=tempo, n_fft=window)
        copy = copy / max(1.0, float(np.abs(copy).max()))
        scaled = np.clip(np.rint(copy * 32768), -32768, 32767).astype(np.int16)
        soundfile.write(folder / _name(index, number), scaled, sampling_rate)
