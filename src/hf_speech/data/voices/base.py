"""What a speech synthesizer has to offer to be a source of speakers, and how its voices are shared out among splits."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

PACE_RANGE = (130, 210)  # words per minute
NORMAL_PACE = 170
"""Words per minute at which a neural voice speaks at its own speed."""

Name = TypeVar("Name")


@dataclass(frozen=True)
class Speaker:
    """A synthetic speaker.

    Attributes:
        voice: The synthesizer's name of the voice, such as "en-us+f3" of eSpeak NG.
        pitch: 0 to 99, the middle being 50; only eSpeak NG uses it.
        pace: Words per minute.
        engine: Name of the synthesizer.
        source: File or folder of the voice, for a synthesizer that needs one.
    """

    voice: str
    pitch: int
    pace: int
    engine: str = "espeak"
    source: str = ""

    @property
    def name(self) -> str:
        """A name that says how the speaker is made."""
        if self.engine == "espeak":
            return f"{self.voice}_pitch{self.pitch}_pace{self.pace}"
        return f"{self.engine}_{self.voice}_pace{self.pace}"

    @property
    def speed(self) -> float:
        """The pace in relation to the normal one."""
        return self.pace / NORMAL_PACE


Job = tuple[str, Speaker]
"""A text and who speaks it."""


class Engine(Protocol):
    """A speech synthesizer.

    Attributes:
        name: The part of a voice's name before the colon.
        title: Its full name.
        shard_size: Utterances that are kept together: after an interruption, at most so many are made again.
    """

    name: str
    title: str
    shard_size: int

    def files(self, source: str) -> list[Path]:
        """The files of the weights of a voice.

        Raises:
            CorpusError: If there are none.
        """

    def cast(
        self, sources: Mapping[str, Sequence[str]], counts: Mapping[str, int], rng: np.random.Generator
    ) -> dict[str, Iterator[Speaker]]:
        """Shares voices out among splits, none in two of them.

        Args:
            sources: The parts after the colon of the names of voices, by split.
            counts: The number of speakers of each split, in proportion to which voices are shared out.
            rng: Source of all variation.

        Returns:
            Speakers without end for each split that has a voice of its own.
        """

    def speak(self, jobs: Sequence[Job]) -> Iterator[tuple[np.ndarray, int]]:
        """Yields float samples `(samples,)` within [-1, 1] and their rate in Hz for each job.

        Raises:
            CorpusError: If the synthesizer is not installed, or fails.
        """


def deal(names: Sequence[Name], counts: Mapping[str, int]) -> dict[str, list[Name]]:
    """Deals names to splits in about the given proportions.

    No split is left without a name while there are enough; where there are fewer names than splits, the first get one.
    """
    splits = list(counts)[: len(names)]
    weights = [counts[split] for split in splits]
    spare = len(names) - len(splits)
    steps = np.cumsum([0, *weights]) / max(sum(weights), 1) * spare
    bounds = np.floor(steps).astype(int) + np.arange(len(splits) + 1)
    return {split: list(names[low:high]) for split, (low, high) in zip(splits, itertools.pairwise(bounds), strict=True)}


def deal_sources(
    voices_of: Callable[[str], Sequence[Name]],
    sources: Mapping[str, Sequence[str]],
    counts: Mapping[str, int],
    rng: np.random.Generator,
) -> dict[str, list[Name]]:
    """Deals the voices of each source to the splits that name it.

    Args:
        voices_of: Gives the voices of a source.
        sources: The sources of each split.
        counts: The number of speakers of each split.
        rng: Decides which voices a split gets.

    Returns:
        The voices of each split that has some.
    """
    shares: dict[str, list[Name]] = {}
    for source in dict.fromkeys(name for listed in sources.values() for name in listed):
        names = voices_of(source)
        using = {split: counts[split] for split, listed in sources.items() if source in listed}
        order = [names[index] for index in rng.permutation(len(names))]
        for split, own in deal(order, using).items():
            shares.setdefault(split, []).extend(own)
    return shares


def draw_pace(rng: np.random.Generator) -> int:
    """A pace in words per minute."""
    return int(rng.integers(*PACE_RANGE, endpoint=True))
