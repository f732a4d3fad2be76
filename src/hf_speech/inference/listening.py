"""Detects keywords and speech in a stream of sound, with PyTorch or an exported model.

Events and segments do not depend on how the recording is cut into pieces.
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
from hf_speech.decoding.patterns import PATTERNS, load_patterns
from hf_speech.errors import AudioError, ModelError
from hf_speech.inference.opening import open_stream
from hf_speech.inference.recognizer import Model
from hf_speech.tasks import check_verb

CLIP_SECONDS = (-2.5, 0.5)
"""Start and end of the clip of an event, in seconds relative to its time."""
PIECE_SECONDS = 0.08
"""Length of the pieces that are read from a stream."""


@dataclass(frozen=True)
class DetectorOptions:
    """Options for detecting keywords.

    Attributes:
        thresholds: Lowest score of each keyword; 0 for keywords that are not listed.
        smoothing_frames: Number of recent frames in which a keyword may have its peak.
        refractory_frames: Number of frames after an event without another event.
    """

    thresholds: Mapping[str, float] = field(default_factory=dict)
    smoothing_frames: int = SMOOTHING_FRAMES
    refractory_frames: int = REFRACTORY_FRAMES

    FILE: ClassVar[str] = "keywords.decoder.json"

    @classmethod
    def load(cls, path: Path | None) -> DetectorOptions:
        """Reads the options that `tune-detector` wrote, or returns the defaults if `path` is None.

        Raises:
            ModelError: If the file is damaged.
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
            raise ModelError(f"{path} has no options of a detector: run hf-speech tune-detector again.") from error

    def save(self, folder: Path, **origin: Any) -> Path:
        """Writes the options and their origin to a model folder, and returns the file."""
        path = folder / self.FILE
        write_json(path, dataclasses.asdict(self) | origin)
        return path


