"""The voices of eSpeak NG, assigned so that splits share no timbre, and synthesized in a separate process.

A speaker is a combination of accent, timbre ("variant"), pitch and pace. Whispers, robots, echoes and demons are
excluded. Of variants that sound alike (mean MFCC vectors less than about 16 apart, with 20 to 60 between the others),
only one is used, so that the voices of the test split are really new.
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

from hf_speech.data.voices.base import Job, Speaker, distribute, draw_pace
from hf_speech.errors import CorpusError

# eSpeak NG 1.52 cannot select "en-gb" by name, but it can select received pronunciation.
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
# Two of three speakers have one of the 42 male timbres, and one has one of the 12 female timbres.
_KINDS = (MALE_TIMBRES, MALE_TIMBRES, FEMALE_TIMBRES)

PITCH_RANGE = (30, 75)  # out of 0 to 99, with 50 as the default


class Espeak:
    """eSpeak NG. Its sources are names of accents or languages."""

    name = "espeak"
    title = "eSpeak NG"
    shard_size = 10_000  # It synthesizes hundreds of times faster than real time.

    def files(self, source: str) -> list[Path]:
        """Returns an empty list, since the voices are part of the package."""
        return []

    def cast(
        self, sources: Mapping[str, Sequence[str]], counts: Mapping[str, int], rng: np.random.Generator
    ) -> dict[str, Iterator[Speaker]]:
        """Returns the speakers of each split, which share no timbre with other splits."""
        kinds = (MALE_TIMBRES, FEMALE_TIMBRES)
        shares = {kind: distribute([str(name) for name in rng.permutation(kind)], counts) for kind in kinds}
        return {
            split: _speakers({kind: share[split] for kind, share in shares.items()}, sources[split], rng)
            for split in counts
        }

    def speak(self, jobs: Sequence[Job]) -> Iterator[tuple[np.ndarray, int]]:
        """Synthesizes the jobs in a new process, so that the same jobs give the same bytes."""
        if importlib.util.find_spec("espeakng_loader") is None:
            raise CorpusError(
                "The synthetic corpus needs eSpeak NG, which is not installed: pip install 'hf_speech[synthetic]'."
            )
        worker = Path(__file__).with_name("espeak_worker.py")
        with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as errors:
            jobs_file = Path(folder) / "jobs.json"
            content = [(text, speaker.voice, speaker.pitch, speaker.pace) for text, speaker in jobs]
            jobs_file.write_text(json.dumps(content), encoding="utf-8")
            # -P keeps the worker's folder off the module path, where it could shadow a standard module.
            command = [sys.executable, "-P", str(worker), str(jobs_file)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors) as process:
                count = 0
                for samples, rate in _read_utterances(process.stdout):
                    yield samples / 32768, rate
                    count += 1
                status = process.wait()
            if status != 0 or count < len(jobs):
                errors.seek(0)
                reason = errors.read().decode(errors="replace").strip().rpartition("\n")[2]
                raise CorpusError(f"eSpeak NG stopped after {count} of {len(jobs)} utterances: {reason or status}.")


def _speakers(
    timbres: Mapping[tuple[str, ...], list[str]], accents: Sequence[str], rng: np.random.Generator
) -> Iterator[Speaker]:
    """Yields an endless sequence of different speakers."""
    speakers: set[Speaker] = set()
    queues = {kind: itertools.cycle(names) for kind, names in timbres.items()}
    while True:
        timbre = next(queues[_KINDS[len(speakers) % len(_KINDS)]])
        pitch = int(rng.integers(*PITCH_RANGE, endpoint=True))
        pace = draw_pace(rng)
        speaker = Speaker(f"{rng.choice(accents)}+{timbre}", pitch, pace)
        if speaker not in speakers:
            speakers.add(speaker)
            yield speaker


def _read_utterances(stream: Any) -> Iterator[tuple[np.ndarray, int]]:
    """Yields int16 samples `(samples,)` and their rate in Hz for each utterance in the output of `espeak_worker`."""
    header = stream.read(4)
    while len(count := stream.read(4)) == 4:
        samples = np.frombuffer(stream.read(2 * struct.unpack("<I", count)[0]), dtype="<i2")
        yield samples, struct.unpack("<I", header)[0]
