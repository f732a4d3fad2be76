"""Measures the speed of exported models: PyTorch and onnxruntime (float32 and int8) with the models in pretrained/.

All process the same noise from waveform to logits, in turn, on one thread. Noise takes as long as speech. Prints the
median speed as a multiple of real time, and the size of each file.

    python benchmarks/exported.py [--seconds 10] [--rounds 9] [MODEL ...]
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import onnxruntime
import torch

from hf_speech.export.exporting import export_model
from hf_speech.inference import load_model
from hf_speech.inference.onnx import ExportedModel

PRETRAINED = Path(__file__).resolve().parent.parent / "pretrained"
MODELS = [str(PRETRAINED / name) for name in ("an4", "an4-streaming", "fsdd-digits")]


def candidates(model: str, folder: Path) -> tuple[dict[str, Callable[[np.ndarray], object]], dict[str, float], int]:
    """Returns the functions that run a model, their sizes in megabytes, and the sampling rate."""
    loaded = load_model(model, device="cpu")

    def pytorch(samples: np.ndarray) -> object:
        features = loaded.feature_extractor(samples, sampling_rate=loaded.sampling_rate, return_tensors="pt")
        return loaded.model(**features).logits

    ways: dict[str, Callable[[np.ndarray], object]] = {"PyTorch": pytorch}
    sizes = {"PyTorch": 4e-6 * loaded.model.num_parameters()}
    for file in export_model(loaded, folder):
        if file.path.name.startswith("model"):
            exported = ExportedModel(file.path)
            ways[f"ONNX {file.precision}"] = lambda samples, exported=exported: exported([samples])
            sizes[f"ONNX {file.precision}"] = file.size / 1e6
    return ways, sizes, loaded.sampling_rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=MODELS, metavar="MODEL")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    rows = []
    with torch.inference_mode(), tempfile.TemporaryDirectory() as folder:
        for model in options.models:
            ways, sizes, rate = candidates(model, Path(folder, Path(model).name))
            samples = (0.1 * np.random.default_rng(0).standard_normal(round(options.seconds * rate))).astype("f")
            times: dict[str, list[float]] = {way: [] for way in ways}
            for _ in range(options.rounds + 2):
                for way, run in ways.items():
                    start = time.perf_counter()
                    run(samples)
                    times[way].append(time.perf_counter() - start)
            speeds = {way: options.seconds / statistics.median(seconds[2:]) for way, seconds in times.items()}
            for way, speed in speeds.items():
                ratio = f"{speed / speeds['PyTorch']:.2f}"
                rows.append(f"| {Path(model).name} | {way} | {sizes[way]:.1f} | {speed:,.0f} | {ratio} |")
    print(f"torch {torch.__version__}, onnxruntime {onnxruntime.__version__}, {platform.machine()}, ", end="")
    print(f"{os.environ['OMP_NUM_THREADS']} thread(s), {options.seconds:g} s of audio, {options.rounds} rounds.\n")
    print("| model | back end | MB | times real time | times PyTorch |\n|---|---|--:|--:|--:|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
