"""Streaming recognition with exported models, using only onnxruntime and NumPy."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hf_speech.data.audio import read_audio
from hf_speech.decoding import collapse
from hf_speech.errors import AudioError, ModelError
from hf_speech.inference.onnx_description import STREAM, file_beside, open_file
from hf_speech.tasks import Task, get_task

# Samples below it in size need no closer look. Full scale is 1.
LOUD = 100.0
NOTHING = np.zeros(0, dtype=np.float32)
GOES_ON, ENDED = np.array([False]), np.array([True])


class ExportedStream:
    """An exported model that takes a recording in pieces; its output is that for the whole recording.

    Args:
        path: An exported folder, for its float32 stream; or one file of it, such as `stream_int8.onnx`.

    Attributes:
        name: The path as it was given.
        description: What the model says of itself.
        task: What it does.
        labels: The names of the outputs, in the order of the logits.
        sampling_rate: The rate in Hz of the sound that it takes.
        samples_per_frame: Samples that a logit frame spans.
        latency: Seconds from the beginning of a logit frame until its logits are known.

    Raises:
        ModelError: If onnxruntime is missing, or this is not an exported stream.
    """

    def __init__(self, path: str | Path) -> None:
        self.name = str(path)
        self._session, self.description = open_file(path, STREAM)
        if not self.description.states:
            raise ModelError(f"{self.name} is for whole recordings: give a file for streams, {STREAM}.onnx.")
        self.task: Task = get_task(self.description.task)
        self.labels = self.description.labels
        self.sampling_rate, self.samples_per_frame = self.description.sampling_rate, self.description.samples_per_frame
        self.latency = self.description.latency
        self._outputs = ["logits", *(f"next_{name}" for name in self.description.states)]
        self.reset()

    def another(self) -> ExportedStream:
        """A stream of the same file, which is not loaded again."""
        stream = copy.copy(self)
        stream.reset()
        return stream

    def find_file(self, name: str) -> Path | None:
        """A file next to the model."""
        return file_beside(self.name, name)

    def reset(self) -> None:
        """Forgets everything, ready for another recording."""
        self._states = {
            name: np.zeros([1 if isinstance(size, str) else size for size in shape], dtype=np.float32)
            for name, shape in self.description.states.items()
        }
        self._waiting: list[np.ndarray] = []
        self._num_waiting = 0
        # Samples that the next logit frame waits for.
        self._needed = self.description.first_samples
        self._last_id = self.description.blank
        self._text = ""
        # Whether the last piece was fed, and whether it was processed.
        self._finished = self._ended = False

    @property
    def text(self) -> str:
        """The transcript so far."""
        return self._text.rstrip()

    def feed(self, samples: np.ndarray, final: bool = False) -> None:
        """Takes a piece of audio, which `advance` processes; see `Stream`."""
        piece = np.asarray(samples)
        if piece.shape[1:] == (1,):  # As microphones deliver it.
            piece = piece[:, 0]
        if piece.ndim != 1:
            raise AudioError(f"A piece of sound must be mono, (samples,), and has the shape {piece.shape}.")
        if self._finished:
            raise AudioError("This recording was ended: call reset() before the next one.")
        if piece.size:
            # Anything else is read as whole recordings are: integers are scaled, and NaN is refused.
            if piece.dtype != np.float32 or not np.abs(piece).max() < LOUD:
                piece = read_audio({"array": piece, "sampling_rate": self.sampling_rate}, self.sampling_rate)
            self._waiting.append(piece.copy())  # The caller may use the array again.
            self._num_waiting += len(piece)
        self._finished = final

    @staticmethod
    def advance(streams: Sequence[ExportedStream]) -> list[np.ndarray]:
        """Processes what the streams were fed, in one call of the model for all that are at the same point."""
        logits = [np.zeros((0, len(stream.labels)), dtype=np.float32) for stream in streams]
        if len(streams) == 1:  # Sorting streams into groups costs 4 % of the time of a piece of 40 ms.
            count = streams[0]._num_usable()
            return logits if count is None else [streams[0]._process(count)]
        groups: dict[Any, list[int]] = defaultdict(list)
        for index, stream in enumerate(streams):
            if (count := stream._num_usable()) is not None:
                shapes = tuple(state.shape for state in stream._states.values())
                groups[id(stream._session), count, stream._finished, shapes].append(index)
        for (_, count, *_), indices in groups.items():
            if len(indices) == 1:
                logits[indices[0]] = streams[indices[0]]._process(count)
                continue
            group = [streams[index] for index in indices]
            axes = {name: shape.index("batch") for name, shape in group[0].description.states.items()}
            stacked = {
                name: np.concatenate([stream._states[name] for stream in group], axis=axis)
                for name, axis in axes.items()
            }
            outputs = group[0]._run(np.stack([stream._take(count) for stream in group]), stacked)
            parts = [
                np.split(state, len(group), axis=axis) for state, axis in zip(outputs[1:], axes.values(), strict=True)
            ]
            for row, (index, stream) in enumerate(zip(indices, group, strict=True)):
                logits[index] = stream._keep(outputs[0][row], [part[row] for part in parts])
        return logits

    def accept(self, samples: np.ndarray, final: bool = False) -> np.ndarray:
        """Processes a piece of audio; see `Stream`."""
        self.feed(samples, final)
        return self.advance([self])[0]

    def finish(self) -> np.ndarray:
        """Ends the recording; see `accept`."""
        return self.accept(np.zeros(0, dtype=np.float32), final=True)

    def _num_usable(self) -> int | None:
        """How many of the waiting samples the model is to get now; None if it could make no frame of them."""
        if self._finished:
            return None if self._ended else self._num_waiting
        if self._num_waiting < max(self._needed, 1):
            return None
        if not self.description.first_samples:
            return self._num_waiting
        return self._num_waiting - (self._num_waiting - self._needed) % self.samples_per_frame

    def _process(self, count: int) -> np.ndarray:
        """Runs the model over `count` samples and gives the new logits."""
        logits, *states = self._run(self._take(count)[None], self._states)
        return self._keep(logits[0], states)

    def _run(self, pieces: np.ndarray, states: dict[str, np.ndarray]) -> list[np.ndarray]:
        """The logits and the next states of streams at the same point."""
        outputs: list[np.ndarray] = self._session.run(
            self._outputs, {"waveform": pieces, "final": ENDED if self._finished else GOES_ON, **states}
        )
        return outputs

    def _keep(self, logits: np.ndarray, states: Sequence[np.ndarray]) -> np.ndarray:
        """Keeps the next states and reads the logits, which it returns."""
        self._states = dict(zip(self._states, states, strict=True))
        self._ended = self._finished
        if len(logits):
            self._read(logits)
        return logits

    def _take(self, count: int) -> np.ndarray:
        """The first `count` samples that wait."""
        waiting = self._waiting[0] if len(self._waiting) == 1 else np.concatenate([*self._waiting, NOTHING])
        self._waiting = [waiting[count:]] if count < len(waiting) else []
        self._num_waiting = len(waiting) - count
        self._needed = self.samples_per_frame if self.description.first_samples else 0
        return waiting[:count]

    def _read(self, logits: np.ndarray) -> None:
        """Append the new tokens of the best path."""
        path = logits.argmax(axis=-1).tolist()
        for index in collapse(path, self.description.blank, self._last_id):
            token = self.labels[index]
            if token != self.description.word_delimiter:
                self._text += token
            elif self._text and not self._text.endswith(" "):
                self._text += " "
        self._last_id = [self._last_id, *path][-1]
