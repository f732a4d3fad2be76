"""Opens a model with PyTorch (a model folder or a Hub id) or onnxruntime (an exported model)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hf_speech.inference.onnx_description import is_exported
from hf_speech.tasks import check_verb

if TYPE_CHECKING:
    import numpy as np

    from hf_speech.inference.onnx import ExportedModel
    from hf_speech.inference.pytorch import LoadedModel
    from hf_speech.inference.recognizer import Model, Stream


def open_model(
    path_or_id: str | Path,
    *,
    verb: str | None = None,
    device: str | None = None,
    revision: str | None = None,
) -> LoadedModel | ExportedModel:
    """Opens a model for inference.

    Args:
        path_or_id: A model folder, such as a run folder; a Hub id; an exported folder or a file in it.
        verb: The command that will use the model; it must match the model's task. None accepts any task.
        device: Device for PyTorch; None for a GPU if there is one, else the CPU. onnxruntime uses the CPU.
        revision: Branch, tag or commit of a Hub model.

    Returns:
        A `Model`; for speech recognition, it is also a `Recognizer`.

    Raises:
        ModelError: If the model does not exist, is damaged, or is for another task.
    """
    if is_exported(path_or_id):
        from hf_speech.inference.onnx import ExportedModel

        return ExportedModel(path_or_id, verb=verb)
    from hf_speech.inference.loading import load_model

    return load_model(path_or_id, device=device, revision=revision, verb=verb)


def open_stream(model: Model | str | Path, *, verb: str | None = None, device: str | None = None) -> Stream:
    """Starts a stream with a model.

    Args:
        model: An open model, any argument of `open_model`, or an exported file for streams.
        verb: The command that will use the model; it must match the model's task. None accepts any task.
        device: Device for PyTorch.

    Raises:
        ModelError: If the model does not exist, is for another task, or needs the whole recording.
    """
    if not isinstance(model, str | Path):
        check_verb(model.task, model.name, verb)
        return model.stream()
    if not is_exported(model):
        return open_model(model, verb=verb, device=device).stream()
    from hf_speech.inference.onnx_stream import ExportedStream

    stream = ExportedStream(model)
    check_verb(stream.task, stream.name, verb)
    return stream


class StreamBatch:
    """Processes streams of one model in batches, with the same results as one at a time.

    A forward pass reads all weights once, no matter how many streams are in the batch.

    Streams start, end and are reset independently. Streams in the first frames of a recording, while the lookahead
    fills, and in the last ones are processed in separate batches.

    Args:
        model: The model, as for `open_stream`, which may raise errors.
        verb: The command that uses the model, as for `open_stream`.
        device: The device of PyTorch.
    """

    def __init__(self, model: Model | str | Path, *, verb: str | None = None, device: str | None = None) -> None:
        self._first = open_stream(model, verb=verb, device=device)

    def stream(self) -> Stream:
        """Starts a stream. Its `feed` buffers sound until the next `advance`."""
        return self._first.new_stream()

    def advance(self, streams: Sequence[Stream]) -> list[np.ndarray]:
        """Processes the buffered sound of streams.

        Args:
            streams: Different streams of this batch that have received sound, or ended, since the last call.

        Returns:
            The new logits of each stream, `(frames, labels)`, float32.
        """
        return self._first.advance(streams)
