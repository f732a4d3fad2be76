"""Reads rows of Hub datasets, downloaded or streamed, without decoding or encoding audio in `datasets`.

An `Audio` feature needs torchcodec and FFmpeg even to store the path of a file. `SoundFile` is the same feature without
this dependency, and `load_dataset` uses it for folders of audio files, the most common layout of small datasets.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import soundfile
from datasets import Audio, ClassLabel, IterableDataset, load_dataset_builder
from datasets.distributed import split_dataset_by_node
from datasets.packaged_modules.audiofolder.audiofolder import AudioFolder
from datasets.utils.file_utils import xopen

from hf_speech.common.text import nfc
from hf_speech.data.corpora.lines import decode_text
from hf_speech.data.corpora.tables import parse_delimited
from hf_speech.errors import CorpusError

SHUFFLE_BUFFER = 1000  # size in rows of the shuffle buffer of a streamed split


@dataclass
class SoundFile(Audio):
    """An `Audio` feature that stores files and bytes unchanged."""

    decode: bool = False

    def encode_example(self, value: Any) -> dict[str, Any]:
        """Returns a path, bytes or a row as `{"path", "bytes"}`."""
        return sound_of(value)


class SoundFolder(AudioFolder):
    """A folder of audio files, whose `metadata.csv` is read as text, so that "007" stays "007"."""

    BASE_FEATURE = SoundFile

    def _read_metadata(self, metadata_file: str, metadata_ext: str = "") -> Iterator[pyarrow.Table]:
        if metadata_ext != ".csv":
            yield from super()._read_metadata(metadata_file, metadata_ext=metadata_ext)
            return
        with xopen(metadata_file, "rb") as file:
            text = decode_text(file.read(), metadata_file)
        if rows := [row for _, row in parse_delimited(text, metadata_file)]:
            yield pyarrow.Table.from_pylist(rows, pyarrow.schema([(name, pyarrow.string()) for name in rows[0]]))


def load_dataset(path: str, name: str | None, *, revision: str | None, streaming: bool) -> Any:
    """Like `datasets.load_dataset`, but with audio files unchanged."""
    builder = load_dataset_builder(path, name, revision=revision)
    if isinstance(builder, AudioFolder):  # `datasets` creates a subclass for each dataset
        builder.__class__ = type("SoundFolder", (SoundFolder, type(builder)), {})
    if streaming:
        return builder.as_streaming_dataset()
    builder.download_and_prepare()
    return builder.as_dataset()


@dataclass
class HubStream:
    """The rows of a streamed split, divided among processes and their workers.

    Attributes:
        stream: The split, with the two needed columns.
        audio_column: Column with the recording.
        target_column: Column with the class or the transcript.
        feature: The dataset's feature of the target column, such as a `ClassLabel`.
        class_names: The classes of the model in the order of their ids; empty for transcripts.
        seed: Seed of the order.
    """

    stream: IterableDataset
    audio_column: str
    target_column: str
    feature: Any = None
    class_names: list[str] = field(default_factory=list)
    seed: int = 0

    def rows(self, pass_number: int, process: tuple[int, int]) -> Iterator[dict[str, Any]]:
        """Yields the rows of one pass for this worker of this process."""
        # All processes shuffle in the same order, so that their parts are disjoint. `datasets` itself divides the
        # shards of a process among its workers.
        shuffled = self.stream.shuffle(seed=self.seed + pass_number, buffer_size=SHUFFLE_BUFFER)
        for row in split_dataset_by_node(shuffled, *process):
            yield {"audio": fetch_sound(row[self.audio_column]), **self._target(row[self.target_column])}

    def _target(self, value: Any) -> dict[str, Any]:
        name = target_of(self.feature, value)
        if not self.class_names:
            return {"text": name}
        return {"label": self.class_names.index(name) if name in self.class_names else None}


def fetch_sound(audio: Any) -> dict[str, Any]:
    """Returns a recording with its bytes, which are read from its path if needed."""
    sound = sound_of(audio)
    if sound["bytes"] is not None or sound["path"] is None:
        return sound
    with xopen(sound["path"], "rb") as file:
        return {"path": sound["path"], "bytes": file.read()}


def undecoded(stream: IterableDataset, audio_column: str) -> IterableDataset:
    """Returns a stream that does not decode its recordings."""
    if isinstance((stream.features or {}).get(audio_column), Audio):
        return stream.cast_column(audio_column, SoundFile())
    return stream


def holds_sound(feature: Any) -> bool:
    """Returns whether a feature is that of recordings: `Audio`, bytes, or a struct with bytes, a path or samples."""
    if not isinstance(feature, Mapping):
        return isinstance(feature, Audio) or getattr(feature, "dtype", None) in ("binary", "large_binary")
    return bool({"bytes", "path"} & set(feature)) or {"array", "sampling_rate"} <= set(feature)


def sound_of(value: Any) -> dict[str, Any]:
    """Converts a recording to `{"path", "bytes"}`.

    Args:
        value: A path, bytes, a row `{"path", "bytes"}`, or samples `{"array", "sampling_rate"}`, which are encoded as
            wav.
    """
    if isinstance(value, str | Path):
        return {"path": str(value), "bytes": None}
    if isinstance(value, bytes | bytearray):
        return {"path": None, "bytes": bytes(value)}
    value = value or {}
    content = value.get("bytes")
    if content is None and value.get("array") is not None:
        samples = np.asarray(value["array"], dtype=np.float32)
        file = io.BytesIO()
        if samples.ndim == 2 and samples.shape[0] < samples.shape[1]:  # soundfile expects `(samples, channels)`
            samples = samples.T
        soundfile.write(file, samples, int(value["sampling_rate"]), format="WAV", subtype="FLOAT")
        content = file.getvalue()
    return {"path": value.get("path"), "bytes": content}


def target_of(feature: Any, value: Any) -> str | None:
    """Returns the class name or transcript, or None if it is missing; on the Hub, the class id -1 means unknown."""
    if isinstance(feature, ClassLabel) and feature.names:
        return None if value is None or value < 0 else nfc(feature.int2str(value))
    return text_of(value)


def text_of(value: Any) -> str | None:
    """Converts a value to text, or to None if it is blank or NaN.

    Raises:
        CorpusError: If the value is neither text nor an integer, but for example a list or a fraction.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise CorpusError(f"A target or speaker is {value!r:.80}, which is not text: write text into this column.")
    return str(value).strip() or None
