"""Utterances that are segments of longer recordings, cut into separate files.

Everywhere else, a row of a corpus is a whole file, so the stretches are cut once and kept in the cache. That takes
their size on the disk, and saves decoding an hour of sound for ten seconds of it.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import librosa  # Loads its parts when they are called: numba costs a second.
import numpy as np
import soundfile

from hf_speech.common.digests import digest_data
from hf_speech.common.progress import progress_bar
from hf_speech.data.audio import audio_info, read_audio
from hf_speech.data.cache import build_once, cache_dir
from hf_speech.data.corpora.base import duration_of
from hf_speech.data.corpora.files import sound_files
from hf_speech.errors import AudioError, CorpusError

Key = TypeVar("Key", bound=Hashable)

# Part of the digest: to be raised whenever the same stretches give other files.
FORMAT_VERSION = 1
# Seconds that a stretch may reach beyond its recording and is then shortened, as in Kaldi's extract-segments.
TOLERANCE = 0.5
QUIET = 35.0
"""The sound of a clip is what is no quieter than its loudest moment by this many dB."""


@dataclass(frozen=True)
class Stretch:
    """A stretch of a recording.

    Args:
        name: Name of the utterance, from which its file is named.
        recording: File of the recording.
        start: Beginning in seconds.
        end: End in seconds, None for the end of the recording.
    """

    name: str
    recording: Path
    start: float
    end: float | None


def sound_bounds(samples: np.ndarray, sampling_rate: int, decibels: float) -> tuple[int, int]:
    """The first sample of a sound, and the one after its last, beyond which it is quiet.

    Args:
        samples: `(samples,)`.
        sampling_rate: Their rate in Hz.
        decibels: By how much quiet is quieter than the loudest moment.
    """
    hop = max(sampling_rate // 100, 1)
    _, (start, end) = librosa.effects.trim(samples, top_db=decibels, frame_length=4 * hop, hop_length=hop)
    return (int(start), int(end)) if end > start else (0, len(samples))


def cut_checked(stretches: Mapping[Key, tuple[str, Stretch]], reasons: dict[Key, str]) -> dict[Key, Path]:
    """Cut the stretches that lie inside of their recordings.

    Args:
        stretches: What to cut, after what an error calls it ("FILE, line 3,").
        reasons: Takes why a stretch cannot be cut.

    Returns:
        Files of the stretches; of one that is a whole recording, the recording itself.
    """
    durations: dict[Path, float] = {}
    wanted: dict[Key, Stretch] = {}
    files: dict[Key, Path] = {}
    for key, (where, stretch) in stretches.items():
        start, end = stretch.start, stretch.end
        if stretch.recording not in durations:
            durations[stretch.recording] = duration_of(stretch.recording)
        length = durations[stretch.recording]  # NaN of a recording that cannot be read, which no comparison rejects
        if not math.isfinite(start) or start < 0 or (end is not None and not start < end < math.inf):
            reasons[key] = f"{where} goes from {start:g} s to {'the end' if end is None else f'{end:g} s'}"
        elif start >= length or (end is not None and end > length + TOLERANCE):
            until = "its end" if end is None else f"{end:g} s"
            reasons[key] = f"{where} goes from {start:g} s to {until} in a recording of {length:.2f} s"
        elif start == 0 and (end is None or abs(end - length) < 0.01):
            files[key] = stretch.recording
        else:
            wanted[key] = stretch
    if wanted:
        files.update(zip(wanted, cut(list(wanted.values())), strict=True))
    return {key: files[key] for key in stretches if key in files}


def cut(stretches: Sequence[Stretch]) -> list[Path]:
    """Cut stretches out of their recordings, once: mono 16-bit wav files at the recordings' own rates.

    Returns:
        A file for each stretch; of a recording that cannot be read, the recording itself, so that the inspection says
        what is wrong with it.
    """
    folder = cache_dir() / "stretches" / _digest(stretches)
    names = [f"{index:06d}_{re.sub(r'[^A-Za-z0-9._-]', '_', s.name)[-100:]}.wav" for index, s in enumerate(stretches)]
    with build_once(folder) as part:
        if part is not None:
            by_recording: dict[Path, list[int]] = defaultdict(list)
            for index, stretch in enumerate(stretches):
                by_recording[stretch.recording].append(index)
            for recording, indices in progress_bar(by_recording.items(), desc="Cutting recordings", unit="recording"):
                targets = {part / names[index]: stretches[index] for index in indices}
                _cut_recording(recording, targets)
    files = [folder / name for name in names]
    return [file if file.is_file() else s.recording for file, s in zip(files, stretches, strict=True)]


def cut_folder(folder: str | Path, seconds: float, key: str) -> list[tuple[Path, float]]:
    """Cut the recordings in a folder that are longer into pieces of equal length; the others stay as they are.

    Args:
        folder: The folder.
        seconds: Length of the longest piece.
        key: The option of the corpus that names the folder.

    Returns:
        The files that are short enough, then the pieces, with the duration of each.

    Raises:
        CorpusError: If the folder has no recordings.
    """
    path = Path(folder).expanduser()
    files = sound_files([path]) if path.is_dir() else []
    if not files:
        raise CorpusError(f"There are no recordings in {folder}: correct {key}.")
    whole: list[tuple[Path, float]] = []
    stretches: list[Stretch] = []
    for path in files:
        duration = duration_of(path)
        count = math.ceil(duration / seconds) if math.isfinite(duration) else 1
        if count <= 1:
            whole.append((path, duration))
            continue
        bounds = [index * duration / count for index in range(count + 1)]
        stretches += [
            Stretch(f"{path.stem}-{index}", path, start, end) for index, (start, end) in enumerate(pairwise(bounds))
        ]
    durations = [stretch.end - stretch.start for stretch in stretches if stretch.end is not None]
    return whole + list(zip(cut(stretches) if stretches else [], durations, strict=True))


def _cut_recording(recording: Path, targets: dict[Path, Stretch]) -> None:
    """Write stretches of one recording, nothing if it cannot be read."""
    try:
        rate = audio_info(recording).sampling_rate
        samples = read_audio(recording, rate)
    except AudioError:
        return
    for target, stretch in targets.items():
        end = None if stretch.end is None else round(stretch.end * rate)
        piece = samples[round(stretch.start * rate) : end]
        # Scaled here, as libsndfile rounds down: what was 16-bit stays bit for bit what it was.
        soundfile.write(target, np.clip(np.rint(piece * 32768), -32768, 32767).astype(np.int16), rate)


def _digest(stretches: Sequence[Stretch]) -> str:
    """Names the files by what is cut out of what; a recording that changes is cut again."""
    state = {}
    for recording in dict.fromkeys(stretch.recording for stretch in stretches):
        found = recording.stat() if recording.is_file() else None
        state[str(recording.absolute())] = None if found is None else (found.st_size, found.st_mtime_ns)
    wanted = [(s.name, str(s.recording.absolute()), s.start, s.end) for s in stretches]
    return digest_data(FORMAT_VERSION, state, wanted)[:16]
