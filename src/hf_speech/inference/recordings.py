"""Recordings of any length: read in blocks, processed in chunks, normalized by their speech.

* A long file is read and resampled in blocks, so that memory holds at most a chunk of it. Files that libsndfile cannot
  read in blocks, and arrays, are read whole.
* The model gets overlapping chunks, and the overlap is discarded, so that every frame is computed with context on both
  sides. Chunks start and end at logit frames: their log-probabilities join without a seam, and decoders see one
  recording.
* Normalization by utterance or by peak would amplify the noise of a chunk without speech until the model finds words in
  it. A long recording is therefore normalized as a whole, by the statistics of its loud seconds: training utterances
  were speech, too.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from tqdm.auto import tqdm

from hf_speech.data.audio import (
    BLOCK_SAMPLES,
    AudioSource,
    BadAudio,
    SteadyStream,
    audio_info,
    check_finite,
    check_sound,
    read_audio,
    source_name,
)
from hf_speech.errors import ModelError
from hf_speech.inference.recognizer import Recognizer

LONG_SECONDS = 20.0
"""Longer sounds are normalized as recordings, not as utterances."""

CHUNK_SECONDS, OVERLAP_SECONDS = 60.0, 10.0
"""With a shorter overlap, one word in a hundred depends on where chunks end: recurrences have a long memory."""

# Seconds are loud relative to the fifth loudest one, so that a slammed door does not count, unless that one is so much
# quieter than the loudest that it must be background noise.
_RANK = 5
_LOUD_DECIBELS = 20.0
_MAX_RANGE_DECIBELS = 30.0
_BLOCK_SECONDS = 10
_MP3_OVERLAP = 2304  # a complete mp3 may lack one or two frames of 1152 samples


@dataclass(frozen=True)
class Recording:
    """A sound that can be read repeatedly, a block at a time.

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

        Args:
            source: A file, or anything else that `read_audio` reads.
            sampling_rate: The rate in Hz at which to read it.

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
            try:
                with self.path.open("rb") as stream, soundfile.SoundFile(SteadyStream(stream)) as sound:
                    yield from self._decoded(sound)
            except soundfile.SoundFileError as error:
                raise BadAudio(f"{self.name} is damaged ({error}): get it again.") from error

    def _decoded(self, sound: soundfile.SoundFile) -> Iterator[np.ndarray]:
        check_sound(sound, self.name)
        rate, size = sound.samplerate, min(_BLOCK_SECONDS * sound.samplerate, BLOCK_SAMPLES // sound.channels)
        stream = soxr.ResampleStream(rate, self.sampling_rate, 1, dtype="float32", quality="HQ")
        count, promised = 0, round(self.seconds * rate)
        if sound.frames != promised:
            sound.seekable = lambda: False  # soundfile seeks after each read, which fails at an unknown end
        while True:
            block = sound.read(size, dtype="float32", always_2d=True).mean(axis=1)
            count += len(block)
            check_finite(block, self.name)
            last = len(block) < size
            piece = block if rate == self.sampling_rate else stream.resample_chunk(block, last=last)
            if len(piece):
                yield piece
            if last:
                break
        if count < promised - _MP3_OVERLAP:
            raise BadAudio(
                f"{self.name} is truncated: its header promises {promised} samples, and it holds {count}; get it again."
            )


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


def log_probabilities(
    recognizer: Recognizer,
    sound: np.ndarray | Recording,
    chunk_seconds: float = CHUNK_SECONDS,
    overlap_seconds: float = OVERLAP_SECONDS,
    progress: bool = False,
) -> np.ndarray:
    """Compute the log-probabilities of a recording of any length.

    Args:
        recognizer: A recognizer.
        sound: A recording, or a mono waveform `(samples,)` at the model's rate.
        chunk_seconds: Length of a chunk; a shorter recording is processed at once.
        overlap_seconds: Context at either end of a chunk, the log-probabilities of which are discarded.
        progress: Whether to show a progress bar.

    Returns:
        Float32 `(samples // samples_per_frame, tokens + phones)`.

    Raises:
        AudioError: If the recording is damaged.
        ModelError: If the overlap leaves nothing of a chunk.
    """
    ratio, rate = recognizer.samples_per_frame, recognizer.sampling_rate
    if not (0 <= 2 * overlap_seconds < chunk_seconds < math.inf and chunk_seconds * rate >= ratio):
        raise ModelError(
            f"Chunks of {chunk_seconds} s with {overlap_seconds} s of context at either end have no middle: give "
            "longer chunks or less overlap."
        )
    chunk, overlap = (round(seconds * rate / ratio) for seconds in (chunk_seconds, overlap_seconds))
    overlap = min(overlap, (chunk - 1) // 2)  # both were rounded
    if isinstance(sound, np.ndarray):
        sound = Recording("the waveform", rate, len(sound) / rate, sound)
    hear = recognizer.hear(sound)
    blocks = sound.blocks()
    # Samples from logit frame `first` on: a chunk, and one more frame to see whether it is the last one. The
    # log-probabilities of the first `known` frames are in `pieces`.
    samples = np.zeros(0, dtype=np.float32)
    pieces: list[np.ndarray] = []
    first = known = 0
    with tqdm(total=round(sound.seconds), unit="s", disable=not progress, leave=False) as bar:
        while True:
            while len(samples) < (chunk + 1) * ratio and (block := next(blocks, None)) is not None:
                samples = np.concatenate((samples, block)) if len(samples) else block
            is_last = len(samples) < (chunk + 1) * ratio
            last = first + (len(samples) // ratio if is_last else chunk)
            if last > known:
                # The last chunk keeps the samples after its last whole frame, as the whole recording would.
                inputs = samples if is_last else samples[: chunk * ratio]
                end = last if is_last else last - overlap
                pieces.append(hear(inputs)[known - first : end - first])
                bar.update(round((end - known) * ratio / rate))
                known = end
            if is_last:
                break
            samples = samples[(known - overlap - first) * ratio :]
            first = known - overlap
    width = len(recognizer.tokens) + recognizer.num_phones
    return np.concatenate([np.zeros((0, width), dtype=np.float32), *pieces])


__all__ = [
    "CHUNK_SECONDS",
    "LONG_SECONDS",
    "OVERLAP_SECONDS",
    "Recording",
    "fit_extractor",
    "log_probabilities",
    "loud_seconds",
    "speech_peak",
]