class Detector:
    """Detects keywords in a stream.

    Args:
        model: A keyword spotter that can stream, or a recognizer in which keywords were enrolled: a model from
            `open_model`, a folder, an exported file, or a Hub id.
        options: Options for detecting keywords; None for those in the model's folder, if any.
        threshold: Lowest score of all keywords, instead of the thresholds in the options.
        device: Device for PyTorch.

    Attributes:
        keywords: The keywords.
        sampling_rate: Sampling rate of the input in Hz.
        latency: Seconds from the start of a frame until its scores are known.

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
        self._stream = open_stream(model, device=device)
        patterns = self._stream.find_file(PATTERNS)
        if patterns is None:
            check_verb(self._stream.task, self._stream.name, "listen")
        elif (loaded := getattr(self._stream, "loaded", None)) is not None:
            self._stream = keyword_model(loaded).stream()
        else:
            raise ModelError(
                f"{self._stream.name} is exported, but enrolled keywords need PyTorch: give the model folder."
            )
        self.sampling_rate, self.latency = self._stream.sampling_rate, self._stream.latency
        path = self._stream.find_file(DetectorOptions.FILE)
        self.options = DetectorOptions.load(path) if options is None else options
        enrolled = None if patterns is None else load_patterns(patterns, len(self._stream.labels))
        self.keywords = tuple(self._stream.labels[1:] if enrolled is None else enrolled)
        if threshold is not None:
            self.options = dataclasses.replace(self.options, thresholds=dict.fromkeys(self.keywords, threshold))
        self._decoder = KeywordDecoder(
            self.keywords,
            self._stream.samples_per_frame / self.sampling_rate,
            **dataclasses.asdict(self.options),
            patterns=None if enrolled is None else (list(enrolled.values()), self._stream.labels),
        )

    def accept(self, samples: np.ndarray) -> list[Event]:
        """Processes a piece of sound and returns the keywords detected in it.

        Args:
            samples: Any number of mono samples `(samples,)` at `sampling_rate`; floats, or integers of 8, 16 or 32
                bits, which are scaled to [-1, 1].

        Raises:
            AudioError: If the piece is not mono or not finite, or the stream has ended.
        """
        return self._decoder.accept(self._stream.accept(samples))

    def finish(self) -> list[Event]:
        """Ends the stream and returns the remaining keywords; `reset` starts another stream."""
        return self._decoder.accept(self._stream.finish())

    def reset(self) -> None:
        """Resets the state for another stream."""
        self._stream.reset()
        self._decoder.reset()

    def listen(self, pieces: Iterable[np.ndarray]) -> Iterator[Event]:
        """Yields the events of a whole stream, each as soon as it is detected.

        Args:
            pieces: Pieces of sound, as for `accept`.
        """
        self.reset()
        for piece in pieces:
            yield from self.accept(piece)
        yield from self.finish()

    def listen_to_file(self, source: AudioSource) -> Iterator[Event]:
        """Yields the events of a sound file of any length.

        Raises:
            AudioError: If the file cannot be read.
        """
        yield from self.listen(read_blocks(source, self.sampling_rate, seconds=1.0))


def keyword_model(loaded: Any) -> Any:
    """Returns the model that the patterns of keywords refer to: one for the phones of a recognizer, if it has any.

    Args:
        loaded: The recognizer, from `load_model`.
    """
    from hf_speech.inference.decoders import load_lexicon
    from hf_speech.inference.pytorch import phone_model

    lexicon = load_lexicon(loaded)
    return phone_model(loaded, () if lexicon is None else lexicon.phones)


def find_speech(
    model: Model | str | Path, source: AudioSource, options: SegmentOptions | None = None
) -> Iterator[Segment]:
    """Yields the segments of speech in a sound file of any length, each as soon as it has ended.

    Args:
        model: A voice activity detector: a model from `open_model`, a folder, an exported file, or a Hub id.
        source: The sound file.
        options: Options for finding segments.

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
    """Writes the sound around an event (`CLIP_SECONDS`) to a WAV file and returns its path.

    Clips of false alarms are the most useful negatives for further training.

    Args:
        samples: The whole recording, `(samples,)`.
        time: Time of the event in seconds.
        sampling_rate: Sampling rate in Hz.
        folder: Folder for the clips.
        name: Name of the recording, the prefix of the file name.
    """
    start, end = (max(round((time + seconds) * sampling_rate), 0) for seconds in CLIP_SECONDS)
    path = folder / f"{name}-{time:.2f}.wav"
    soundfile.write(path, samples[start:end], sampling_rate, subtype="PCM_16")
    return path


def raw_pieces(read: Callable[[int], bytes], sampling_rate: int) -> Iterator[np.ndarray]:
    """Yields pieces of a raw stream of mono 16-bit little-endian samples.

    Args:
        read: Function that returns at most the given number of bytes, and none at the end.
        sampling_rate: Sampling rate in Hz.
    """
    size = 2 * round(PIECE_SECONDS * sampling_rate)
    rest = b""
    while data := read(size):
        data = rest + data
        whole = len(data) // 2 * 2
        rest = data[whole:]
        yield np.frombuffer(data[:whole], dtype="<i2")


def microphone_pieces(sampling_rate: int) -> Iterator[np.ndarray]:
    """Yields pieces from the default microphone, without end.

    Raises:
        AudioError: If the optional library sounddevice is missing, or there is no microphone.
    """
    try:
        import sounddevice
    except (ImportError, OSError) as error:
        raise AudioError(
            f"The microphone needs the library sounddevice, and importing it failed ({error}): pip install "
            "sounddevice, or give a sound file, or - to read raw samples from standard input."
        ) from error
    size = round(PIECE_SECONDS * sampling_rate)
    try:
        with sounddevice.InputStream(sampling_rate, size, channels=1, dtype="float32") as microphone:
            while True:
                yield microphone.read(size)[0][:, 0]
    except sounddevice.PortAudioError as error:
        raise AudioError(f"The microphone cannot be opened ({error}): give a sound file instead.") from error
