"""The files of an exported model, and the description in them: enough to run it without PyTorch or its folder.

The description is stored in each ONNX file, under the key `hf_speech` of its metadata, so that a file which was moved
alone still runs, and in `export.json` beside the files, for runtimes that cannot read metadata, such as those of
browsers. It holds the digest of its own file, because a few changed bytes would change answers without any error.
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

# In the place of a file's digest while it is computed.
NO_DIGEST = "0" * 64
MAX_LABELS = 262_144
# Numbers that the states of a stream may hold at its beginning.
MAX_STATE = 1 << 24


@dataclass(frozen=True)
class Description:
    """An exported model.

    Attributes:
        task: Name of its task.
        name: Name of the model folder or Hub id it was exported from.
        revision: Which weights these are.
        sampling_rate: The sampling rate of its input in Hz.
        min_samples: Samples that a clip must have at least.
        labels: The classes, or the tokens, in the order of the logits.
        samples_per_frame: Samples that a logit frame spans; of a classifier 0.
        blank: Id of the CTC blank, for recognizers.
        word_delimiter: The token between words, for recognizers.
        unknown: The token for characters outside of the vocabulary, for recognizers.
        states: Of a stream: the inputs that are fed back, with their shapes at the beginning, when they are zeros.
        latency: Of a stream: seconds from the beginning of a logit frame until it is known.
        first_samples: Of a stream: samples that the first logit frame is made of, without lookahead; each further one
            is made of `samples_per_frame` more. 0 in older files, where it is not known.
        precision: "float32", "int8", or "packed": weights with 8 bits, computed with in float32.
        digest: SHA-256 of the file, with zeros in its own place; empty in files of version 0.1.
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
        """The description as JSON in one line."""
        return json.dumps({"format": FORMAT} | dataclasses.asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str, name: str) -> Description:
        """Reads what `to_json` wrote."""
        try:
            content: dict[str, Any] = json.loads(text)
            if (number := content.pop("format")) != FORMAT:
                raise ModelError(
                    f"{name} was exported in format {number!r}, which is not known here: update hf_speech."
                )
            content["labels"] = tuple(content["labels"])
            content["states"] = {state: tuple(shape) for state, shape in content["states"].items()}
            description = cls(**content)
            description.check()
            return description
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            if isinstance(error, ModelError):
                raise
            raise ModelError(f"{name} has a damaged description of the model in it: export it again.") from error

    def check(self) -> None:
        """Refuses values that no export writes."""
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
    """The digest as it is written in a file."""
    return f'"digest": "{digest}"'.encode()


def seal(path: Path) -> None:
    """Puts a file's digest into its description, which has `NO_DIGEST` there."""
    content = path.read_bytes()
    if content.count(_field(NO_DIGEST)) != 1:
        raise ModelError(f"{path} holds its own description more than once: please report it with the model.")
    path.write_bytes(content.replace(_field(NO_DIGEST), _field(digest_bytes(content))))


def check_digest(content: bytes, digest: str, name: str) -> None:
    """Refuses a file that is not what was exported."""
    if digest and digest_bytes(content.replace(_field(digest), _field(NO_DIGEST), 1)) != digest:
        raise ModelError(f"{name} is damaged (its digest does not match its content): copy or export it again.")


def is_exported(model: str | Path) -> bool:
    """Whether this is an exported folder, or a file of one, and not a model of PyTorch."""
    path = Path(model).expanduser()
    return (path / FILE).is_file() or (path.suffix == ".onnx" and path.is_file())


def file_beside(model: str | Path, name: str) -> Path | None:
    """A file in an exported folder, or next to a file of one; None if there is none."""
    path = Path(model).expanduser()
    file = (path if path.is_dir() else path.parent) / name
    return file if file.is_file() else None


def open_file(path: str | Path, kind: str) -> tuple[Any, Description]:
    """An onnxruntime session and the model's description."""
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
        content = file.read_bytes()
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no common base but Exception
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{file} cannot be loaded by onnxruntime ({reason}): export the model again.") from error
    text = session.get_modelmeta().custom_metadata_map.get(KEY)
    if text is None:
        raise ModelError(f"{file} was not written by hf-speech export: give a file that was.")
    description = Description.from_json(text, str(file))
    check_digest(content, description.digest, str(file))
    return session, description
