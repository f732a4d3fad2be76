"""What an exported model says of itself: enough to run it without PyTorch, transformers or the folder it came from.

It lies inside each ONNX file, under the key `hf_speech` of its metadata, so a file that was moved alone still runs; and
in `export.json` beside the files, for runtimes that cannot read metadata, such as those of browsers.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_speech.errors import ModelError

FORMAT = 1
KEY = "hf_speech"
FILE = "export.json"
WHOLE, STREAM = "model", "stream"
INT8 = "_int8"


@dataclass(frozen=True)
class Description:
    """An exported model.

    Attributes:
        task: Name of its task.
        name: Name of the model folder or Hub id it was exported from.
        revision: Which weights these are.
        sampling_rate: The rate in Hz at which it hears.
        min_samples: Samples that a clip must have at least.
        labels: The classes, or the tokens, in the order of the logits.
        samples_per_frame: Samples that a logit frame spans; of a classifier 0.
        blank: Id of the CTC blank, for recognizers.
        word_delimiter: The token between words, for recognizers.
        unknown: The token for what cannot be written, for recognizers.
        states: Of a stream: the inputs that are fed back, with their shapes at the beginning, when they are zeros.
        latency: Of a stream: seconds from the beginning of a logit frame until it is known.
        precision: "float32" or "int8".
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
    precision: str = "float32"

    def to_json(self) -> str:
        """The description as JSON in one line."""
        return json.dumps({"format": FORMAT} | dataclasses.asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str, name: str) -> Description:
        """Reads what `to_json` wrote.

        Args:
            text: The JSON.
            name: What errors call the file.

        Raises:
            ModelError: If it is none, or of a later format.
        """
        try:
            content: dict[str, Any] = json.loads(text)
            if (number := content.pop("format")) != FORMAT:
                raise ModelError(
                    f"{name} was exported in format {number!r}, which is not known here: update hf_speech."
                )
            content["labels"] = tuple(content["labels"])
            content["states"] = {state: tuple(shape) for state, shape in content["states"].items()}
            return cls(**content)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            if isinstance(error, ModelError):
                raise
            raise ModelError(f"{name} has a damaged description of the model in it: export it again.") from error


def is_exported(model: str | Path) -> bool:
    """Whether this is an exported folder, or a file of one, and not a model of PyTorch."""
    path = Path(model).expanduser()
    return (path / FILE).is_file() or (path.suffix == ".onnx" and path.is_file())


__all__ = ["Description", "is_exported"]
