"""Cases with every kind of defect, to check that a campaign finds it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np

from fuzz.campaign import WARM_UP
from hf_speech.errors import AudioError, CorpusError

HELD: list[np.ndarray] = []


def misses() -> None:
    raise KeyError("nothing there")


def allocates() -> None:
    HELD.append(np.ones(1 << 30, dtype=np.uint8))


def swallows() -> None:
    try:
        allocates()
    except MemoryError as error:
        raise AudioError("This is damaged: get it again.") from error


def computes() -> None:
    started = time.process_time()
    while time.process_time() < started + 0.5:
        pass


def prints() -> None:
    os.write(2, b"Traceback (most recent call last):")


def stammers() -> None:
    raise AudioError("first line\nsecond line")


def strays() -> None:
    raise CorpusError("This is not what was declared.")


def refuses() -> None:
    raise AudioError("This cannot be read: record it again.")


def works() -> None:
    pass


def dies() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def sleeps() -> None:
    time.sleep(600)


def spins() -> None:
    while True:
        pass


class Broken:
    """Cases with a random defect each, except those of the warm-up."""

    declared = AudioError
    defects: tuple[Callable[[], None], ...] = (
        *(misses, allocates, swallows, computes, prints, stammers, strays),
        *(refuses, works),
    )

    def __init__(self, folder: Path) -> None:
        self.warm_up = WARM_UP

    def run(self, rng: Random) -> None:
        """Runs a case."""
        self.warm_up -= 1
        if self.warm_up < 0:
            rng.choice(self.defects)()


class Deadly(Broken):
    """Defects that only another process can detect."""

    defects = (dies, sleeps, spins, works)
