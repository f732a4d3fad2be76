"""eSpeak NG: accents and timbres, assigned so that splits share no timbre; spoken in a process of its own.

A speaker is an accent, a timbre ("variant"), a pitch and a pace. Whispers, robots, echoes and demons are left out, and
of variants that sound alike (mean MFCC vectors less than about 16 apart, with 20 to 60 between the others) one is kept:
a voice in the test split is then one that nobody in training has.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hf_speech.data.voices.base import Job, Speaker, deal, draw_pace
from hf_speech.errors import CorpusError

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


class Espeak:
    """eSpeak NG; its sources are names of accents or languages."""

    name = "espeak"
    title = "eSpeak NG"
    shard_size = 10_000  # It speaks hundreds of times faster than real time.

    def files(self, source: str) -> list[Path]:
        """None: the voices come with the package."""
        return []

    def cast(
        self, sources: Mapping[str, Sequence[str]], counts: Mapping[str, int], rng: np.random.Generator
    ) -> dict[str, Iterator[Speaker]]:
        """Speakers of each split; no timbre is in two of them."""
        kinds = (MALE_TIMBRES, FEMALE_TIMBRES)
        shares = {kind: deal([str(name) for name in rng.permutation(kind)], counts) for kind in kinds}
        return {
            split: _speakers({kind: share[split] for kind, share in shares.items()}, sources[split], rng)
            for split in counts
        }

    def speak(self, jobs: Sequence[Job]) -> Iterator[tuple[np.ndarray, int]]:
        """Speaks in a fresh process, so that equal jobs give equal bytes."""
        if importlib.util.find_spec("espeakng_loader") is None:
            raise CorpusError(
                "The synthetic corpus needs eSpeak NG, which is not installed: pip install 'hf_speech[synthetic]'."
            )
        worker = Path(__file__).with_name("espeak_worker.py")
        with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as complaints:
            jobs_file = Path(folder) / "jobs.json"
            content = [(text, speaker.voice, speaker.pitch, speaker.pace) for text, speaker in jobs]
            jobs_file.write_text(json.dumps(content), encoding="utf-8")
            # -P: the worker's own folder is not searched for modules, where one of ours could hide a standard one.
            command = [sys.executable, "-P", str(worker), str(jobs_file)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=complaints) as process:
                spoken = 0
                for samples, rate in _read_spoken(process.stdout):
                    yield samples / 32768, rate
                    spoken += 1
                status = process.wait()
            if status != 0 or spoken < len(jobs):
                complaints.seek(0)
                reason = complaints.read().decode(errors="replace").strip().rpartition("\n")[2]
                raise CorpusError(f"eSpeak NG stopped after {spoken} of {len(jobs)} utterances: {reason or status}.")


def _speakers(
    timbres: Mapping[tuple[str, ...], list[str]], accents: Sequence[str], rng: np.random.Generator
) -> Iterator[Speaker]:
    """Speakers without end, all different."""
    made: set[Speaker] = set()
    queues = {kind: itertools.cycle(names) for kind, names in timbres.items()}
    while True:
        timbre = next(queues[_KINDS[len(made) % len(_KINDS)]])
        pitch = int(rng.integers(*PITCH_RANGE, endpoint=True))
        pace = draw_pace(rng)
        speaker = Speaker(f"{rng.choice(accents)}+{timbre}", pitch, pace)
        if speaker not in made:
            made.add(speaker)
            yield speaker


def _read_spoken(stream: Any) -> Iterator[tuple[np.ndarray, int]]:
    """Take apart what `espeak_worker` writes: int16 samples `(samples,)` and their rate in Hz, one utterance a time."""
    header = stream.read(4)
    while len(count := stream.read(4)) == 4:
        samples = np.frombuffer(stream.read(2 * struct.unpack("<I", count)[0]), dtype="<i2")
        yield samples, struct.unpack("<I", header)[0]
