"""The voices of the synthetic corpus: eSpeak NG's accents and timbres, assigned so that splits share no timbre.

A speaker is an accent, a timbre ("variant"), a pitch and a pace. Whispers, robots, echoes and demons are left out, and
of variants that sound alike (mean MFCC vectors less than about 16 apart, with 20 to 60 between the others) one is kept:
a voice in the test split is then one that nobody in training has.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

# "en-gb" itself cannot be chosen by name in eSpeak NG 1.52; received pronunciation can.
ENGLISH_ACCENTS = (
    *("en-us", "en", "en-gb-x-rp", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029", "en-us-nyc"),
)
MALE_TIMBRES = (
    *("m1", "m2", "m4", "m5", "m6", "m7", "m8", "adam", "benjamin", "edward", "klatt4", "david", "Gene", "Mario"),
    *("Michael", "Jacky", "Marco", "antonio", "Andy", "AnxiousAndy", "Lee", "Denis", "Diogo", "Storm", "Tweaky"),
    *("boris", "croak", "ed", "ian", "iven", "marcelo", "norbert", "pablo", "paul", "pedro", "quincy", "rob"),
    *("sandro", "travis", "victor", "grandpa", "max"),
)
FEMALE_TIMBRES = (
    *("Andrea", "Annie", "anika", "aunty", "belinda", "linda", "f1", "f2", "f3", "f5", "grandma", "steph"),
)
# Of three speakers two have one of the 42 male timbres, one has one of the 12 female ones.
_KINDS = (MALE_TIMBRES, MALE_TIMBRES, FEMALE_TIMBRES)

PITCH_RANGE = (30, 75)  # of 0 to 99, the middle being 50
PACE_RANGE = (130, 210)  # words per minute


@dataclass(frozen=True)
class Speaker:
    """A synthetic speaker.

    Attributes:
        voice: eSpeak NG's name of accent and timbre, such as "en-us+f3".
        pitch: 0 to 99.
        pace: Words per minute.
    """

    voice: str
    pitch: int
    pace: int

    @property
    def name(self) -> str:
        """A name that says how the speaker is made."""
        return f"{self.voice}_pitch{self.pitch}_pace{self.pace}"


def cast_speakers(counts: dict[str, int], accents: list[str], rng: np.random.Generator) -> dict[str, list[Speaker]]:
    """Choose speakers for each split; no timbre is in two of them."""
    shares = {
        timbres: dict(zip(counts, _deal(rng.permutation(timbres), list(counts.values())), strict=True))
        for timbres in (MALE_TIMBRES, FEMALE_TIMBRES)
    }
    cast: dict[str, list[Speaker]] = {}
    for split, count in counts.items():
        speakers: dict[Speaker, None] = {}  # a set that keeps its order
        queues = {timbres: itertools.cycle(share[split]) for timbres, share in shares.items()}
        while len(speakers) < count:
            timbre = next(queues[_KINDS[len(speakers) % len(_KINDS)]])
            pitch = int(rng.integers(*PITCH_RANGE, endpoint=True))
            pace = int(rng.integers(*PACE_RANGE, endpoint=True))
            speakers[Speaker(f"{rng.choice(accents)}+{timbre}", pitch, pace)] = None
        cast[split] = list(speakers)
    return cast


def _deal(names: np.ndarray, weights: list[int]) -> list[list[str]]:
    """Deal names into shares of about the given proportions, none empty."""
    spare = len(names) - len(weights)
    bounds = np.floor(np.cumsum([0, *weights]) / sum(weights) * spare).astype(int) + np.arange(len(weights) + 1)
    return [[str(name) for name in names[low:high]] for low, high in itertools.pairwise(bounds)]
