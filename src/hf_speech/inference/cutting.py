"""Cuts long recordings where they are quietest, so that a teacher gets utterances.

This needs no model: the quietest fifth of a second is probably a pause between two words, and not the middle of a loud
one. Pieces are written as files, those of a recording all together or not at all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from hf_speech.common.progress import progress_bar
from hf_speech.data.audio import audio_info, read_audio
from hf_speech.data.cache import build_once, digest
from hf_speech.decoding.pauses import split_long
from hf_speech.errors import AudioError

FRAME_SECONDS, PAUSE_SECONDS = 0.02, 0.2


def cut_long(files: Sequence[Path], folder: Path, max_seconds: float) -> list[Path]:
    """Cuts the recordings that are too long.

    Args:
        files: Recordings.
        folder: Where the pieces are written, in a folder for each recording.
        max_seconds: Seconds of the longest piece.

    Returns:
        The recordings, with the pieces in place of those that are too long; what cannot be read stays.
    """
    found: list[Path] = []
    for file in progress_bar(files, desc="Cutting", unit="recording", leave=False):
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
    loudness = np.convolve(energy, np.ones(width), mode="same")
    scores = np.append(-loudness, -np.inf)  # There is no cut at a last, incomplete frame.
    longest = max(2, int(max_seconds * rate / frame))
    pieces = split_long(0, math.ceil(len(samples) / frame), longest, scores)
    return [(first * frame, min(last * frame, len(samples))) for first, last in pieces]


__all__ = ["cut_long", "find_cuts"]
