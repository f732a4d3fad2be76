"""Detects keywords, and speech, in sound that arrives in pieces of any length, with PyTorch or an exported stream.

The events and segments of a stream are those of the whole recording, however it is cut into pieces.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import soundfile

from hf_speech.common.files import write_json
from hf_speech.common.segments import Segment, SegmentDecoder, SegmentOptions
from hf_speech.data.audio import AudioSource, read_blocks
from hf_speech.decoding.keywords import (
    REFRACTORY_FRAMES,
    SMOOTHING_FRAMES,
    Event,
    KeywordDecoder,
    frame_probabilities,
)
from hf_speech.errors import AudioError, ModelError
from hf_speech.inference.opening import open_stream
from hf_speech.inference.recognizer import Model

CLIP_SECONDS = (-2.5, 0.5)
"""What is written around an event, from its time."""
PIECE_SECONDS = 0.08
"""Length of the pieces in which sound is read."""


@dataclass(frozen=True)
class DetectorOptions:
    """When a keyword counts as detected.

    Attributes:
        thresholds: The lowest score of each keyword; 0 for those that are not named.
        smoothing_frames: The last frames, at one of which the keyword has to be.
        refractory_frames: Frames after an event in which there is no other.
    """

    thresholds: Mapping[str, float] = field(default_factory=dict)
    smoothing_frames: int = SMOOTHING_FRAMES
    refractory_frames: int = REFRACTORY_FRAMES

    FILE: ClassVar[str] = "keywords.decoder.json"

    @classmethod
    def load(cls, path: Path | None) -> DetectorOptions:
        """The options in a file that `tune-detector` wrote, or the defaults if there is none.

        Raises:
            ModelError: If the file has no such options.
        """
        if path is None:
            return cls()
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return cls(
                {str(keyword): float(threshold) for keyword, threshold in content["thresholds"].items()},
                max(int(content["smoothing_frames"]), 1),
                max(int(content["refractory_frames"]), 1),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(
                f"{path} does not have the options of a detector: run hf-speech tune-detector again."
            ) from error

    def save(self, folder: Path, **origin: Any) -> Path:
        """Writes the options, and where they come from, into a model folder; returns the file."""
        path = folder / self.FILE
        write_json(path, dataclasses.asdict(self) | origin)
        return path


class Detector:
    """Detects keywords in a stream.

    Args:
        model: What `open_model` gave, or its folder or Hub id: a keyword spotter that can stream, or an exported one.
        options: When a keyword counts as detected; None for what `tune-detector` chose, if it did.
        threshold: The lowest score of all keywords, instead of their thresholds in the options.
        device: Where PyTorch computes.

    Attributes:
        keywords: What it listens for.
        sampling_rate: The rate in Hz of the sound that it takes.
        latency: Seconds from the beginning of a frame until its scores are known.

    Raises:
        ModelError: If the model is for another task or cannot stream.
    """

    def __init__(
        self,
        model: Model | str | Path,
        options: DetectorOptions | None = None,
        *,
        threshold: float | None = None,
        device: str | None = None,
    ) -> None:
        self._stream = open_stream(model, verb="listen", device=device)
        self.sampling_rate, self.latency = self._stream.sampling_rate, self._stream.latency
        found = self._stream.find_file(DetectorOptions.FILE)
        self.options = DetectorOptions.load(found) if options is None else options
        self.keywords = tuple(self._stream.labels[1:])
        if threshold is not None:
            self.options = dataclasses.replace(self.options, thresholds=dict.fromkeys(self.keywords, threshold))
        self._decoder = KeywordDecoder(
            self.keywords,
            self._stream.samples_per_frame / self.sampling_rate,
            **dataclasses.asdict(self.options),
        )

    def accept(self, samples: np.ndarray) -> list[Event]:
        """The keywords that have been detected with the next piece of sound.

        Args:
            samples: Any number of mono samples `(samples,)` at `sampling_rate`; floats, or integers of 8, 16 or 32
                bits, which are scaled to [-1, 1].

        Raises:
            AudioError: If the piece is not mono or not finite, or the stream was ended.
        """
        return self._decoder.accept(self._stream.accept(samples))

    def finish(self) -> list[Event]:
        """Ends the stream: the keywords in what was still waiting; `reset` begins another one."""
        return self._decoder.accept(self._stream.finish())

    def reset(self) -> None:
        """Forgets everything, ready for another stream."""
        self._stream.reset()
        self._decoder.reset()

    def listen(self, pieces: Iterable[np.ndarray]) -> Iterator[Event]:
        """The events of a whole stream, each as soon as it is known.

        Args:
            pieces: Pieces of sound, as for `accept`.
        """
        self.reset()
        for piece in pieces:
            yield from self.accept(piece)
        yield from self.finish()

    def listen_to_file(self, source: AudioSource) -> Iterator[Event]:
        """The events of a sound file of any length.

        Raises:
            AudioError: If it cannot be read.
        """
        yield from self.listen(read_blocks(source, self.sampling_rate, seconds=1.0))


def find_speech(
    model: Model | str | Path, source: AudioSource, options: SegmentOptions | None = None
) -> Iterator[Segment]:
    """The segments of a sound file of any length in which somebody speaks, each as soon as it has ended.

    Args:
        model: What `open_model` gave, or its folder or Hub id: a voice activity detector.
        source: The sound file.
        options: What counts as a segment.

    Raises:
        ModelError: If the model is for another task or cannot stream.
        AudioError: If the file cannot be read.
    """
    stream = open_stream(model, verb="segments")
    decoder = SegmentDecoder(stream.samples_per_frame / stream.sampling_rate, options)
    for block in read_blocks(source, stream.sampling_rate, seconds=1.0):
        yield from decoder.accept(frame_probabilities(stream.accept(block))[:, 1])
    yield from decoder.accept(frame_probabilities(stream.finish())[:, 1])
    yield from decoder.finish()


def save_clip(samples: np.ndarray, time: float, sampling_rate: int, folder: Path, name: str) -> Path:
    """Writes the sound around an event, `CLIP_SECONDS`, as a wav file; returns its path.

    The clips of false alarms are the negatives that a model has most to learn from.

    Args:
        samples: The whole recording, `(samples,)`.
        time: The time of the event in seconds.
        sampling_rate: Of the samples, in Hz.
        folder: Folder of the clips.
        name: Name of the recording, with which that of the clip begins.
    """
    start, end = (max(round((time + seconds) * sampling_rate), 0) for seconds in CLIP_SECONDS)
    path = folder / f"{name}-{time:.2f}.wav"
    soundfile.write(path, samples[start:end], sampling_rate, subtype="PCM_16")
    return path


def raw_pieces(read: Callable[[int], bytes], sampling_rate: int) -> Iterator[np.ndarray]:
    """Pieces of a raw stream of mono 16-bit samples, low byte first.

    Args:
        read: Gives at most so many bytes, none at the end.
        sampling_rate: Rate of the samples.
    """
    size = 2 * round(PIECE_SECONDS * sampling_rate)
    rest = b""
    while data := read(size):
        data = rest + data
        whole = len(data) // 2 * 2
        rest = data[whole:]
        yield np.frombuffer(data[:whole], dtype="<i2")


def microphone_pieces(sampling_rate: int) -> Iterator[np.ndarray]:
    """Pieces of what the default microphone records, without an end.

    Raises:
        AudioError: If the optional library sounddevice is missing, or there is no microphone.
    """
    try:
        import sounddevice
    except (ImportError, OSError) as error:
        raise AudioError(
            f"The microphone needs the library sounddevice, and importing it failed ({error}): pip install "
            "sounddevice, or give a sound file, or - for raw samples from standard input."
        ) from error
    size = round(PIECE_SECONDS * sampling_rate)
    try:
        with sounddevice.InputStream(sampling_rate, size, channels=1, dtype="float32") as microphone:
            while True:
                yield microphone.read(size)[0][:, 0]
    except sounddevice.PortAudioError as error:
        raise AudioError(f"The microphone cannot be opened ({error}): give a sound file instead.") from error


__all__ = [
    "PIECE_SECONDS",
    "Detector",
    "DetectorOptions",
    "find_speech",
    "microphone_pieces",
    "raw_pieces",
    "save_clip",
]
