"""Mixes streams of rows by weight, so that local and streamed corpora can be trained on together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import Dataset

from hf_speech.data.corpora.base import RowStream
from hf_speech.data.corpora.hub_stream import fetch_sound
from hf_speech.errors import CorpusError


@dataclass
class LocalStream:
    """A stream of the rows of a table, in a new order in each pass."""

    table: Dataset
    seed: int = 0

    def rows(self, pass_number: int, process: tuple[int, int]) -> Iterator[dict[str, Any]]:
        """Yields the rows of one pass for this worker of this process, with the bytes of their recordings."""
        order = np.random.default_rng((self.seed, pass_number)).permutation(len(self.table))
        number, count = process
        worker, workers = loader_process()
        for index in order[number::count][worker::workers]:
            row = self.table[int(index)]
            yield row | {"audio": fetch_sound(row["audio"])}


@dataclass
class RowAdapter:
    """Renames the class of a streamed row, or normalizes its transcript. Can be pickled for worker processes.

    Attributes:
        own_names: The classes of the stream in the order of their ids; None for transcripts.
        class_names: The classes of all corpora.
        labels: New names of classes, or None for classes to leave out.
        normalize: Normalizes a transcript.
    """

    own_names: list[str] | None
    class_names: list[str]
    labels: Mapping[str, str | None]
    normalize: Callable[[str], str] | None = None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any] | None:
        """Returns the adapted row, or None to leave it out. The label is None if it is not in `class_names`."""
        if self.own_names is None:
            if self.normalize is None or row["text"] is None:
                return row
            return row | {"text": self.normalize(row["text"])}
        if row["label"] is None:
            return row
        old = self.own_names[row["label"]]
        new = self.labels.get(old, old)
        if new is None:
            return None
        return row | {"label": self.class_names.index(new) if new in self.class_names else None}


@dataclass
class MixedStream:
    """A random mixture of streams.

    Attributes:
        streams: The streams by corpus name.
        weights: The weight of each stream. A row comes from a stream with a probability proportional to its weight.
        adapters: Adapts each row of a stream, or returns None to leave it out.
        seed: Seed of the order.
    """

    streams: Mapping[str, RowStream]
    weights: Mapping[str, float]
    adapters: Mapping[str, RowAdapter]
    seed: int = 0

    def rows(self, pass_number: int, process: tuple[int, int]) -> Iterator[dict[str, Any]]:
        """Yields rows endlessly; a stream that ends starts its next pass.

        Args:
            pass_number: Number of the first pass.
            process: Number of this process, and of all of them.

        Yields:
            Rows with two more columns: `corpus`, and `pass`, the number of the pass of their stream.

        Raises:
            CorpusError: If a stream has no row for this worker.
        """
        rng = np.random.default_rng((self.seed, pass_number, *process, loader_process()[0]))
        names = list(self.streams)
        probabilities = np.array([self.weights[name] for name in names])
        sources = {name: self._passes(name, pass_number, process) for name in names}
        while True:
            yield next(sources[names[rng.choice(len(names), p=probabilities / probabilities.sum())]])

    def _passes(self, name: str, pass_number: int, process: tuple[int, int]) -> Iterator[dict[str, Any]]:
        """Yields the rows of one stream, pass after pass."""
        adapt = self.adapters.get(name)
        while True:
            found = False
            for row in self.streams[name].rows(pass_number, process):
                adapted = row if adapt is None else adapt(row)
                if adapted is not None:
                    found = True
                    yield adapted | {"corpus": name, "pass": pass_number}
            if not found:
                worker, workers = loader_process()
                raise CorpusError(
                    f"The corpus {name!r} has no row to train on for loader process {worker + 1} of {workers}, as it "
                    "has fewer shards than there are processes: lower training.dataloader_num_workers."
                )
            pass_number += 1


def loader_process() -> tuple[int, int]:
    """Returns the number of this loader process, and the number of loader processes."""
    from torch.utils.data import get_worker_info

    worker = get_worker_info()
    return (0, 1) if worker is None else (worker.id, worker.num_workers)
