"""Cuts long recordings where they are quietest, so that a teacher gets utterances.

No model is needed for it: the quietest fifth of a second in the second half of what a piece may be at most is a pause
between words, or at least not the middle of a loud one. Pieces are files, each recording's made once and whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import soundfile

from hf_speech.common.progress import progress_bar
from hf_speech.data.audio import audio_info, read_audio
from hf_speech.data.cache import build_once, digest
from hf_speech.errors import AudioError

FRAME_SECONDS, PAUSE_SECONDS = 0.02, 0.2


def cut_long(files: Sequence[Path], folder: Path, max_seconds: float, progress: bool = True) -> list[Path]:
    """Cuts the recordings that are too long.

    Args:
        files: Recordings.
        folder: Where the pieces are written, in a folder for each recording.
        max_seconds: Seconds of the longest piece.
        progress: Whether to show a progress bar.

    Returns:
        The recordings, with the pieces in place of those that are too long; what cannot be read stays.
    """
    found: list[Path] = []
    for file in progress_bar(files, desc="Cutting", unit="recording", disable=not progress, leave=False):
        try:
            info = audio_info(file)
            if info.duration <= max_seconds:
                found.append(file)
                continue
            own = folder / f"{file.stem[-60:]}-{digest([{'path': str(file)}], max_seconds)}"
            with build_once(own) as part:
                if part is not None:
                    samples = read_audio(file, info.sampling_rate)
                    for number, (first, last) in enumerate(find_cuts(samples, info.sampling_rate, max_seconds)):
                        soundfile.write(part / f"{number:05d}.flac", samples[first:last], info.sampling_rate)
            found += sorted(own.iterdir())
        except AudioError:
            found.append(file)
    return found


def find_cuts(samples: np.ndarray, rate: int, max_seconds: float) -> list[tuple[int, int]]:
    """The pieces of a recording.

    Args:
        samples: Float array `(samples,)`.
        rate: Samples a second.
        max_seconds: Seconds of the longest piece.

    Returns:
        First sample of each piece and the one after its last; together they are the recording.
    """
    frame = max(1, round(FRAME_SECONDS * rate))
    energy = np.square(samples[: len(samples) // frame * frame].reshape(-1, frame)).sum(axis=1)
    width = round(PAUSE_SECONDS / FRAME_SECONDS)
    quiet = np.convolve(energy, np.ones(width), mode="same")
    longest = max(2, int(max_seconds * rate / frame))
    cuts = [0]
    while len(samples) - cuts[-1] > longest * frame:
        start = cuts[-1] // frame
        near = quiet[start + longest // 2 : start + longest]
        # Of equally quiet places the last, so that pieces are long.
        cuts.append((start + longest // 2 + len(near) - 1 - int(np.argmin(near[::-1]))) * frame)
    return list(pairwise([*cuts, len(samples)]))


__all__ = ["cut_long", "find_cuts"]
