"""Splits for corpora without official ones: by speaker if known, otherwise by class, reproducible by seed.

A random split of the clips of few speakers leaks: the model is tested on voices that it was trained on. So each known
speaker is kept in one split, and a caveat says where that cannot be guaranteed.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from hf_speech.data.corpora.utterance import Utterance
from hf_speech.errors import CorpusError

_TRIALS = 100  # orders of the speakers that are tried
# The share of utterances with a known speaker from which on speakers are kept apart, the others being trained on.
_KNOWN_SHARE = 0.5


def complete_splits(
    splits: dict[str, list[Utterance]],
    validation_fraction: float,
    test_fraction: float,
    seed: int,
    caveats: list[str] | None = None,
) -> dict[str, list[Utterance]]:
    """Take the splits that are missing out of the training split.

    Args:
        splits: The utterances of train, validation and test; the last two may be empty.
        validation_fraction: Share of the training utterances to validate on, once those of the test are taken.
        test_fraction: Share of the training utterances to test on.
        seed: Seed of the choice.
        caveats: Takes what cannot be promised of the splits, one sentence each.
    """
    train, validation, test = (splits[split] for split in ("train", "validation", "test"))
    if not test:
        train, test = take_out(train, test_fraction, seed, caveats)
    if not validation:
        train, validation = take_out(train, validation_fraction, seed, caveats)
    return {"train": train, "validation": validation, "test": test}


def take_out(
    utterances: list[Utterance], fraction: float, seed: int, caveats: list[str] | None = None
) -> tuple[list[Utterance], list[Utterance]]:
    """Divides utterances into what remains and the part that `choose` selects."""
    taken = choose([u.label for u in utterances], [u.speaker for u in utterances], fraction, seed, caveats)
    rest = [utterance for index, utterance in enumerate(utterances) if index not in taken]
    return rest, [utterances[index] for index in sorted(taken)]


def choose(
    labels: Sequence[Any], speakers: Sequence[str | None], fraction: float, seed: int, caveats: list[str] | None = None
) -> set[int]:
    """Choose utterances to take out: of whole speakers where speakers are known, else of each class alike.

    Where a few speakers are not known, their utterances stay: any of them may be of anyone.

    Args:
        labels: The class of each utterance, None where there are no classes. The order matters to the result, so it
            must not depend on the file system.
        speakers: The speaker of each utterance, None where unknown.
        fraction: Share of the utterances to take out, 0 to 1.
        seed: Seed of the choice.
        caveats: Takes what cannot be promised of the choice, one sentence each.

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
    known = [index for index, speaker in enumerate(speakers) if speaker]
    by_speaker = len(known) == len(labels) or (
        len(known) >= _KNOWN_SHARE * len(labels) and len({speakers[index] for index in known}) > 1
    )
    if by_speaker:
        taken = _choose_speakers(labels, speakers, fraction, rng)
    else:
        taken = _choose_per_class(labels, fraction, rng)
    caveat = _caveat(len(labels) - len(known), len(labels), by_speaker)
    if caveats is not None and caveat is not None and caveat not in caveats:
        caveats.append(caveat)
    if not 0 < len(taken) < len(labels):
        raise CorpusError(
            f"{len(labels)} utterances are too few to take a split of {fraction:.0%} out: give more, or fractions that "
            "fit."
        )
    return taken


def describe_splits(labels: Mapping[str, Sequence[Any]], speakers: Mapping[str, Sequence[str | None]]) -> list[str]:
    """Caveats for metrics on these splits: speakers in two splits, classes with a single recording.

    Args:
        labels: The class of each utterance of each split, None where there are no classes.
        speakers: The speaker of each utterance of each split, None where unknown.
    """
    caveats = []
    known = {split: {speaker for speaker in names if speaker} for split, names in speakers.items()}
    for one, other in combinations(known, 2):
        if common := known[one] & known[other]:
            caveats.append(f"{len(common):,} speakers are in both {one} and {other}, such as {min(common)!r}.")
    counts: dict[Any, int] = defaultdict(int)
    for names in labels.values():
        for label in names:
            counts[label] += 1
    if single := [label for label, count in counts.items() if count == 1 and label is not None]:
        caveats.append(
            f"{len(single):,} classes have a single recording, such as {single[0]!r}: they cannot be both learned and "
            "tested."
        )
    return caveats


def _caveat(unknown: int, total: int, by_speaker: bool) -> str | None:
    """What a choice cannot promise about speakers."""
    if by_speaker:
        return (
            f"The speakers of {unknown:,} of {total:,} utterances are not known: these stay in train."
            if unknown
            else None
        )
    which = "The speakers" if unknown == total else f"The speakers of {unknown:,} of {total:,} utterances"
    return (
        f"{which} are not known, so a speaker may stand in two splits: say who speaks, by speaker_column or "
        "speaker_pattern."
    )


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
    labels: Sequence[Any], speakers: Sequence[str | None], fraction: float, rng: np.random.Generator
) -> set[int]:
    """Indices of all utterances of some speakers: no class lost to the rest, and about the share wanted."""
    by_speaker: dict[str, list[int]] = defaultdict(list)
    for index, speaker in enumerate(speakers):
        if speaker:
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
