"""The files of an exported model and their description, which suffices to run the model without PyTorch.

The description is stored in the metadata of each ONNX file under the key `hf_speech`, so that a single file can be
moved, and in `export.json` for runtimes that cannot read metadata, such as browsers. It contains the digest of its
file, because damaged weights would change the results without an error.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_speech.common.digests import digest_bytes
from hf_speech.errors import ModelError

FORMAT = 1
KEY = "hf_speech"
FILE = "export.json"
WHOLE, STREAM = "model", "stream"
INT8, PACKED = "_int8", "_packed"

# Placeholder for a file's digest while it is computed.
NO_DIGEST = "0" * 64
MAX_LABELS = 262_144
# Maximum number of values in the initial states of a stream.
MAX_STATE = 1 << 24


@dataclass(frozen=True)
class Description:
    """The description of an exported model.

    Attributes:
        task: Name of the task.
        name: Folder or Hub id of the original model.
        revision: Revision of the weights.
        sampling_rate: Sampling rate of the input in Hz.
        min_samples: Minimum number of samples of a clip.
        labels: The classes, or the tokens, in the order of the logits.
        samples_per_frame: Samples per logit frame; 0 for a classifier.
        blank: Id of the CTC blank, for recognizers.
        word_delimiter: The token between words, for recognizers.
        unknown: The token for characters outside the vocabulary, for recognizers.
        states: For a stream, the recurrent inputs and their initial shapes; the initial values are zeros.
        latency: For a stream, seconds from the start of a logit frame until its logits are known.
        first_samples: For a stream, the samples that the first logit frame needs, without lookahead; each further frame
            needs `samples_per_frame` more. 0 in older files, which do not record it.
        precision: "float32", "int8", or "packed" (8-bit weights for computing in float32).
        digest: SHA-256 of the file with zeros instead of the digest; empty in files of version 0.1.
    """

    task: str
    name: str
    revision: str
    sampling_rate: int
    min_samples: int
    labels: tuple[str, ...]
    samples_per_frame: int = 0
    blank: int = 0
    word_delimiter: str = "|"
    unknown: str = "<unk>"
    states: Mapping[str, tuple[int | str, ...]] = dataclasses.field(default_factory=dict)
    latency: float = 0.0
    first_samples: int = 0
    precision: str = "float32"
    digest: str = ""

    def to_json(self) -> str:
        """Returns the description as one line of JSON."""
        return json.dumps({"format": FORMAT} | dataclasses.asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str, name: str) -> Description:
        """Parses the output of `to_json`.

        Raises:
            ModelError: If the description is damaged or has another format.
        """
        try:
            content: dict[str, Any] = json.loads(text)
            if (number := content.pop("format")) != FORMAT:
                raise ModelError(f"{name} was exported in format {number!r}, which is not supported: update hf_speech.")
            content["labels"] = tuple(content["labels"])
            content["states"] = {state: tuple(shape) for state, shape in content["states"].items()}
            description = cls(**content)
            description.check()
            return description
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            if isinstance(error, ModelError):
                raise
            raise ModelError(f"{name} has a damaged description: export the model again.") from error

    def check(self) -> None:
        """Raises ValueError if a value cannot come from an export."""
        words = (self.task, self.name, self.revision, self.word_delimiter, self.unknown, self.precision, self.digest)
        if not all(isinstance(word, str) for word in (*words, *self.labels, *self.states)):
            raise ValueError("text is expected")
        numbers = (self.sampling_rate, self.min_samples, self.samples_per_frame, self.blank, self.first_samples)
        if not all(type(number) is int and 0 <= number <= 1 << 30 for number in numbers) or self.sampling_rate == 0:
            raise ValueError("whole numbers are expected")
        if len(self.labels) > MAX_LABELS or (self.labels and self.blank >= len(self.labels)):
            raise ValueError("labels and blank do not fit")
        if not isinstance(self.latency, int | float) or not math.isfinite(self.latency):
            raise ValueError("the latency is not finite")
        sizes = [[1 if isinstance(size, str) else size for size in shape] for shape in self.states.values()]
        if not all(type(size) is int and size >= 0 for shape in sizes for size in shape):
            raise ValueError("shapes are expected")
        if not all(shape.count("batch") == 1 for shape in self.states.values()):
            raise ValueError("each state must have a dimension for the streams of a batch")
        if sum(math.prod(shape) for shape in sizes) > MAX_STATE:
            raise ValueError("the states are too large")


def _field(digest: str) -> bytes:
    """Returns the digest as written in a file."""
    return f'"digest": "{digest}"'.encode()


def seal(path: Path) -> None:
    """Replaces `NO_DIGEST` in the description of a file with the file's digest."""
    content = path.read_bytes()
    if content.count(_field(NO_DIGEST)) != 1:
        raise ModelError(f"{path} does not contain its description exactly once: please report this with the model.")
    path.write_bytes(content.replace(_field(NO_DIGEST), _field(digest_bytes(content))))


def check_digest(content: bytes, digest: str, name: str) -> None:
    """Raises ModelError if a file has changed since the export."""
    if digest and digest_bytes(content.replace(_field(digest), _field(NO_DIGEST), 1)) != digest:
        raise ModelError(f"{name} is damaged (its digest does not match its content): copy or export it again.")


def is_exported(model: str | Path) -> bool:
    """Returns whether a path is an exported folder or a file in one, rather than a PyTorch model."""
    path = Path(model).expanduser()
    return (path / FILE).is_file() or (path.suffix == ".onnx" and path.is_file())


def file_beside(model: str | Path, name: str) -> Path | None:
    """Returns a file in an exported folder, or next to a file of one; None if it does not exist."""
    path = Path(model).expanduser()
    file = (path if path.is_dir() else path.parent) / name
    return file if file.is_file() else None


def open_file(path: str | Path, kind: str) -> tuple[Any, Description]:
    """Opens an exported file; returns the onnxruntime session and the description.

    Args:
        path: An exported file, or the folder.
        kind: `WHOLE` or `STREAM`, the file to open in a folder.

    Raises:
        ModelError: If the file does not exist or is damaged, or onnxruntime is not installed.
    """
    file = Path(path).expanduser()
    if file.is_dir():
        file = file / f"{kind}.onnx"
    if not file.is_file():
        raise ModelError(f"There is no exported model {file}: export one with hf-speech export.")
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
        content = file.read_bytes()
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no other common base.
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{file} cannot be loaded by onnxruntime ({reason}): export the model again.") from error
    text = session.get_modelmeta().custom_metadata_map.get(KEY)
    if text is None:
        raise ModelError(f"{file} was not written by hf-speech export: choose a file that was.")
    description = Description.from_json(text, str(file))
    check_digest(content, description.digest, str(file))
    return session, description
