"""Synthesizes the examples of the Spaces: `python spaces/make_examples.py` (needs the extra `synthetic`).

The voices are those of eSpeak NG, with the background noise of the synthetic corpus, so no recording of a person is
published. With `--kokoro FOLDER`, the English sentences are also synthesized, with Kokoro voices from that folder.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import soundfile

from hf_speech.data.audio import resample
from hf_speech.data.corpora.synthetic import SAMPLING_RATE, record
from hf_speech.data.voices import ENGINES, Speaker
from hf_speech.data.voices.base import NORMAL_PACE

HERE = Path(__file__).resolve().parent
# File: text, voice, words per minute.
EXAMPLES = {
    "transcribe/examples/five one two eight six three.flac": ("five one two eight six three", "en-us+max", 135),
    "transcribe/examples/enter four five eight two one.flac": ("enter four five eight two one", "en-us+quincy", 135),
    "transcribe/examples/pittsburgh spelled.flac": ("p i t t s b u r g h", "en-us+f2", 135),
    "classify/examples/seven.flac": ("seven", "en-us+Michael", 150),
    "classify/examples/two.flac": ("two", "en-us+f2", 150),
    "classify/examples/zero.flac": ("zero", "en-us+m1", 150),
}
# Kokoro voice: text.
SENTENCES = {
    "af_heart": "she opened the door and looked out into the garden",
    "am_michael": "the old man walked slowly down the road to the village",
    "bf_emma": "we went to the river in the morning and came home at night",
}


def main() -> None:
    """Writes the examples of all Spaces; the output is deterministic."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kokoro", help="Folder with the voices of Kokoro.")
    kokoro = parser.parse_args().kokoro
    rng = np.random.default_rng(0)
    jobs = [(text, Speaker(voice, 50, pace)) for text, voice, pace in EXAMPLES.values()]
    for file, (samples, rate) in zip(EXAMPLES, ENGINES["espeak"].speak(jobs), strict=True):
        _write(file, record(resample(samples, rate, SAMPLING_RATE), rng))
    if kokoro is None:
        return
    jobs = [(text, Speaker(voice, 50, NORMAL_PACE, "kokoro", kokoro)) for voice, text in SENTENCES.items()]
    for (text, _), (samples, rate) in zip(jobs, ENGINES["kokoro"].speak(jobs), strict=True):
        _write(f"transcribe/sentences/{text}.flac", resample(samples, rate, SAMPLING_RATE))


def _write(file: str, recording: np.ndarray) -> None:
    path = HERE / file
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, recording, SAMPLING_RATE, format="FLAC", subtype="PCM_16")
    print(f"{file} ({len(recording) / SAMPLING_RATE:.1f} s, {path.stat().st_size / 1000:.0f} kB)")


if __name__ == "__main__":
    main()
