"""Cuts long recordings at their quietest points into utterances for a teacher.

This needs no model: the quietest fifth of a second is probably a pause between words. The pieces are written to files,
either all pieces of a recording or none.
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
    """Cuts recordings that are longer than `max_seconds`.

    Args:
        files: Recordings.
        folder: Folder for the pieces; each recording gets a subfolder.
        max_seconds: Maximum length of a piece in seconds.

    Returns:
        The recordings, with long ones replaced by their pieces. Unreadable files are included unchanged.
    """
    result: list[Path] = []
    for file in progress_bar(files, desc="Cutting", unit="recording", leave=False):
        try:
            info = audio_info(file)
            if info.duration <= max_seconds:
                result.append(file)
                continue
            pieces = folder / f"{file.stem[-60:]}-{digest([{'path': str(file)}], max_seconds)}"
            with build_once(pieces) as part:
                if part is not None:
                    samples = read_audio(file, info.sampling_rate)
                    for number, (first, last) in enumerate(find_cuts(samples, info.sampling_rate, max_seconds)):
                        soundfile.write(part / f"{number:05d}.flac", samples[first:last], info.sampling_rate)
            result += sorted(pieces.iterdir())
        except AudioError:
            result.append(file)
    return result


def find_cuts(samples: np.ndarray, rate: int, max_seconds: float) -> list[tuple[int, int]]:
    """Finds the pieces of a recording.

    Args:
        samples: Float array `(samples,)`.
        rate: Sampling rate in Hz.
        max_seconds: Maximum length of a piece in seconds.

    Returns:
        Start and end sample of each piece, the end exclusive. The pieces cover the whole recording.
    """
    frame = max(1, round(FRAME_SECONDS * rate))
    energy = np.square(samples[: len(samples) // frame * frame].reshape(-1, frame)).sum(axis=1)
    width = round(PAUSE_SECONDS / FRAME_SECONDS)
    loudness = np.convolve(energy, np.ones(width), mode="same")
    scores = np.append(-loudness, -np.inf)  # Never cut at an incomplete last frame.
    longest = max(2, int(max_seconds * rate / frame))
    pieces = split_long(0, math.ceil(len(samples) / frame), longest, scores)
    return [(first * frame, min(last * frame, len(samples))) for first, last in pieces]
