"""Streaming recognition with exported models, using only onnxruntime and NumPy."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np

from hf_speech.data.audio import read_audio
from hf_speech.decoding import collapse
from hf_speech.errors import AudioError, ModelError
from hf_speech.inference.onnx_description import STREAM, file_beside, open_file
from hf_speech.tasks import Task, get_task


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
        self._outputs = [output.name for output in self._session.get_outputs()]
        self.reset()

    def another(self) -> ExportedStream:
        """A stream of the same file, which is not loaded again."""
        stream = copy.copy(self)
        stream.reset()
        return stream

    def find_file(self, name: str) -> Path | None:
        """A file that lies next to the model."""
        return file_beside(self.name, name)

    def reset(self) -> None:
        """Forgets everything, ready for another recording."""
        self._states = {
            name: np.zeros([1 if isinstance(size, str) else size for size in shape], dtype=np.float32)
            for name, shape in self.description.states.items()
        }
        self._last_id = self.description.blank
        self._text = ""
        self._finished = False

    @property
    def text(self) -> str:
        """The transcript so far."""
        return " ".join(self._text.split())

    def accept(self, samples: np.ndarray, final: bool = False) -> np.ndarray:
        """Processes a piece of audio; a refused piece leaves the stream as it was.

        Args:
            samples: Any number of mono samples, `(samples,)` or `(samples, 1)`, at the model's rate; floats, or
                integers of 8, 16 or 32 bits, which are scaled to [-1, 1].
            final: Whether the recording ends with it; `reset` begins another one.

        Returns:
            The logits that have become known, `(frames, tokens)`, float32.

        Raises:
            AudioError: If the piece is not mono or not finite, or the recording was ended.
        """
        piece = np.asarray(samples)
        if piece.shape[1:] == (1,):  # As microphones deliver it.
            piece = piece[:, 0]
        if piece.ndim != 1:
            raise AudioError(f"A piece of sound must be mono, (samples,), and has the shape {piece.shape}.")
        if self._finished:
            raise AudioError("This recording was ended: call reset() before the next one.")
        if piece.size:  # As whole recordings are read: integers are scaled, and what is not finite is refused.
            piece = read_audio({"array": piece, "sampling_rate": self.sampling_rate}, self.sampling_rate)
        piece = piece.astype(np.float32, copy=False)
        feeds = {"waveform": piece[None], "final": np.array([final]), **self._states}
        outputs = dict(zip(self._outputs, self._session.run(None, feeds), strict=True))
        self._states = {name: outputs[f"next_{name}"] for name in self._states}
        self._finished = final
        logits: np.ndarray = outputs["logits"][0]
        self._read(logits)
        return logits

    def finish(self) -> np.ndarray:
        """Ends the recording; see `accept`."""
        return self.accept(np.zeros(0, dtype=np.float32), final=True)

    def _read(self, logits: np.ndarray) -> None:
        """Append the new tokens of the best path."""
        path = logits.argmax(axis=-1).tolist()
        tokens = [self.labels[index] for index in collapse(path, self.description.blank, self._last_id)]
        self._text += "".join(" " if token == self.description.word_delimiter else token for token in tokens)
        self._last_id = [self._last_id, *path][-1]
