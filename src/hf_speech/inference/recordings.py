"""Recordings of any length: read a block at a time, heard in chunks, normalized by what is loud in them.

Three decisions:

* Of a long file never more is in memory than a chunk: it is read and resampled by blocks. What libsndfile cannot read
  by blocks, or is in memory anyway, is read whole.
* It is heard in chunks that overlap, and of each chunk only the middle is believed, so that every frame has been heard
  with its surroundings. Chunks begin and end between logit frames, so their log-probabilities join without a seam, and
  whatever decodes them sees one recording.
* A model that normalizes by utterance would blow up the hiss of a chunk in which nobody speaks until it hears words in
  it. So a long recording is normalized as one, and by its loud seconds alone: utterances in training were speech, too.
"""

from __future__ import annotations

import copy
import itertools
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
"""What is longer is normalized as a recording, and not as an utterance."""

CHUNK_SECONDS, OVERLAP_SECONDS = 60.0, 10.0
"""Recurrences remember for longer than one would think: with less, a word in a hundred depends on where chunks end."""

# Of the fifth loudest second, lest a slammed door be the measure.
_MEASURE = 5
_LOUD_DECIBELS = 20.0
_BLOCK_SECONDS = 10
_MP3_OVERLAP = 2304  # a whole mp3 may lack one or two frames of 1152 samples


@dataclass(frozen=True)
class Recording:
    """A sound that can be read again and again, a block at a time.

    Attributes:
        name: What errors call it.
        sampling_rate: The rate in Hz at which it is read.
        seconds: Its length, as far as its header knows.
        samples: The waveform `(samples,)`, if it is in memory.
        path: The file otherwise.
    """

    name: str
    sampling_rate: int
    seconds: float
    samples: np.ndarray | None = None
    path: Path | None = None

    @classmethod
    def open(cls, source: AudioSource, sampling_rate: int) -> Recording:
        """Looks at a sound; a short one is read.

        Args:
            source: A file, or whatever else `read_audio` reads.
            sampling_rate: The wanted rate in Hz.

        Raises:
            AudioError: If there is no such file, or it is not a sound.
        """
        name = source_name(source)
        info = audio_info(source)
        if info.duration > LONG_SECONDS and isinstance(source, str | Path) and info.format not in ("array", "FFmpeg"):
            return cls(name, sampling_rate, info.duration, path=Path(source))
        samples = read_audio(source, sampling_rate)
        return cls(name, sampling_rate, len(samples) / sampling_rate, samples)

    def blocks(self) -> Iterator[np.ndarray]:
        """The waveform from the beginning, in blocks `(samples,)`, float32, mono, at the sampling rate.

        Raises:
            AudioError: If the file turns out to be damaged, truncated or not finite.
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
                f"{self.name} is truncated: its header promises {promised} samples and holds {count}; get it again."
            )


def fit_extractor(feature_extractor: Any, recording: Recording) -> Any:
    """A feature extractor that normalizes any part of a recording as the recording.

    Args:
        feature_extractor: The model's; one that does not normalize by utterance is given back as it is.
        recording: What is to be heard with it.

    Returns:
        The same or another one, with the statistics of the seconds that are at most 20 dB quieter than the loudest.
    """
    if feature_extractor.normalization != "utterance" or recording.seconds <= LONG_SECONDS:
        return feature_extractor
    fitted = copy.deepcopy(feature_extractor)
    fitted.normalization = "global"
    fitted.fit_global_statistics(loud_seconds(recording))
    return fitted


def loud_seconds(recording: Recording) -> Iterator[np.ndarray]:
    """The whole seconds of a recording that are at most 20 dB quieter than the loudest, `(sampling_rate,)` each."""
    levels = np.array([20 * np.log10(second.std() + 1e-7) for second in _seconds(recording)])
    loudest = np.sort(levels)[-min(_MEASURE, len(levels))]
    return itertools.compress(_seconds(recording), levels > loudest - _LOUD_DECIBELS)


def _seconds(recording: Recording) -> Iterator[np.ndarray]:
    """The whole seconds of a recording, one by one."""
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
    """Log-probabilities of a recording of any length.

    Args:
        recognizer: A recognizer.
        sound: A recording, or a mono waveform `(samples,)` at the model's rate.
        chunk_seconds: Length of a chunk; a recording up to this long is heard as a whole.
        overlap_seconds: How much of a chunk's either end is only heard as surroundings.
        progress: Whether to show a progress bar.

    Returns:
        Float32 `(samples // samples_per_frame, tokens + phones)`.

    Raises:
        AudioError: If the recording turns out to be damaged.
        ModelError: If the overlap leaves nothing of a chunk.
    """
    ratio, rate = recognizer.samples_per_frame, recognizer.sampling_rate
    chunk, overlap = (round(seconds * rate / ratio) for seconds in (chunk_seconds, overlap_seconds))
    if chunk <= 2 * overlap:
        raise ModelError(
            f"Chunks of {chunk_seconds} s with {overlap_seconds} s of surroundings at either end have no middle: "
            "give longer chunks or less overlap."
        )
    if isinstance(sound, np.ndarray):
        sound = Recording("the waveform", rate, len(sound) / rate, sound)
    hear = recognizer.hear(sound)
    blocks = sound.blocks()
    # The samples from logit frame `first` on, as many as a chunk needs, and a frame to see whether there are more.
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
                # The last chunk keeps the samples behind the last whole frame, as the recording as a whole does.
                heard = samples if is_last else samples[: chunk * ratio]
                believed = last if is_last else last - overlap
                pieces.append(hear(heard)[known - first : believed - first])
                bar.update(round((believed - known) * ratio / rate))
                known = believed
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
]
