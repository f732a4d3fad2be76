"""Splits for corpora that come without: by speaker where speakers are known, else by class, always by seed.

A random split of the clips of few speakers leaks: the model is then tested on voices it has heard. So whoever knows
the speakers gets splits without a common one.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from hf_speech.data.corpora.base import SPLITS, Utterance
from hf_speech.errors import CorpusError

_TRIALS = 100  # orders of the speakers that are tried


def complete_splits(
    splits: dict[str, list[Utterance]], validation_fraction: float, test_fraction: float, seed: int
) -> dict[str, list[Utterance]]:
    """Take the splits that are missing out of the training split.

    Args:
        splits: The utterances of train, validation and test; the last two may be empty.
        validation_fraction: Share of the training utterances to validate on, once those of the test are taken.
        test_fraction: Share of the training utterances to test on.
        seed: Seed of the choice.

    Raises:
        CorpusError: As of `choose`.
    """
    train, validation, test = (splits[split] for split in SPLITS)
    if not test:
        train, test = take_out(train, test_fraction, seed)
    if not validation:
        train, validation = take_out(train, validation_fraction, seed)
    return {"train": train, "validation": validation, "test": test}


def take_out(utterances: list[Utterance], fraction: float, seed: int) -> tuple[list[Utterance], list[Utterance]]:
    """What remains of utterances when a part is taken out, and that part, as `choose` chooses it."""
    taken = choose([u.label for u in utterances], [u.speaker for u in utterances], fraction, seed)
    rest = [utterance for index, utterance in enumerate(utterances) if index not in taken]
    return rest, [utterances[index] for index in sorted(taken)]


def choose(labels: Sequence[Any], speakers: Sequence[str | None], fraction: float, seed: int) -> set[int]:
    """Choose utterances to take out: of whole speakers if all speakers are known, else of each class alike.

    Args:
        labels: The class of each utterance, None where there are no classes. The order matters to the result, so it
            must not depend on the file system.
        speakers: The speaker of each utterance, None where unknown.
        fraction: Share of the utterances to take out, 0 to 1.
        seed: Seed of the choice.

    Returns:
        Indices of the utterances to take out.

    Raises:
        CorpusError: If the fraction is not between 0 and 1, or there are too few speakers or utterances.
    """
    if not 0 <= fraction < 1:
        raise CorpusError(f"A split of {fraction} of the corpus is impossible: give a fraction from 0 to below 1.")
    if fraction == 0 or not labels:
        return set()
    rng = np.random.default_rng(seed)
    if all(speakers):
        taken = _choose_speakers(labels, [str(speaker) for speaker in speakers], fraction, rng)
    else:
        taken = _choose_per_class(labels, fraction, rng)
    if not 0 < len(taken) < len(labels):
        raise CorpusError(
            f"{len(labels)} utterances are too few to take a split of {fraction:.0%} out: give more, or fractions that "
            "fit."
        )
    return taken


def _choose_per_class(labels: Sequence[Any], fraction: float, rng: np.random.Generator) -> set[int]:
    """Indices of a share of each class, at least one of a class that has three."""
    classes: dict[Any, list[int]] = defaultdict(list)
    for index, label in enumerate(labels):
        classes[label].append(index)
    taken: set[int] = set()
    for indices in classes.values():
        wanted = round(len(indices) * fraction) or int(len(indices) >= 3)
        taken.update(int(index) for index in rng.permutation(indices)[:wanted])
    return taken


def _choose_speakers(
    labels: Sequence[Any], speakers: Sequence[str], fraction: float, rng: np.random.Generator
) -> set[int]:
    """Indices of all utterances of some speakers: no class lost to the rest, and about the share wanted."""
    by_speaker: dict[str, list[int]] = defaultdict(list)
    for index, speaker in enumerate(speakers):
        by_speaker[speaker].append(index)
    if len(by_speaker) < 2:
        raise CorpusError(
            "A single speaker cannot be split into speakers of training and speakers of evaluation: give the splits, "
            "or leave the speakers out to split the utterances at random."
        )
    best: tuple[float, set[int]] = (math.inf, set())
    for _ in range(_TRIALS):
        taken: set[int] = set()
        for speaker in rng.permutation(list(by_speaker))[:-1]:
            indices = by_speaker[str(speaker)]
            # Stop where one more speaker would lead further away from the share wanted.
            if taken and len(taken) + len(indices) / 2 > fraction * len(labels):
                break
            taken.update(indices)
        lost = set(labels) - {label for index, label in enumerate(labels) if index not in taken}
        cost = len(lost) + abs(len(taken) / len(labels) - fraction)
        best = min(best, (cost, taken), key=lambda pair: pair[0])
    return best[1]
