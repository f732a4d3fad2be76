"""The interface of speech synthesizers, and functions that they share."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from hf_speech.errors import CorpusError

PACE_RANGE = (130, 210)  # words per minute
NORMAL_PACE = 170
"""Words per minute of a neural voice at its default speed."""

Name = TypeVar("Name")


@dataclass(frozen=True)
class Speaker:
    """A synthetic speaker.

    Attributes:
        voice: The synthesizer's name of the voice, such as "en-us+f3" for eSpeak NG.
        pitch: 0 to 99, with 50 as the default; only eSpeak NG uses it.
        pace: Words per minute.
        engine: Name of the synthesizer.
        source: File or folder of the voice, if the synthesizer needs one.
    """

    voice: str
    pitch: int
    pace: int
    engine: str = "espeak"
    source: str = ""

    @property
    def name(self) -> str:
        """A name that contains the parameters of the speaker."""
        if self.engine == "espeak":
            return f"{self.voice}_pitch{self.pitch}_pace{self.pace}"
        return f"{self.engine}_{self.voice}_pace{self.pace}"

    @property
    def speed(self) -> float:
        """The pace relative to `NORMAL_PACE`."""
        return self.pace / NORMAL_PACE


Job = tuple[str, Speaker]
"""A text and the speaker to synthesize it with."""


class Engine(Protocol):
    """A speech synthesizer.

    Attributes:
        name: The prefix of voice names, before the colon.
        title: The full name of the synthesizer.
        shard_size: Number of utterances per shard. An interrupted run repeats at most one shard.
    """

    name: str
    title: str
    shard_size: int

    def files(self, source: str) -> list[Path]:
        """Returns the weight files of a voice.

        Raises:
            CorpusError: If there are none.
        """

    def cast(
        self, sources: Mapping[str, Sequence[str]], counts: Mapping[str, int], rng: np.random.Generator
    ) -> dict[str, Iterator[Speaker]]:
        """Distributes voices among splits, so that no voice is in two splits.

        Args:
            sources: The parts of voice names after the colon, by split.
            counts: The number of speakers of each split; voices are distributed in proportion.
            rng: The random generator.

        Returns:
            An endless sequence of speakers for each split that has a voice.
        """

    def speak(self, jobs: Sequence[Job]) -> Iterator[tuple[np.ndarray, int]]:
        """Yields float samples `(samples,)` in [-1, 1] and their rate in Hz for each job.

        Raises:
            CorpusError: If the synthesizer is not installed, or fails.
        """


def distribute(names: Sequence[Name], counts: Mapping[str, int]) -> dict[str, list[Name]]:
    """Distributes names among splits in about the given proportions.

    Each split gets at least one name if there are enough; otherwise the first splits get one each.
    """
    splits = list(counts)[: len(names)]
    weights = [counts[split] for split in splits]
    spare = len(names) - len(splits)
    steps = np.cumsum([0, *weights]) / max(sum(weights), 1) * spare
    bounds = np.floor(steps).astype(int) + np.arange(len(splits) + 1)
    return {split: list(names[low:high]) for split, (low, high) in zip(splits, itertools.pairwise(bounds), strict=True)}


def distribute_sources(
    voices_of: Callable[[str], Sequence[Name]],
    sources: Mapping[str, Sequence[str]],
    counts: Mapping[str, int],
    rng: np.random.Generator,
) -> dict[str, list[Name]]:
    """Distributes the voices of each source among the splits that use it.

    Args:
        voices_of: Returns the voices of a source.
        sources: The sources of each split.
        counts: The number of speakers of each split.
        rng: The random generator.

    Returns:
        The voices of each split that has any.
    """
    shares: dict[str, list[Name]] = {}
    for source in dict.fromkeys(name for listed in sources.values() for name in listed):
        names = voices_of(source)
        using = {split: counts[split] for split, listed in sources.items() if source in listed}
        order = [names[index] for index in rng.permutation(len(names))]
        for split, own in distribute(order, using).items():
            shares.setdefault(split, []).extend(own)
    return shares


def draw_pace(rng: np.random.Generator) -> int:
    """Returns a random pace in words per minute."""
    return int(rng.integers(*PACE_RANGE, endpoint=True))


def open_session(model: Path) -> Any:
    """Opens the ONNX model of a voice on the CPU, with `OMP_NUM_THREADS` threads, if set."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS") or 0)
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def not_installed(title: str) -> CorpusError:
    """Returns the error to raise if the package of a synthesizer is missing."""
    return CorpusError(f"The voices of {title} need packages that are not installed: pip install 'hf_speech[voices]'.")
