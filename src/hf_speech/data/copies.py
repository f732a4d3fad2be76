"""Copies of the training utterances at other tempos and pitches, made once and kept on disk.

Augmentation draws new variants in every epoch. This is the older method: a fixed set, with each utterance once for
every pace and pitch of a grid. Copies on disk take no memory, and the phase vocoder runs only once. A digest of all
inputs names the folder, so that another grid or a changed recording gives another set.
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

# Part of the digest: to be raised whenever the same grid gives other copies.
FORMAT_VERSION = 1


def multiply(
    rows: Dataset,
    sampling_rate: int,
    tempos: Sequence[float],
    pitches: Sequence[float],
    first_pass: FirstPass | None = None,
) -> Dataset:
    """Every utterance once for each pace and pitch.

    Args:
        rows: The training split, with the columns `audio` and `duration`.
        sampling_rate: Rate of the copies in Hz.
        tempos: Factors of the pace at the same pitch: 0.7 is slower, and longer.
        pitches: Shifts of the pitch in semitones at the same pace.
        first_pass: Has the utterances that were decoded already.

    Returns:
        The rows of all copies, those of one utterance together. Its copy of factor 1 and shift 0 is the utterance
        itself, and is missing where the grid does not have it.
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
        for place, copy in enumerate(grid):
            indices.append(index)
            itself = copy == (1.0, 0.0)
            path = folder / _name(index, place)
            audio.append(source if itself else {"path": str(path), "bytes": None})
            durations.append(duration if itself else soundfile.info(path).duration)
    columns = {"audio": audio, "duration": durations}
    multiplied = rows.select(indices).remove_columns(list(columns))
    for name, values in columns.items():
        multiplied = multiplied.add_column(name, values, feature=rows.features[name])
    return multiplied


def _name(index: int, place: int) -> str:
    return f"{index:06d}-{place:02d}.wav"


def _write_copies(
    samples: np.ndarray, sampling_rate: int, grid: Sequence[tuple[float, float]], folder: Path, index: int
) -> None:
    """Writes the copies of one utterance, 16-bit, what is louder than full scale brought down to it."""
    window = stretch_window(sampling_rate)
    for place, (tempo, pitch) in enumerate(grid):
        if (tempo, pitch) == (1.0, 0.0):
            continue
        copy = samples
        if pitch != 0:
            copy = librosa.effects.pitch_shift(copy, sr=sampling_rate, n_steps=pitch, n_fft=window)
        if tempo != 1:
            copy = librosa.effects.time_stretch(copy, rate=tempo, n_fft=window)
        copy = copy / max(1.0, float(np.abs(copy).max()))
        scaled = np.clip(np.rint(copy * 32768), -32768, 32767).astype(np.int16)
        soundfile.write(folder / _name(index, place), scaled, sampling_rate)
