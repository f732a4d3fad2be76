"""Recordings of any length: read in blocks, normalized by their speech; `chunks` computes over them.

* A long file is read and resampled in blocks, so that memory holds at most a chunk of it. Files that libsndfile cannot
  read in blocks, and arrays, are read whole.
* Normalization by utterance or by peak would amplify the noise of a chunk without speech until the model finds words in
  it. A long recording is therefore normalized as a whole, by the statistics of its loud seconds: training utterances
  were speech, too.
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

# Seconds are loud relative to the fifth loudest one, so that a slammed door does not count, unless that one is so much
# quieter than the loudest that it must be background noise.
_RANK = 5
_LOUD_DECIBELS = 20.0
_MAX_RANGE_DECIBELS = 30.0
_BLOCK_SECONDS = 10


@dataclass(frozen=True)
class Recording:
    """A recording that can be read repeatedly, a block at a time.

    Attributes:
        name: The name in error messages.
        sampling_rate: The rate in Hz at which it is read.
        seconds: Its duration according to its header.
        samples: The waveform `(samples,)`, if it is in memory.
        path: The file, if it is not.
    """

    name: str
    sampling_rate: int
    seconds: float
    samples: np.ndarray | None = None
    path: Path | None = None

    @classmethod
    def open(cls, source: AudioSource, sampling_rate: int) -> Recording:
        """Open a sound: read the header of a long file, and all of anything else.

        Raises:
            AudioError: If the file does not exist or is not a sound file.
        """
        name = source_name(source)
        info = audio_info(source)
        if info.duration > LONG_SECONDS and isinstance(source, str | Path) and info.format not in ("array", "FFmpeg"):
            return cls(name, sampling_rate, info.duration, path=Path(source))
        samples = read_audio(source, sampling_rate)
        return cls(name, sampling_rate, len(samples) / sampling_rate, samples)

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield the waveform from its start in blocks `(samples,)`: float32, mono, at `sampling_rate`.

        Raises:
            AudioError: If the file is damaged or truncated, or has samples that are not finite.
        """
        if self.samples is not None:
            yield self.samples
        elif self.path is not None:
            yield from read_blocks(self.path, self.sampling_rate, _BLOCK_SECONDS)


def fit_extractor(feature_extractor: Any, recording: Recording) -> Any:
    """Adapt a feature extractor to a long recording, so that it normalizes every part of it in the same way.

    Args:
        feature_extractor: The model's feature extractor.
        recording: The recording whose parts it will be given.

    Returns:
        A copy with the statistics, or the peak, of the recording's loud seconds; `feature_extractor` itself if its
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
    """Yield the whole seconds of a recording that are at most 20 dB quieter than its speech, `(sampling_rate,)`."""
    levels, speech = _levels(recording)
    return itertools.compress(_seconds(recording), levels > speech - _LOUD_DECIBELS)


def speech_peak(recording: Recording) -> float:
    """Return the largest magnitude in the loud seconds of a recording, except in those that are louder than speech."""
    levels, speech = _levels(recording)
    is_speech = (levels > speech - _LOUD_DECIBELS) & (levels <= speech)
    return max(float(np.abs(second).max()) for second in itertools.compress(_seconds(recording), is_speech))


def _levels(recording: Recording) -> tuple[np.ndarray, float]:
    """Levels in dB of the whole seconds of a recording, and the one that is taken for the level of speech."""
    levels = np.array([20 * np.log10(second.std() + 1e-7) for second in _seconds(recording)])
    *_, loudest = ordered = np.sort(levels)
    typical = ordered[-min(_RANK, len(ordered))]
    return levels, float(typical if loudest - typical < _MAX_RANGE_DECIBELS else loudest)


def _seconds(recording: Recording) -> Iterator[np.ndarray]:
    """Yield the whole seconds of a recording."""
    rest = np.zeros(0, dtype=np.float32)
    for block in recording.blocks():
        rest = np.concatenate((rest, block)) if len(rest) else block
        whole = len(rest) // recording.sampling_rate
        yield from rest[: whole * recording.sampling_rate].reshape(-1, recording.sampling_rate)
        rest = rest[whole * recording.sampling_rate :]
