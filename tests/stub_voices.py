"""A fake speech synthesizer for tests of synthetic voices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from hf_speech.data.voices.base import Job, Speaker, distribute_sources, draw_pace


class Tones:
    """A synthesizer whose voices are tones; it can fail after some utterances, or be silent."""

    title = "Tones"
    shard_size = 3

    def __init__(self, name: str = "tones") -> None:
        self.name = name
        self.spoken: list[Job] = []
        self.fails_after: int | None = None
        self.is_silent: Callable[[str, Speaker], bool] = lambda text, speaker: False

    def files(self, source: str) -> list[Path]:
        return []

    def cast(
        self, sources: Mapping[str, Sequence[str]], counts: Mapping[str, int], rng: np.random.Generator
    ) -> dict[str, Iterator[Speaker]]:
        voices = {source: source.split("+") for names in sources.values() for source in names}
        return {
            split: self._speakers(names, rng)
            for split, names in distribute_sources(voices.__getitem__, sources, counts, rng).items()
        }

    def _speakers(self, names: list[str], rng: np.random.Generator) -> Iterator[Speaker]:
        while True:
            for name in names:
                yield Speaker(name, 50, draw_pace(rng), self.name)

    def speak(self, jobs: Sequence[Job]) -> Iterator[tuple[np.ndarray, int]]:
        for text, speaker in jobs:
            if len(self.spoken) == self.fails_after:
                raise KeyboardInterrupt
            self.spoken.append((text, speaker))
            seconds = 0.05 * len(text) / speaker.speed
            if self.is_silent(text, speaker):
                yield np.zeros(0), 8000
                continue
            yield 0.3 * np.sin(np.arange(int(8000 * seconds)) * 0.1 * int(speaker.voice)), 8000
