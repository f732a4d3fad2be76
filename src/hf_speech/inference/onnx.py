"""The back end `onnx`: exported models, using only onnxruntime and NumPy.

Neither PyTorch nor transformers is imported here, nor by what this imports: exported models are for machines that have
neither. One thread computes unless `OMP_NUM_THREADS` says otherwise, which is fastest for small recurrent networks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from hf_speech.errors import AudioError, ModelError
from hf_speech.inference.onnx_description import STREAM, WHOLE, file_beside, open_file
from hf_speech.inference.onnx_stream import ExportedStream
from hf_speech.inference.recognizer import Outputs, log_softmax
from hf_speech.inference.recordings import LONG_SECONDS, Recording, loud_seconds, speech_peak
from hf_speech.tasks import Task, check_verb, get_task


class ExportedModel:
    """A model that was exported, for whole recordings or clips.

    Args:
        path: An exported folder, for its float32 file; or one file of it.
        verb: The command that is going to use it, which must be that of its task; None for any.

    Attributes:
        name: The path as it was given.
        description: What the file says about the model.
        task: What it does.
        labels: The names of the outputs, classes or tokens, in the order of the logits.
        tokens: The same, for a `Recognizer`.
        sampling_rate: The rate in Hz at which the model reads sound.
        samples_per_frame: Samples that a logit frame spans.
        num_phones: Phones that it predicts besides the tokens, and the blank; see `Recognizer`.
        blank: Id of the CTC blank.
        word_delimiter: The token between words.

    Raises:
        ModelError: If onnxruntime is missing, or this is not an exported model, or one of another task, or a stream.
    """

    def __init__(self, path: str | Path, verb: str | None = None) -> None:
        self.name = str(path)
        self._session, self.description = open_file(path, WHOLE)
        self.task: Task = get_task(self.description.task)
        check_verb(self.task, self.name, verb)
        if self.description.states:
            raise ModelError(f"{self.name} is for recordings that arrive in pieces: give {WHOLE}.onnx, or the folder.")
        self.labels, self.tokens = self.description.labels, list(self.description.labels)
        self.sampling_rate, self.samples_per_frame = self.description.sampling_rate, self.description.samples_per_frame
        shapes = {output.name: output.shape for output in self._session.get_outputs()}
        self.num_phones = int(shapes["phone_logits"][-1]) if "phone_logits" in shapes else 0
        self.blank = self.description.blank
        self.word_delimiter = self.description.word_delimiter

    def __call__(
        self, waveforms: Sequence[np.ndarray], statistics: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Runs the model over a batch.

        Args:
            waveforms: Mono samples of each clip `(samples,)` at the model's rate.
            statistics: For a recognizer that normalizes by utterance, mean and deviation of each feature
                `(2, features)`; for one that normalizes by peak, the peak `(1, 1)`. None for each clip's own.

        Returns:
            Float32 logits `(batch, labels)` and None, or `(batch, frames, tokens)` and the valid frames of each clip
            `(batch,)`.

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
        """Features before normalization, if the model normalizes by utterance; otherwise None."""
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
        least = self.description.min_samples
        if not len(lengths) or lengths.min() < least:
            raise AudioError(
                f"{min(lengths, default=0)} samples are too few for {self.name}, which needs {least}: leave it out."
            )
        batch = np.zeros((len(lengths), lengths.max()), dtype=np.float32)
        for row, samples in zip(batch, waveforms, strict=True):
            row[: len(samples)] = samples
        return {"waveform": batch, "lengths": lengths}

    def log_probs_fn(self, recording: Recording) -> Callable[[np.ndarray], np.ndarray]:
        """The function from samples of a recording to log-probabilities; see `Recognizer`."""
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
        """The statistics, or the peak, of the loud seconds, as `fit_extractor` sets them; None for a model without."""
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
        # For a peak of 0, the graph would use the utterance's own; it divides by more than this anyway.
        return np.stack([mean, np.maximum(deviation, 1e-6)])

    def normalize(self, text: str) -> str:
        """A text with its spaces in order; how else the model was taught to write is not known here."""
        return " ".join(text.split())

    @cached_property
    def _stream(self) -> ExportedStream:
        path = Path(self.name).expanduser()
        # For a file, the stream file of the same precision.
        return ExportedStream(path.with_name(path.name.replace(WHOLE, STREAM)) if path.is_file() else self.name)

    def stream(self) -> ExportedStream:
        """Begins a stream; see `Model`. The file for streams is loaded once."""
        return self._stream.another()

    def find_file(self, name: str) -> Path | None:
        """A file next to the model."""
        return file_beside(self.name, name)
