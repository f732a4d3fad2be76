"""Reads recordings of any length in blocks, and normalizes them by their speech.

* A long file is read and resampled in blocks, so that memory holds at most a chunk of it. Files that libsndfile cannot
  read in blocks are read whole.
* Normalizing each chunk by utterance or by peak would amplify the noise of a chunk without speech until the model finds
  words in it. A long recording is therefore normalized as a whole, by the statistics of its loud seconds, because
  training utterances contain mostly speech.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hf_speech.data.audio import AudioSource, audio_info, read_audio, read_blocks, source_name

LONG_SECONDS = 20.0
"""Longer sounds are normalized as recordings, not as utterances."""

# The fifth loudest second is the reference level, so that a slammed door does not count, unless it is so much quieter
# than the loudest that it must be background noise.
_RANK = 5
_LOUD_DECIBELS = 20.0
_MAX_RANGE_DECIBELS = 30.0
_BLOCK_SECONDS = 10


@dataclass(frozen=True)
class Recording:
    """A recording that can be read repeatedly in blocks.

    Attributes:
        name: Name in error messages.
        sampling_rate: Sampling rate of the blocks in Hz.
        seconds: Duration according to the header.
        samples: The waveform `(samples,)` of a recording in memory.
        path: The file of any other recording.
    """

    name: str
    sampling_rate: int
    seconds: float
    samples: np.ndarray | None = None
    path: Path | None = None

    @classmethod
    def open(cls, source: AudioSource, sampling_rate: int) -> Recording:
        """Opens a sound; reads only the header of a long file, and all samples of any other sound.

        Raises:
            AudioError: If the file does not exist or is not a sound file.
        """
        name = source_name(source)
        if isinstance(source, str | Path) and Path(source).is_file():  # A pipe can be read only once.
            info = audio_info(source)
            if info.duration > LONG_SECONDS and info.format != "FFmpeg":
                return cls(name, sampling_rate, info.duration, path=Path(source))
        samples = read_audio(source, sampling_rate)
        return cls(name, sampling_rate, len(samples) / sampling_rate, samples)

    def blocks(self) -> Iterator[np.ndarray]:
        """Yields the waveform in blocks `(samples,)`: float32, mono, at `sampling_rate`.

        Raises:
            AudioError: If the file is damaged or truncated, or has samples that are not finite.
        """
        if self.samples is not None:
            yield self.samples
        elif self.path is not None:
            yield from read_blocks(self.path, self.sampling_rate, _BLOCK_SECONDS)


def fit_extractor(feature_extractor: Any, recording: Recording) -> Any:
    """Adapts a feature extractor to a long recording, so that it normalizes all chunks in the same way.

    Args:
        feature_extractor: The model's feature extractor.
        recording: The recording.

    Returns:
        A copy with the statistics, or the peak, of the recording's loud seconds; or `feature_extractor` itself if its
        normalization does not depend on the utterance, or the recording is short.
    """
    if recording.seconds <= LONG_SECONDS or feature_extractor.normalization not in ("utterance", "peak"):
        return feature_extractor
    fitted = copy.deepcopy(feature_extractor)
    if fitted.normalization == "peak":
        fitted.recording_peak = speech_peak(recording)
    else:
        fitted.normalization = "global"
        fitted.fit_global_statistics(loud_seconds(recording))
    return fitted


def loud_seconds(recording: Recording) -> Iterator[np.ndarray]:
    """Yields the seconds `(sampling_rate,)` of a recording that are at most 20 dB quieter than its speech."""
    levels, speech = _levels(recording)
    return itertools.compress(_seconds(recording), levels > speech - _LOUD_DECIBELS)


def speech_peak(recording: Recording) -> float:
    """Returns the largest magnitude in the loud seconds of a recording that are not louder than its speech."""
    levels, speech = _levels(recording)
    is_speech = (levels > speech - _LOUD_DECIBELS) & (levels <= speech)
    return max(float(np.abs(second).max()) for second in itertools.compress(_seconds(recording), is_speech))


def _levels(recording: Recording) -> tuple[np.ndarray, float]:
    """Returns the levels in dB of the seconds of a recording, and the estimated level of speech."""
    levels = np.array([20 * np.log10(second.std() + 1e-7) for second in _seconds(recording)])
    *_, loudest = ordered = np.sort(levels)
    typical = ordered[-min(_RANK, len(ordered))]
    return levels, float(typical if loudest - typical < _MAX_RANGE_DECIBELS else loudest)


def _seconds(recording: Recording) -> Iterator[np.ndarray]:
    """Yields the complete seconds of a recording."""
    rest = np.zeros(0, dtype=np.float32)
    for block in recording.blocks():
        rest = np.concatenate((rest, block)) if len(rest) else block
        whole = len(rest) // recording.sampling_rate
        yield from rest[: whole * recording.sampling_rate].reshape(-1, recording.sampling_rate)
        rest = rest[whole * recording.sampling_rate :]
