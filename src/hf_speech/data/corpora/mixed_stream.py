"""Mixes streams of rows by their weights: a local corpus and a streamed one can be trained on together."""

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
    """The rows of a table as a stream: all of them in each pass, in another order."""

    table: Dataset
    seed: int = 0

    def rows(self, pass_number: int, process: tuple[int, int]) -> Iterator[dict[str, Any]]:
        """One pass over the table: each row in one worker of one process, with its sound read from the disk."""
        order = np.random.default_rng((self.seed, pass_number)).permutation(len(self.table))
        number, count = process
        worker, workers = loader_process()
        for index in order[number::count][worker::workers]:
            row = self.table[int(index)]
            yield row | {"audio": fetch_sound(row["audio"])}


@dataclass
class RowAdapter:
    """Renames the class of a streamed row, or normalizes its transcript; can be sent to other processes.

    Attributes:
        own_names: The classes of the stream in the order of their ids; None for transcripts.
        class_names: The classes of all corpora.
        labels: Classes to be called otherwise, or left out (None).
        normalize: What is done to transcripts.
    """

    own_names: list[str] | None
    class_names: list[str]
    labels: Mapping[str, str | None]
    normalize: Callable[[str], str] | None = None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any] | None:
        """The row, or None if it is left out; the label is None if the classes do not have it."""
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
    """Streams whose rows alternate at random.

    Attributes:
        streams: The streams by the names of their corpora.
        weights: Their weights: the probability that a row comes from one of them is its part of the sum.
        adapters: What changes a row of a stream, or gives None to leave it out.
        seed: Seed of the order.
    """

    streams: Mapping[str, RowStream]
    weights: Mapping[str, float]
    adapters: Mapping[str, RowAdapter]
    seed: int = 0

    def rows(self, pass_number: int, process: tuple[int, int]) -> Iterator[dict[str, Any]]:
        """Rows without end: a stream that has ended begins its next pass.

        Args:
            pass_number: Number of the first pass.
            process: Number of this process, and of all of them.

        Yields:
            Rows with `corpus`, and with the number of their own stream's pass as `pass`.

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
        """The rows of one stream, pass after pass."""
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
                    f"The corpus {name!r} has no row to train on for loader process {worker + 1} of {workers}: it has "
                    "fewer parts than there are processes, so lower training.dataloader_num_workers."
                )
            pass_number += 1


def loader_process() -> tuple[int, int]:
    """The number of this loader process, and of all of them."""
    from torch.utils.data import get_worker_info

    worker = get_worker_info()
    return (0, 1) if worker is None else (worker.id, worker.num_workers)
