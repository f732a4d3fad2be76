"""A training split of the Hub as a stream, and how rows of the Hub become ours, fetched or streamed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets import Audio, ClassLabel, IterableDataset
from datasets.distributed import split_dataset_by_node
from datasets.utils.file_utils import xopen

SHUFFLE_BUFFER = 1000  # rows of a streamed split among which the next one is drawn


@dataclass
class HubStream:
    """The rows of a streamed split, for whoever asks: a process among others, and a worker among its workers.

    Attributes:
        stream: The split, with the two columns needed.
        audio_column: Column with the recording.
        target_column: Column with the class or the transcript.
        feature: What the dataset says the target is, such as its names of the classes, whose ids its rows have.
        class_names: Names of our classes; empty for transcripts.
        seed: Seed of the order.
    """

    stream: IterableDataset
    audio_column: str
    target_column: str
    feature: Any = None
    class_names: list[str] = field(default_factory=list)
    seed: int = 0

    def rows(self, pass_number: int, process: tuple[int, int]) -> Iterator[dict[str, Any]]:
        """One pass over the split: each row once in one of the workers of one of the processes.

        Args:
            pass_number: Decides the order, with the seed.
            process: Number of this process, and of all of them.

        Yields:
            Rows with `audio` (path and bytes), and `label` (None for a class that is not among ours) or `text`.
        """
        # The order is the same in all processes, so that what they divide among them is the same too. Between the
        # workers of a process, `datasets` divides the shards by itself.
        shuffled = self.stream.shuffle(seed=self.seed + pass_number, buffer_size=SHUFFLE_BUFFER)
        remaining = iter(split_dataset_by_node(shuffled, *process))
        while True:
            with encoded_recordings():
                row = next(remaining, None)
            if row is None:
                return
            yield {"audio": fetch_sound(row[self.audio_column]), **self._target(row[self.target_column])}

    def _target(self, value: Any) -> dict[str, Any]:
        name = target_of(self.feature, value)
        if not self.class_names:
            return {"text": name}
        return {"label": self.class_names.index(name) if name in self.class_names else None}


def fetch_sound(audio: Mapping[str, Any]) -> dict[str, Any]:
    """A recording with its bytes, which a stream of sound files has at another address."""
    if audio["bytes"] is not None:
        return dict(audio)
    with xopen(audio["path"], "rb") as file:
        return {"path": audio["path"], "bytes": file.read()}


def undecoded(stream: IterableDataset, audio_column: str) -> IterableDataset:
    """A stream whose recordings stay as they are.

    It still has to encode its rows, of which only an Audio feature can make a row of a path.
    """
    return stream.cast_column(audio_column, Audio(decode=False))


def target_of(feature: Any, value: Any) -> str | None:
    """The name of a class or a transcript, None if there is none; of class ids, the Hub's -1 is "unknown"."""
    if isinstance(feature, ClassLabel) and feature.names:
        return None if value is None or value < 0 else feature.int2str(value)
    return text_of(value)


def text_of(value: Any) -> str | None:
    """A value as text, None if it is blank."""
    return None if value is None or not str(value).strip() else str(value).strip()


@contextmanager
def encoded_recordings() -> Iterator[None]:
    """Let `datasets` take over files and bytes of sound as they are, without torchcodec.

    Its `Audio.encode_example` asks for torchcodec and FFmpeg even where there is nothing to encode, so a folder of
    sound files (an "audiofolder", the commonest layout of small datasets) could not be loaded without them.
    """
    original = Audio.encode_example

    def encode_example(self: Audio, value: Any) -> dict[str, Any]:
        if isinstance(value, str | Path):
            return {"bytes": None, "path": str(value)}
        if isinstance(value, dict) and "array" not in value:
            return {"bytes": value.get("bytes"), "path": value.get("path")}
        return original(self, value)

    Audio.encode_example = encode_example
    try:
        yield
    finally:
        Audio.encode_example = original
