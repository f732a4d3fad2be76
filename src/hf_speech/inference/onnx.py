"""The `onnx` back end: exported models, run by onnxruntime.

Exported models are for machines without PyTorch and transformers, so this module must not import them, even indirectly.
One thread is the fastest for small recurrent networks; set `OMP_NUM_THREADS` to use more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from hf_speech.common.text import counted
from hf_speech.errors import AudioError, ModelError
from hf_speech.inference.onnx_description import STREAM, WHOLE, file_beside, open_file
from hf_speech.inference.onnx_stream import ExportedStream
from hf_speech.inference.recognizer import Outputs, log_softmax
from hf_speech.inference.recordings import LONG_SECONDS, Recording, loud_seconds, speech_peak
from hf_speech.tasks import Task, check_verb, get_task


class ExportedModel:
    """An exported model for whole recordings or clips.

    Args:
        path: An exported folder, whose float32 file is used, or one of its files.
        verb: The command that uses the model, to check that its task is the right one; None for any.

    Attributes:
        name: The path as given.
        description: The metadata of the file.
        task: Task of the model.
        labels: The classes or tokens, in the order of the logits.
        tokens: `labels` as a list; see `Recognizer`.
        sampling_rate: Sampling rate of the input in Hz.
        samples_per_frame: Samples per logit frame.
        num_phones: Number of phones, including the blank, that the model predicts besides tokens; see `Recognizer`.
        blank: Id of the CTC blank.
        word_delimiter: The token between words.

    Raises:
        ModelError: If onnxruntime is missing, or the file is not an exported model, is for another task, or is for
            streams.
    """

    def __init__(self, path: str | Path, verb: str | None = None) -> None:
        self.name = str(path)
        self._session, self.description = open_file(path, WHOLE)
        self.task: Task = get_task(self.description.task)
        check_verb(self.task, self.name, verb)
        if self.description.states:
            raise ModelError(f"{self.name} is for streams: give {WHOLE}.onnx, or the folder.")
        self.labels, self.tokens = self.description.labels, list(self.description.labels)
        self.sampling_rate, self.samples_per_frame = self.description.sampling_rate, self.description.samples_per_frame
        shapes = {output.name: output.shape for output in self._session.get_outputs()}
        self.num_phones = int(shapes["phone_logits"][-1]) if "phone_logits" in shapes else 0
        self.blank = self.description.blank
        self.word_delimiter = self.description.word_delimiter

    def __call__(
        self, waveforms: Sequence[np.ndarray], statistics: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Runs the model on a batch.

        Args:
            waveforms: Mono samples of each clip `(samples,)` at the model's sampling rate.
            statistics: For a recognizer that normalizes by utterance, the mean and standard deviation of each feature
                `(2, features)`; for one that normalizes by peak, the peak `(1, 1)`. By default, those of each clip.

        Returns:
            For a classifier, float32 logits `(batch, labels)` and None; for a recognizer, `(batch, frames, tokens)` and
            the number of valid frames of each clip `(batch,)`.

        Raises:
            AudioError: If a clip is too short.
        """
        outputs = self._compute(waveforms, statistics)
        return outputs["logits"], outputs.get("logit_lengths")

    def _compute(self, waveforms: Sequence[np.ndarray], statistics: np.ndarray | None = None) -> dict[str, np.ndarray]:
        feeds = self._feeds(waveforms)
        if statistics is not None:
            feeds["statistics"] = statistics.astype(np.float32)
        names = [name for name in ("logits", "logit_lengths", "phone_logits") if name in self._output_names()]
        return dict(zip(names, self._session.run(names, feeds), strict=True))

    def run(self, waveforms: Sequence[np.ndarray]) -> list[Outputs]:
        """Computes the outputs of each clip of a batch; see `Model`."""
        outputs = self._compute(waveforms)
        logits, lengths, phones = map(outputs.get, ("logits", "logit_lengths", "phone_logits"))
        assert logits is not None
        if lengths is None:
            return [Outputs(row) for row in logits]
        return [
            Outputs(logits[row, :length], None if phones is None else phones[row, :length])
            for row, length in enumerate(lengths)
        ]

    def features(self, waveforms: Sequence[np.ndarray]) -> np.ndarray | None:
        """Returns the features before normalization if the model normalizes by utterance, otherwise None."""
        if "features" not in self._output_names():
            return None
        import onnxruntime

        options = onnxruntime.RunOptions()
        options.only_execute_path_to_fetches = True
        features: np.ndarray = self._session.run(["features"], self._feeds(waveforms), options)[0]
        return features

    def _output_names(self) -> list[str]:
        return [output.name for output in self._session.get_outputs()]

    def _feeds(self, waveforms: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        lengths = np.array([len(samples) for samples in waveforms], dtype=np.int64)
        min_samples = self.description.min_samples
        if not len(lengths) or lengths.min() < min_samples:
            found = counted(min(lengths, default=0), "sample is", "samples are")
            raise AudioError(f"{found} too few for {self.name}, which needs {min_samples}: leave the recording out.")
        batch = np.zeros((len(lengths), lengths.max()), dtype=np.float32)
        for row, samples in zip(batch, waveforms, strict=True):
            row[: len(samples)] = samples
        return {"waveform": batch, "lengths": lengths}

    def log_probs_fn(self, recording: Recording) -> Callable[[np.ndarray], np.ndarray]:
        """Returns the function from samples of a recording to log probabilities; see `Recognizer`."""
        statistics = self._statistics(recording) if recording.seconds > LONG_SECONDS else None

        def log_probs(samples: np.ndarray) -> np.ndarray:
            try:
                outputs = self._compute([samples], statistics)
                parts = [log_softmax(outputs[name][0]) for name in ("logits", "phone_logits") if name in outputs]
                return np.concatenate(parts, axis=1)
            except AudioError as error:
                raise AudioError(f"{recording.name} cannot be used: {error}") from error

        return log_probs

    def _statistics(self, recording: Recording) -> np.ndarray | None:
        """Returns the normalization statistics of a recording, computed as `fit_extractor` does; None if not needed."""
        shapes = {entry.name: entry.shape for entry in self._session.get_overridable_initializers()}
        if shapes.get("statistics") == [1, 1]:
            return np.array([[speech_peak(recording)]])
        count, total, squares = 0, np.float64(0), np.float64(0)
        for second in loud_seconds(recording):
            features = self.features([second])
            if features is None:
                return None
            count += features.shape[1]
            total = total + features[0].sum(axis=0, dtype=np.float64)
            squares = squares + np.square(features[0].astype(np.float64)).sum(axis=0)
        mean = total / count
        deviation = np.sqrt(np.maximum(squares / count - np.square(mean), 0.0))
        # Zeros would make the graph compute the statistics itself. It never divides by less than this floor.
        return np.stack([mean, np.maximum(deviation, 1e-6)])

    def normalize(self, text: str) -> str:
        """Normalizes whitespace only, since exported models do not include the rules of the training transcripts."""
        return " ".join(text.split())

    @cached_property
    def _stream(self) -> ExportedStream:
        path = Path(self.name).expanduser()
        # Given a file, use the stream file of the same precision.
        return ExportedStream(path.with_name(path.name.replace(WHOLE, STREAM)) if path.is_file() else self.name)

    def stream(self) -> ExportedStream:
        """Starts a stream; see `Model`. The stream file is loaded only once."""
        return self._stream.new_stream()

    def find_file(self, name: str) -> Path | None:
        """Returns a file next to the model; see `Model`."""
        return file_beside(self.name, name)
