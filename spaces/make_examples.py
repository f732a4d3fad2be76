"""Synthesize the examples of the Spaces: `python spaces/make_examples.py` (needs the extra `synthetic`).

The voices are eSpeak NG's, with the background noise of the synthetic corpus, so no person's recording is published.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import soundfile

from hf_speech.data.audio import resample
from hf_speech.data.corpora.synthetic import SAMPLING_RATE, record, synthesize

HERE = Path(__file__).resolve().parent
# File: text, voice, pitch, words per minute.
EXAMPLES = {
    "transcribe/examples/five one two eight six three.flac": ("five one two eight six three", "en-us+max", 50, 135),
    "transcribe/examples/enter four five eight two one.flac": (
        "enter four five eight two one",
        "en-us+quincy",
        50,
        135,
    ),
    "transcribe/examples/pittsburgh spelled.flac": ("p i t t s b u r g h", "en-us+f2", 50, 135),
    "classify/examples/seven.flac": ("seven", "en-us+Michael", 50, 150),
    "classify/examples/two.flac": ("two", "en-us+f2", 50, 150),
    "classify/examples/zero.flac": ("zero", "en-us+m1", 50, 150),
}


def main() -> None:
    """Write the files next to the Spaces, the same bytes every time."""
    rng = np.random.default_rng(0)
    for (file, job), (samples, rate) in zip(EXAMPLES.items(), synthesize(list(EXAMPLES.values())), strict=True):
        recording = record(resample(samples / 32768, rate, SAMPLING_RATE), rng)
        path = HERE / file
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, recording, SAMPLING_RATE, format="FLAC", subtype="PCM_16")
        print(f"{file}: {job[0]} ({len(recording) / SAMPLING_RATE:.1f} s, {path.stat().st_size / 1000:.0f} kB)")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()  # --help writes nothing.
    main()
