"""The speech synthesizers of the synthetic corpus.

A voice is named `ENGINE:SOURCE`, as in `piper:joe.onnx`; a name without a colon is an accent of eSpeak NG. To add a
synthesizer, add a file here and a line to `ENGINES`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from hf_speech.data.voices.base import NORMAL_PACE, Engine, Job, Speaker
from hf_speech.data.voices.espeak import ENGLISH_ACCENTS, Espeak
from hf_speech.data.voices.kokoro import Kokoro
from hf_speech.data.voices.piper import Piper
from hf_speech.errors import CorpusError, nearest

ENGINES: dict[str, Engine] = {engine.name: engine for engine in (Espeak(), Piper(), Kokoro())}


def find_engine(voice: str) -> tuple[Engine, str]:
    """Returns the synthesizer of a voice, and the name without its prefix.

    Raises:
        CorpusError: If there is no such synthesizer.
    """
    name, colon, source = voice.partition(":")
    if not colon:
        return ENGINES["espeak"], voice
    if name not in ENGINES:
        raise CorpusError(f"The voice {voice!r} belongs to an unknown synthesizer: {nearest(name, ENGINES)}")
    return ENGINES[name], source


def cast_speakers(
    voices: Mapping[str, Sequence[str]],
    counts: Mapping[str, int],
    rng: np.random.Generator,
    shares: Mapping[str, float] | None = None,
) -> dict[str, list[Speaker]]:
    """Chooses speakers for each split, with each synthesizer in proportion to its share and no voice in two splits.

    Args:
        voices: The voices that each split may use.
        counts: The number of speakers of each split.
        rng: The random generator.
        shares: The relative share of each synthesizer, by name; 1 for synthesizers that are not listed.

    Raises:
        CorpusError: If there are too few voices to give each split a separate one, or a share is invalid.
    """
    shares = shares or {}
    for name, share in shares.items():
        if name not in ENGINES:
            raise CorpusError(f"shares names an unknown synthesizer {name!r}: {nearest(name, ENGINES)}")
        if not 0 < share < math.inf:
            raise CorpusError(f"The share of {name} is {share}: give a positive number, or leave its voices out.")
    sources: dict[str, dict[str, list[str]]] = {}
    for split, names in voices.items():
        for engine, source in map(find_engine, names):
            sources.setdefault(engine.name, {}).setdefault(split, []).append(source)
    casts = {name: ENGINES[name].cast(found, {s: counts[s] for s in found}, rng) for name, found in sources.items()}
    chosen: dict[str, list[Speaker]] = {}
    for split, count in counts.items():
        queues = {name: cast[split] for name, cast in casts.items() if split in cast}
        if not queues:
            raise CorpusError(
                f"The synthetic corpus has no voice left for {split}: add other voices to "
                f"{'voices' if split == 'train' else f'{split}_voices'}."
            )
        given = dict.fromkeys(queues, 0)
        chosen[split] = []
        for _ in range(count):
            name = min(given, key=lambda name: (given[name] + 1) / shares.get(name, 1.0))
            given[name] += 1
            chosen[split].append(next(queues[name]))
    return chosen


__all__ = ["ENGINES", "ENGLISH_ACCENTS", "NORMAL_PACE", "Engine", "Job", "Speaker", "cast_speakers", "find_engine"]
