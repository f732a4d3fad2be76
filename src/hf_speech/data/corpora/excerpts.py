"""Cuts utterances that are segments of longer recordings into separate files.

All other code assumes that a row of a corpus is a whole file. The segments are cut once and kept in the cache, which
avoids decoding an hour of audio for every utterance of ten seconds.
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

import librosa  # Imports its submodules lazily, which saves the second that numba takes.
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

# Part of the digest: increase it when the files for the same segments change.
FORMAT_VERSION = 1
# Seconds by which a segment may exceed its recording, and is then shortened, as in Kaldi's extract-segments.
TOLERANCE = 0.5
QUIET = 35.0
"""Parts of a clip that are this many dB below its loudest part are silence."""


@dataclass(frozen=True)
class Excerpt:
    """A segment of a recording.

    Args:
        name: Name of the utterance, which is part of its file name.
        recording: File of the recording.
        start: Start in seconds.
        end: End in seconds, None for the end of the recording.
    """

    name: str
    recording: Path
    start: float
    end: float | None


def sound_bounds(samples: np.ndarray, sampling_rate: int, decibels: float) -> tuple[int, int]:
    """Returns the index of the first sample after leading silence, and the end index before trailing silence.

    Args:
        samples: `(samples,)`.
        sampling_rate: The sampling rate in Hz.
        decibels: The level of silence in dB below the loudest part.
    """
    hop = max(sampling_rate // 100, 1)
    _, (start, end) = librosa.effects.trim(samples, top_db=decibels, frame_length=4 * hop, hop_length=hop)
    return (int(start), int(end)) if end > start else (0, len(samples))


def cut_checked(excerpts: Mapping[Key, tuple[str, Excerpt]], reasons: dict[Key, str]) -> dict[Key, Path]:
    """Cuts the segments that are inside their recordings.

    Args:
        excerpts: The segments, each after its location for errors ("FILE, line 3,").
        reasons: A dictionary to which the reasons for segments that cannot be cut are added.

    Returns:
        Files of the segments. A segment that is a whole recording gives the recording itself.
    """
    durations: dict[Path, float] = {}
    to_cut: dict[Key, Excerpt] = {}
    files: dict[Key, Path] = {}
    for key, (where, excerpt) in excerpts.items():
        start, end = excerpt.start, excerpt.end
        if excerpt.recording not in durations:
            durations[excerpt.recording] = duration_of(excerpt.recording)
        length = durations[excerpt.recording]  # NaN for an unreadable recording, for which all comparisons are false
        if not math.isfinite(start) or start < 0 or (end is not None and not start < end < math.inf):
            reasons[key] = f"{where} goes from {start:g} s to {'the end' if end is None else f'{end:g} s'}"
        elif start >= length or (end is not None and end > length + TOLERANCE):
            until = "its end" if end is None else f"{end:g} s"
            reasons[key] = f"{where} goes from {start:g} s to {until} in a recording of {length:.2f} s"
        elif start == 0 and (end is None or abs(end - length) < 0.01):
            files[key] = excerpt.recording
        else:
            to_cut[key] = excerpt
    if to_cut:
        files.update(zip(to_cut, cut(list(to_cut.values())), strict=True))
    return {key: files[key] for key in excerpts if key in files}


def cut(excerpts: Sequence[Excerpt]) -> list[Path]:
    """Cuts segments out of their recordings into mono 16-bit wav files in the cache, at the rates of the recordings.

    Returns:
        A file for each segment. For an unreadable recording, this is the recording itself, so that the inspection
        reports the error.
    """
    folder = cache_dir() / "stretches" / _digest(excerpts)
    names = [f"{index:06d}_{re.sub(r'[^A-Za-z0-9._-]', '_', s.name)[-100:]}.wav" for index, s in enumerate(excerpts)]
    with build_once(folder) as part:
        if part is not None:
            by_recording: dict[Path, list[int]] = defaultdict(list)
            for index, excerpt in enumerate(excerpts):
                by_recording[excerpt.recording].append(index)
            for recording, indices in progress_bar(by_recording.items(), desc="Cutting recordings", unit="recording"):
                targets = {part / names[index]: excerpts[index] for index in indices}
                _cut_recording(recording, targets)
    files = [folder / name for name in names]
    return [file if file.is_file() else s.recording for file, s in zip(files, excerpts, strict=True)]


def cut_folder(folder: str | Path, seconds: float, key: str) -> list[tuple[Path, float]]:
    """Cuts the long recordings in a folder into pieces of equal length.

    Args:
        folder: The folder.
        seconds: Maximum length of a piece.
        key: The option of the corpus that names the folder, for errors.

    Returns:
        The files that are short enough, followed by the pieces, each with its duration.

    Raises:
        CorpusError: If the folder has no recordings.
    """
    path = Path(folder).expanduser()
    files = sound_files([path]) if path.is_dir() else []
    if not files:
        raise CorpusError(f"There are no recordings in {folder}: correct {key}.")
    whole: list[tuple[Path, float]] = []
    excerpts: list[Excerpt] = []
    for path in files:
        duration = duration_of(path)
        count = math.ceil(duration / seconds) if math.isfinite(duration) else 1
        if count <= 1:
            whole.append((path, duration))
            continue
        bounds = [index * duration / count for index in range(count + 1)]
        excerpts += [
            Excerpt(f"{path.stem}-{index}", path, start, end) for index, (start, end) in enumerate(pairwise(bounds))
        ]
    durations = [excerpt.end - excerpt.start for excerpt in excerpts if excerpt.end is not None]
    return whole + list(zip(cut(excerpts) if excerpts else [], durations, strict=True))


def _cut_recording(recording: Path, targets: dict[Path, Excerpt]) -> None:
    """Writes the segments of one recording, or nothing if it cannot be read."""
    try:
        rate = audio_info(recording).sampling_rate
        samples = read_audio(recording, rate)
    except AudioError:
        return
    for target, excerpt in targets.items():
        end = None if excerpt.end is None else round(excerpt.end * rate)
        piece = samples[round(excerpt.start * rate) : end]
        # Round here, since libsndfile truncates: 16-bit recordings are then copied bit by bit.
        soundfile.write(target, np.clip(np.rint(piece * 32768), -32768, 32767).astype(np.int16), rate)


def _digest(excerpts: Sequence[Excerpt]) -> str:
    """Returns a digest of the segments and the state of their recordings."""
    state = {}
    for recording in dict.fromkeys(excerpt.recording for excerpt in excerpts):
        stat = recording.stat() if recording.is_file() else None
        state[str(recording.absolute())] = None if stat is None else (stat.st_size, stat.st_mtime_ns)
    segments = [(s.name, str(s.recording.absolute()), s.start, s.end) for s in excerpts]
    return digest_data(FORMAT_VERSION, state, segments)[:16]
