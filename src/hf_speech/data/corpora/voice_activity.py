"""Recordings of clean speech and of noise, for voice activity detection.

Speech is detected by loudness, which works only for clean recordings; noise is added in training
(`augmentation.noise_snr`). For recordings with manual labels, use the corpus `csv`, with a column of segments
(`0.31-2.4 2.9-4.2`, or `none`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np

from hf_speech.common.progress import progress_bar
from hf_speech.common.ranges import Range
from hf_speech.common.segments import NOTHING, SegmentOptions, find_segments, format_segments
from hf_speech.data.audio import read_audio
from hf_speech.data.corpora.base import SPLITS, ListedCorpus
from hf_speech.data.corpora.excerpts import cut_folder
from hf_speech.data.corpora.utterance import Utterance
from hf_speech.errors import AudioError, CorpusError

RATE = 16_000
FRAME, WINDOW = RATE // 100, RATE // 40
BELOW_SPEECH = 35.0
"""Speech is at most this many dB below its loudest parts."""
RULES = SegmentOptions(min_silence=0.15, min_speech=0.05, padding=0.02)


@dataclass(kw_only=True)
class VoiceActivity(ListedCorpus):
    """Folders of clean speech and of noise for each split.

    Args:
        train_speech: Folders of clean recordings of speech to train on.
        validation_speech: Folders of clean recordings of other speakers to validate on.
        test_speech: Folders of clean recordings of yet other speakers to test on.
        train_noise: Folders of recordings without speech to train on.
        validation_noise: Folders of other recordings without speech to validate on.
        test_noise: Folders of other recordings without speech to test on.
        max_seconds: Maximum length of a piece; longer recordings are cut.
    """

    name: ClassVar[str] = "voice_activity"
    title: ClassVar[str] = "speech and noise"

    train_speech: list[str] | None = None
    validation_speech: list[str] | None = None
    test_speech: list[str] | None = None
    train_noise: list[str] | None = None
    validation_noise: list[str] | None = None
    test_noise: list[str] | None = None
    max_seconds: Annotated[float, Range(1, 600)] = 15.0

    def splits(self) -> dict[str, list[Utterance]]:
        """Returns the pieces of all recordings, with the segments of speech in each."""
        if not self.train_speech:
            raise CorpusError("There is no speech: set train_speech to folders of clean recordings.")
        splits: dict[str, list[Utterance]] = {}
        for split in SPLITS:
            speech = self._pieces(f"{split}_speech")
            for piece in progress_bar(speech, desc=f"Finding speech for {split}", unit="recording", leave=False):
                piece.text = _segments(piece)
            splits[split] = speech + self._pieces(f"{split}_noise")
        return splits

    def _pieces(self, key: str) -> list[Utterance]:
        """Returns the recordings of the folders of an option in pieces, without segments of speech."""
        found: list[Utterance] = []
        for folder in getattr(self, key) or ():
            pieces = cut_folder(folder, self.max_seconds, key)
            found += [Utterance(path, text=NOTHING, duration=seconds) for path, seconds in pieces]
        return found


def _segments(piece: Utterance) -> str:
    """Returns the segments of speech of a piece; none if it cannot be read, which the inspection reports."""
    assert isinstance(piece.audio, Path)
    try:
        samples = read_audio(piece.audio, RATE)
    except AudioError:
        return NOTHING
    return format_segments(find_segments(is_loud(samples), FRAME / RATE, RULES))


def is_loud(samples: np.ndarray) -> np.ndarray:
    """Returns which frames of a clean recording are loud enough to be speech.

    The threshold is a quarter of the way, in dB, from the background to the loudest parts, but at most `BELOW_SPEECH`
    below these.

    Args:
        samples: `(samples,)` at 16 kHz.

    Returns:
        `(frames,)` booleans, a frame every 10 ms.
    """
    if len(samples) < WINDOW:
        return np.zeros(len(samples) // FRAME, dtype=bool)
    power = np.concatenate(([0.0], np.cumsum(np.square(samples, dtype=np.float64))))
    starts = np.clip(np.arange(len(samples) // FRAME) * FRAME + (FRAME - WINDOW) // 2, 0, len(samples) - WINDOW)
    level = 10 * np.log10((power[starts + WINDOW] - power[starts]).clip(0) / WINDOW + 1e-10)
    background, loudest = np.percentile(level, (5, 95))
    loud: np.ndarray = level > max(background + (loudest - background) / 4, loudest - BELOW_SPEECH)
    return loud
