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
from hf_speech.inference.recognizer import Stream
from hf_speech.tasks import get_task

# Float samples below this magnitude are used unchanged; full scale is 1.
MAX_PLAUSIBLE = 100.0
NO_SAMPLES = np.zeros(0, dtype=np.float32)
NOT_FINAL, FINAL = np.array([False]), np.array([True])


class ExportedStream(Stream):
    """An exported model that processes a recording piece by piece, with the same logits as for the whole recording.

    Args:
        path: An exported folder, whose float32 stream is used, or one of its files, such as `stream_int8.onnx`.

    Attributes:
        description: The metadata of the file.

    Raises:
        ModelError: If onnxruntime is missing, or the file is not an exported stream.
    """

    def __init__(self, path: str | Path) -> None:
        self.name = str(path)
        self._session, self.description = open_file(path, STREAM)
        if not self.description.states:
            raise ModelError(f"{self.name} is for whole recordings: give {STREAM}.onnx.")
        self.task = get_task(self.description.task)
        self.labels = self.description.labels
        self.sampling_rate, self.samples_per_frame = self.description.sampling_rate, self.description.samples_per_frame
        self.latency = self.description.latency
        self._outputs = ["logits", *(f"next_{name}" for name in self.description.states)]
        self.reset()

    def new_stream(self) -> ExportedStream:
        """Starts another stream of the same model without loading the file again."""
        stream = copy.copy(self)
        stream.reset()
        return stream

    def find_file(self, name: str) -> Path | None:
        """Returns a file next to the model; see `Stream`."""
        return file_beside(self.name, name)

    def reset(self) -> None:
        """Resets the state for another recording."""
        self._states = {
            name: np.zeros([1 if isinstance(size, str) else size for size in shape], dtype=np.float32)
            for name, shape in self.description.states.items()
        }
        self._waiting: list[np.ndarray] = []
        self._num_waiting = 0
        # Number of samples needed for the next logit frame.
        self._needed = self.description.first_samples
        self._last_id = self.description.blank
        self._text = ""
        # Whether the final piece has been fed, and whether it has been processed.
        self._finished = self._processed_final = False

    @property
    def text(self) -> str:
        """The best-path transcript so far."""
        return self._text.rstrip()

    def feed(self, samples: np.ndarray, final: bool = False) -> None:
        """Buffers a piece of sound for `advance`; see `Stream`."""
        piece = np.asarray(samples)
        if piece.shape[1:] == (1,):  # Microphones deliver this shape.
            piece = piece[:, 0]
        if piece.ndim != 1:
            raise AudioError(f"A piece of sound has the shape {piece.shape}: give mono samples, (samples,).")
        if self._finished:
            raise AudioError("The recording has ended: call reset() before the next one.")
        if piece.size:
            # Other samples are converted as those of whole recordings are: integers are scaled, and NaN is rejected.
            if piece.dtype != np.float32 or not np.abs(piece).max() < MAX_PLAUSIBLE:
                piece = read_audio({"array": piece, "sampling_rate": self.sampling_rate}, self.sampling_rate)
            self._waiting.append(piece.copy())  # The caller may reuse the array.
            self._num_waiting += len(piece)
        self._finished = final

    @staticmethod
    def advance(streams: Sequence[ExportedStream]) -> list[np.ndarray]:
        """Processes the buffered sound of all streams, with one model call for those in the same state."""
        logits = [np.zeros((0, len(stream.labels)), dtype=np.float32) for stream in streams]
        if len(streams) == 1:  # Grouping would cost 4% of the time for a 40 ms piece.
            count = streams[0]._next_piece_size()
            return logits if count is None else [streams[0]._process(count)]
        groups: dict[Any, list[int]] = defaultdict(list)
        for index, stream in enumerate(streams):
            if (count := stream._next_piece_size()) is not None:
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
            outputs = group[0]._run(np.stack([stream._pop_samples(count) for stream in group]), stacked)
            parts = [
                np.split(state, len(group), axis=axis) for state, axis in zip(outputs[1:], axes.values(), strict=True)
            ]
            for row, (index, stream) in enumerate(zip(indices, group, strict=True)):
                logits[index] = stream._update(outputs[0][row], [part[row] for part in parts])
        return logits

    def _next_piece_size(self) -> int | None:
        """Returns how many of the buffered samples to process now, or None if they do not suffice for a frame."""
        if self._finished:
            return None if self._processed_final else self._num_waiting
        if self._num_waiting < max(self._needed, 1):
            return None
        if not self.description.first_samples:
            return self._num_waiting
        return self._num_waiting - (self._num_waiting - self._needed) % self.samples_per_frame

    def _process(self, count: int) -> np.ndarray:
        """Runs the model on `count` buffered samples and returns the new logits."""
        logits, *states = self._run(self._pop_samples(count)[None], self._states)
        return self._update(logits[0], states)

    def _run(self, pieces: np.ndarray, states: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Returns the logits and the next states of streams in the same state."""
        outputs: list[np.ndarray] = self._session.run(
            self._outputs, {"waveform": pieces, "final": FINAL if self._finished else NOT_FINAL, **states}
        )
        return outputs

    def _update(self, logits: np.ndarray, states: Sequence[np.ndarray]) -> np.ndarray:
        """Stores the next states, adds to the transcript, and returns the logits."""
        self._states = dict(zip(self._states, states, strict=True))
        self._processed_final = self._finished
        if len(logits):
            self._append_text(logits)
        return logits

    def _pop_samples(self, count: int) -> np.ndarray:
        """Removes and returns the first `count` buffered samples."""
        waiting = self._waiting[0] if len(self._waiting) == 1 else np.concatenate([*self._waiting, NO_SAMPLES])
        self._waiting = [waiting[count:]] if count < len(waiting) else []
        self._num_waiting = len(waiting) - count
        self._needed = self.samples_per_frame if self.description.first_samples else 0
        return waiting[:count]

    def _append_text(self, logits: np.ndarray) -> None:
        """Appends the new tokens of the best path to the transcript."""
        path = logits.argmax(axis=-1).tolist()
        for index in collapse(path, self.description.blank, self._last_id):
            token = self.labels[index]
            if token != self.description.word_delimiter:
                self._text += token
            elif self._text and not self._text.endswith(" "):
                self._text += " "
        self._last_id = [self._last_id, *path][-1]
