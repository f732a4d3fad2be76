"""Splits corpora without official splits: by speaker if known, otherwise by class, reproducibly by seed.

With a random split of the clips of few speakers, a model would be tested on voices that it was trained on. Each known
speaker is therefore in one split only, and a caveat reports unknown speakers.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from hf_speech.common.text import counted, plural
from hf_speech.data.corpora.utterance import Utterance
from hf_speech.errors import CorpusError

_TRIALS = 100  # number of random orders of the speakers to try
# Minimum share of utterances with a known speaker to split by speaker; all others stay in training.
_KNOWN_SHARE = 0.5


def complete_splits(
    splits: dict[str, list[Utterance]],
    validation_fraction: float,
    test_fraction: float,
    seed: int,
    caveats: list[str] | None = None,
    *,
    by_speaker: bool = True,
) -> dict[str, list[Utterance]]:
    """Takes missing splits out of the training split.

    Args:
        splits: The utterances of train, validation and test; the last two may be empty.
        validation_fraction: Share of the training utterances to validate on, after the test split is taken out.
        test_fraction: Share of the training utterances to test on.
        seed: Seed of the random choice.
        caveats: A list to which caveats about the splits are appended, one sentence each.
        by_speaker: Whether to keep each known speaker in one split.
    """
    train, validation, test = (splits[split] for split in ("train", "validation", "test"))
    if not test:
        train, test = hold_out(train, test_fraction, seed, caveats, by_speaker=by_speaker)
    if not validation:
        train, validation = hold_out(train, validation_fraction, seed, caveats, by_speaker=by_speaker)
    return {"train": train, "validation": validation, "test": test}


def hold_out(
    utterances: list[Utterance],
    fraction: float,
    seed: int,
    caveats: list[str] | None = None,
    *,
    by_speaker: bool = True,
) -> tuple[list[Utterance], list[Utterance]]:
    """Divides utterances into the rest and the part that `choose` selects, without speakers if not `by_speaker`."""
    speakers = [utterance.speaker if by_speaker else None for utterance in utterances]
    taken = choose([utterance.label for utterance in utterances], speakers, fraction, seed, caveats)
    rest = [utterance for index, utterance in enumerate(utterances) if index not in taken]
    return rest, [utterances[index] for index in sorted(taken)]


def choose(
    labels: Sequence[Any], speakers: Sequence[str | None], fraction: float, seed: int, caveats: list[str] | None = None
) -> set[int]:
    """Chooses utterances to take out: whole speakers if speakers are known, otherwise a share of each class.

    Utterances of unknown speakers stay in training, since any of them might belong to a test speaker.

    Args:
        labels: The class of each utterance, None if there are no classes. The result depends on their order, so sort
            them first rather than rely on the file system.
        speakers: The speaker of each utterance, None if unknown.
        fraction: Share of the utterances to take out, from 0 to below 1.
        seed: Seed of the random choice.
        caveats: A list to which caveats about the choice are appended, one sentence each.

    Returns:
        Indices of the utterances to take out.

    Raises:
        CorpusError: If the fraction is out of range, or there are too few speakers or utterances.
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
            f"{counted(len(labels), 'utterance is', 'utterances are')} too few to take out a split of {fraction:.0%}: "
            "give more, or change the fraction."
        )
    return taken


def describe_splits(labels: Mapping[str, Sequence[Any]], speakers: Mapping[str, Sequence[str | None]]) -> list[str]:
    """Returns caveats for metrics on these splits: speakers in two splits, classes with a single recording.

    Args:
        labels: The class of each utterance by split, None if there are no classes.
        speakers: The speaker of each utterance by split, None if unknown.
    """
    caveats = []
    known = {split: {speaker for speaker in names if speaker} for split, names in speakers.items()}
    for first, second in combinations(known, 2):
        if common := known[first] & known[second]:
            subject = counted(len(common), "speaker is", "speakers are")
            caveats.append(f"{subject} in both {first} and {second}, such as {min(common)!r}.")
    counts: dict[Any, int] = defaultdict(int)
    for names in labels.values():
        for label in names:
            counts[label] += 1
    if single := [label for label, count in counts.items() if count == 1 and label is not None]:
        caveats.append(
            f"{counted(len(single), 'class has', 'classes have')} a single recording, such as {single[0]!r}: it cannot "
            "be both trained on and tested."
        )
    return caveats


def _caveat(unknown: int, total: int, by_speaker: bool) -> str | None:
    """Returns a caveat if some speakers are unknown, else None."""
    if by_speaker:
        if not unknown:
            return None
        verbs = plural(unknown, "has no known speaker and stays", "have no known speaker and stay")
        return f"{unknown:,} of {total:,} utterances {verbs} in train."
    subject = "The speakers" if unknown == total else f"The speakers of {unknown:,} of {total:,} utterances"
    return f"{subject} are unknown, so a speaker may be in two splits: set speaker_column or speaker_pattern."


def _choose_per_class(labels: Sequence[Any], fraction: float, rng: np.random.Generator) -> set[int]:
    """Returns the indices of a share of each class, at least one for a class with three or more utterances."""
    classes: dict[Any, list[int]] = defaultdict(list)
    for index, label in enumerate(labels):
        classes[label].append(index)
    taken: set[int] = set()
    for indices in classes.values():
        count = round(len(indices) * fraction) or int(len(indices) >= 3)
        taken.update(int(index) for index in rng.permutation(indices)[:count])
    return taken


def _choose_speakers(
    labels: Sequence[Any], speakers: Sequence[str | None], fraction: float, rng: np.random.Generator
) -> set[int]:
    """Chooses whole speakers with about `fraction` of the utterances, keeping every class in the rest."""
    by_speaker: dict[str, list[int]] = defaultdict(list)
    for index, speaker in enumerate(speakers):
        if speaker:
            by_speaker[speaker].append(index)
    if len(by_speaker) < 2:
        raise CorpusError(
            "A single speaker cannot be split by speaker: give the splits, or remove the speakers to split the "
            "utterances at random."
        )
    best: tuple[float, set[int]] = (math.inf, set())
    for _ in range(_TRIALS):
        taken: set[int] = set()
        for speaker in rng.permutation(list(by_speaker))[:-1]:
            indices = by_speaker[str(speaker)]
            # Stop if another speaker would increase the distance to the fraction.
            if taken and len(taken) + len(indices) / 2 > fraction * len(labels):
                break
            taken.update(indices)
        lost_classes = set(labels) - {label for index, label in enumerate(labels) if index not in taken}
        cost = len(lost_classes) + abs(len(taken) / len(labels) - fraction)
        best = min(best, (cost, taken), key=lambda pair: pair[0])
    return best[1]
