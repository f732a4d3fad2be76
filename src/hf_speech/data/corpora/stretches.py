"""Utterances that are stretches of longer recordings, cut into files of their own.

A row of a corpus is a whole sound everywhere else, so the stretches are cut once and kept in the cache, rather than
every reader of rows being taught to seek. It costs their size on the disk and saves decoding an hour for ten seconds.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from tqdm.auto import tqdm

from hf_speech.data.audio import audio_info, read_audio
from hf_speech.data.cache import build_once, cache_dir
from hf_speech.errors import AudioError

# Part of the digest: to be raised whenever the same stretches give other files.
FORMAT_VERSION = 1


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


def cut(stretches: Sequence[Stretch]) -> list[Path]:
    """Cut stretches out of their recordings, once: mono 16-bit wav files at the recordings' own rates.

    Args:
        stretches: What to cut; what reaches beyond its recording ends with it.

    Returns:
        A file for each stretch; of a recording that cannot be read, the recording itself, so that the inspection says
        what is wrong with it.

    Raises:
        CorpusError: If the cache cannot be written.
    """
    folder = cache_dir() / "stretches" / _digest(stretches)
    names = [f"{index:06d}_{re.sub(r'[^A-Za-z0-9._-]', '_', s.name)[-100:]}.wav" for index, s in enumerate(stretches)]
    with build_once(folder) as part:
        if part is not None:
            by_recording: dict[Path, list[int]] = defaultdict(list)
            for index, stretch in enumerate(stretches):
                by_recording[stretch.recording].append(index)
            for recording, indices in tqdm(by_recording.items(), desc="Cutting recordings", unit="recording"):
                targets = {part / names[index]: stretches[index] for index in indices}
                _cut_recording(recording, targets)
    files = [folder / name for name in names]
    return [file if file.is_file() else s.recording for file, s in zip(files, stretches, strict=True)]


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
    return hashlib.sha256(json.dumps([FORMAT_VERSION, state, wanted]).encode()).hexdigest()[:16]
