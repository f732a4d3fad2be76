"""Exported models at work, with onnxruntime and NumPy alone.

Neither PyTorch nor transformers is imported here, nor by what this imports: the point of an exported model is a machine
that has neither. One thread computes unless `OMP_NUM_THREADS` says otherwise, the fastest for small recurrences.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hf_speech.errors import AudioError, ModelError
from hf_speech.export.description import CLASSIFICATION, KEY, STREAM, WHOLE, Description


class ExportedModel:
    """A model that was exported, for whole recordings or clips.

    Args:
        path: An exported folder, for its float32 file; or one file of it.
        task: The task that it must do; None for whichever it does.

    Attributes:
        name: The path as it was given.
        description: What the model says of itself.

    Raises:
        ModelError: If onnxruntime is missing, this is no exported model, or one of another task, or a stream.
    """

    def __init__(self, path: str | Path, task: str | None = None) -> None:
        self.name = str(path)
        self._session, self.description = open_file(path, WHOLE)
        if task not in (None, self.description.task):
            raise ModelError(
                f"{self.name} is a model for {self.description.task}, not for {task}: give a model for that task."
            )
        if self.description.states:
            raise ModelError(f"{self.name} hears pieces of a recording: give {WHOLE}.onnx, or the folder.")

    @property
    def sampling_rate(self) -> int:
        """The rate in Hz at which the model hears."""
        return self.description.sampling_rate

    def __call__(
        self, waveforms: Sequence[np.ndarray], statistics: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Runs the model over a batch.

        Args:
            waveforms: Mono samples of each clip `(samples,)` at the model's rate.
            statistics: Mean and deviation of each feature to normalise by `(2, features)`, instead of each clip's own,
                for a recogniser that normalises by utterance.

        Returns:
            Float32 logits `(batch, labels)` and None, or `(batch, frames, tokens)` and the valid frames of each clip
            `(batch,)`.

        Raises:
            AudioError: If a clip is too short.
        """
        feeds = self._feeds(waveforms)
        if statistics is not None:
            feeds["statistics"] = statistics.astype(np.float32)
        names = ["logits"] if self.description.task == CLASSIFICATION else ["logits", "logit_lengths"]
        outputs = self._session.run(names, feeds)
        return outputs[0], outputs[1] if len(outputs) > 1 else None

    def features(self, waveforms: Sequence[np.ndarray]) -> np.ndarray | None:
        """Features before normalisation, of a model that normalises by utterance; None of another one.

        Args:
            waveforms: Clips of the same length.

        Returns:
            `(batch, frames, features)`.
        """
        if "features" not in [output.name for output in self._session.get_outputs()]:
            return None
        import onnxruntime

        options = onnxruntime.RunOptions()
        options.only_execute_path_to_fetches = True
        features: np.ndarray = self._session.run(["features"], self._feeds(waveforms), options)[0]
        return features

    def _feeds(self, waveforms: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        lengths = np.array([len(samples) for samples in waveforms], dtype=np.int64)
        least = self.description.min_samples
        if not len(lengths) or lengths.min() < least:
            raise AudioError(
                f"A sound of {lengths.min(initial=0)} samples is too short for {self.name}, which needs {least}: leave "
                "it out."
            )
        batch = np.zeros((len(lengths), lengths.max()), dtype=np.float32)
        for row, samples in zip(batch, waveforms, strict=True):
            row[: len(samples)] = samples
        return {"waveform": batch, "lengths": lengths}


class ExportedStream:
    """A recogniser that was exported for recordings that arrive in pieces; it gives what the whole recording would.

    Args:
        path: An exported folder, for its float32 stream; or one file of it, such as `stream_int8.onnx`.

    Attributes:
        name: The path as it was given.
        description: What the model says of itself.
        text: What was said so far.

    Raises:
        ModelError: If onnxruntime is missing, or this is no exported stream.
    """

    def __init__(self, path: str | Path) -> None:
        self.name = str(path)
        self._session, self.description = open_file(path, STREAM)
        if not self.description.states:
            raise ModelError(f"{self.name} hears whole recordings: give a file for streams, {STREAM}.onnx.")
        self._outputs = [output.name for output in self._session.get_outputs()]
        self.reset()

    @property
    def latency(self) -> float:
        """Seconds from the beginning of a logit frame until its logits are known."""
        return self.description.latency

    def reset(self) -> None:
        """Forgets everything, ready for another recording."""
        self._states = {
            name: np.zeros([1 if isinstance(size, str) else size for size in shape], dtype=np.float32)
            for name, shape in self.description.states.items()
        }
        self._last_id = self.description.blank
        self._text = ""

    @property
    def text(self) -> str:
        """What was said so far."""
        return " ".join(self._text.split())

    def accept(self, samples: np.ndarray, final: bool = False) -> np.ndarray:
        """Hears a piece of sound.

        Args:
            samples: Mono float samples `(samples,)` at the model's rate, of any number.
            final: Whether the recording ends with it; `reset` begins another one.

        Returns:
            The logits that have become known, `(frames, tokens)`, float32.

        Raises:
            AudioError: If the piece is not mono.
        """
        piece = np.asarray(samples, dtype=np.float32)
        if piece.ndim != 1:
            raise AudioError(f"A piece of sound must be mono, (samples,), and has the shape {piece.shape}.")
        feeds = {"waveform": piece[None], "final": np.array([final]), **self._states}
        outputs = dict(zip(self._outputs, self._session.run(None, feeds), strict=True))
        self._states = {name: outputs[f"next_{name}"] for name in self._states}
        logits: np.ndarray = outputs["logits"][0]
        self._read(logits)
        return logits

    def finish(self) -> np.ndarray:
        """Ends the recording; see `accept`."""
        return self.accept(np.zeros(0, dtype=np.float32), final=True)

    def _read(self, logits: np.ndarray) -> None:
        """Appends the new tokens of the best path: repeats merged, blanks and unknown tokens dropped."""
        for token_id in logits.argmax(axis=-1).tolist():
            token = self.description.labels[token_id]
            if token == self.description.unknown:
                continue
            if token_id not in (self._last_id, self.description.blank):
                self._text += " " if token == self.description.word_delimiter else token
            self._last_id = token_id


def open_file(path: str | Path, kind: str) -> tuple[Any, Description]:
    """An onnxruntime session and the model's description.

    Args:
        path: A folder or a file.
        kind: Which file of a folder, without its ending.

    Raises:
        ModelError: If onnxruntime is missing, or this is no exported model.
    """
    file = Path(path).expanduser()
    if file.is_dir():
        file = file / f"{kind}.onnx"
    if not file.is_file():
        raise ModelError(f"There is no exported model {file}: make one with hf-speech export.")
    try:
        import onnxruntime
    except ImportError as error:
        raise ModelError(
            f"Exported models need onnxruntime, and importing it failed ({error}): pip install 'hf_speech[export]'."
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS") or 1)
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no common base but Exception
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{file} cannot be loaded by onnxruntime ({reason}): export the model again.") from error
    text = session.get_modelmeta().custom_metadata_map.get(KEY)
    if text is None:
        raise ModelError(f"{file} was not written by hf-speech export: give a file that was.")
    return session, Description.from_json(text, str(file))


__all__ = ["ExportedModel", "ExportedStream", "open_file"]
