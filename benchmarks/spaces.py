"""Measures how long a Space takes to start and to respond, compared with importing its libraries.

The Spaces are started in turn, each in a new process with a model in pretrained/; startup ends when the Space accepts
requests. Then gradio_client uploads 5 s of audio eleven times. Prints medians over the rounds of wall time and CPU
time, which hardly depends on other load.

    python benchmarks/spaces.py [--rounds 3]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import gradio_client
import numpy as np
import psutil
import soundfile

from hf_speech.demo import spaces_dir, start_space

REPOSITORY = Path(__file__).resolve().parents[1]
SPACES = {"transcribe": ("an4", False), "classify": ("fsdd-digits", 5)}
IMPORTS = "import gradio, torch, transformers"
SECONDS, REPEATS = 5, 10

Times = dict[str, tuple[float, float]]


class Watch:
    """Measures the wall time and CPU time of a process."""

    def __init__(self, process: psutil.Process) -> None:
        self._process, self._clock = process, time.perf_counter()
        self._processors = self._spent()

    def read(self) -> tuple[float, float]:
        """Returns the wall time and CPU time in seconds since the start."""
        return time.perf_counter() - self._clock, self._spent() - self._processors

    def _spent(self) -> float:
        times = self._process.cpu_times()
        return times.user + times.system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    found: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            found.setdefault(IMPORTS, []).append(import_libraries())
            for space in SPACES:
                for what, times in measure(space, Path(folder)).items():
                    found.setdefault(f"{space}: {what}", []).append(times)
    print(f"Medians of {rounds} rounds, in seconds, for {SECONDS} s of audio.\n")
    print("| | wall time | CPU time |\n|---|--:|--:|")
    for what, times in found.items():
        clock, processors = (statistics.median(column) for column in zip(*times, strict=True))
        print(f"| {what} | {clock:.2f} | {processors:.2f} |")


def import_libraries() -> tuple[float, float]:
    """Returns the wall time and CPU time of importing the libraries of a Space."""
    before, begin = psutil.Process().cpu_times(), time.perf_counter()
    subprocess.run([sys.executable, "-c", IMPORTS], check=True)
    clock, after = time.perf_counter() - begin, psutil.Process().cpu_times()
    return clock, sum(after[2:4]) - sum(before[2:4])  # of children: user, system


def measure(space: str, folder: Path) -> Times:
    """Starts a Space and times its startup and responses."""
    model, option = SPACES[space]
    model_folder = REPOSITORY / "pretrained" / model
    variables = {**os.environ, "MODEL_ID": str(model_folder), "HF_HUB_OFFLINE": "1"}
    running = start_space(spaces_dir() / space / "app.py", folder / f"{space}.log", environment=variables)
    process, url, times = psutil.Process(running.process.pid), running.url, {}
    watch = Watch(process)
    try:
        running.wait()
        times["startup"] = watch.read()
        client = gradio_client.Client(url, verbose=False, analytics_enabled=False)
        sound = five_seconds(space, folder)

        def ask() -> tuple[float, float]:
            watch = Watch(process)
            client.predict(gradio_client.handle_file(str(sound)), option, api_name=f"/{space}")
            return watch.read()

        times["first response"] = ask()
        answers = [ask() for _ in range(REPEATS)]
        times["later responses"] = tuple(statistics.median(column) for column in zip(*answers, strict=True))
        return times
    finally:
        running.stop()


def five_seconds(space: str, folder: Path) -> Path:
    """Writes the concatenated examples of a Space, cut to five seconds."""
    sounds = [soundfile.read(path) for path in sorted((REPOSITORY / "spaces" / space / "examples").iterdir())]
    rate = sounds[0][1]
    samples = np.resize(np.concatenate([samples for samples, _ in sounds]), SECONDS * rate)
    soundfile.write(folder / f"{space}.wav", samples, rate)
    return folder / f"{space}.wav"


if __name__ == "__main__":
    main()
