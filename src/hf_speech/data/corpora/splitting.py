"""Splits for corpora that come without: by speaker where speakers are known, else by class, always by seed.

A random split of the clips of few speakers leaks: the model is then tested on voices it has heard. So whoever knows
the speakers gets splits without a common one.
"""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np

from hf_speech.data.corpora.base import Utterance
from hf_speech.errors import CorpusError

_TRIALS = 100  # orders of the speakers that are tried


def take_out(utterances: list[Utterance], fraction: float, seed: int) -> tuple[list[Utterance], list[Utterance]]:
    """Take a part of the utterances out: of whole speakers if all speakers are known, else of each class alike.

    Args:
        utterances: What is split; the order matters to the result, so it must not depend on the file system.
        fraction: Share of the utterances to take out, 0 to 1.
        seed: Seed of the choice.

    Returns:
        What remains and what was taken out, both in the given order.

    Raises:
        CorpusError: If the fraction is not between 0 and 1, or there are too few speakers or utterances.
    """
    if not 0 <= fraction < 1:
        raise CorpusError(f"A split of {fraction} of the corpus is impossible: give a fraction from 0 to below 1.")
    if fraction == 0 or not utterances:
        return utterances, []
    rng = np.random.default_rng(seed)
    if all(utterance.speaker for utterance in utterances):
        taken = _choose_speakers(utterances, fraction, rng)
    else:
        taken = _choose_per_class(utterances, fraction, rng)
    if not 0 < len(taken) < len(utterances):
        raise CorpusError(
            f"{len(utterances)} utterances are too few to take a split of {fraction:.0%} out: give more, or fractions "
            "that fit."
        )
    rest = [utterance for index, utterance in enumerate(utterances) if index not in taken]
    return rest, [utterances[index] for index in sorted(taken)]


def _choose_per_class(utterances: list[Utterance], fraction: float, rng: np.random.Generator) -> set[int]:
    """Indices of a share of each class, at least one of a class that has three."""
    classes: dict[str, list[int]] = defaultdict(list)
    for index, utterance in enumerate(utterances):
        classes[utterance.label or ""].append(index)
    taken: set[int] = set()
    for indices in classes.values():
        wanted = round(len(indices) * fraction) or int(len(indices) >= 3)
        taken.update(int(index) for index in rng.permutation(indices)[:wanted])
    return taken


def _choose_speakers(utterances: list[Utterance], fraction: float, rng: np.random.Generator) -> set[int]:
    """Indices of all utterances of some speakers: no class lost to the rest, and about the share wanted."""
    by_speaker: dict[str, list[int]] = defaultdict(list)
    for index, utterance in enumerate(utterances):
        by_speaker[utterance.speaker or ""].append(index)
    if len(by_speaker) < 2:
        raise CorpusError(
            "A single speaker cannot be split into speakers of training and speakers of evaluation: give the splits, "
            "or leave the speakers out to split the utterances at random."
        )
    classes = {utterance.label for utterance in utterances}
    speakers = list(by_speaker)
    best: tuple[float, set[int]] = (math.inf, set())
    for _ in range(_TRIALS):
        taken: set[int] = set()
        for speaker in rng.permutation(speakers)[:-1]:
            indices = by_speaker[str(speaker)]
            # Stop where one more speaker would lead further away from the share wanted.
            if taken and len(taken) + len(indices) / 2 > fraction * len(utterances):
                break
            taken.update(indices)
        left = {utterance.label for index, utterance in enumerate(utterances) if index not in taken}
        cost = len(classes - left) + abs(len(taken) / len(utterances) - fraction)
        best = min(best, (cost, taken), key=lambda pair: pair[0])
    return best[1]
