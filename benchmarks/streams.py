"""Measures the cost of streams by the length of their pieces, with PyTorch and onnxruntime, alone and in batches.

The models are pretrained/an4-streaming, and an untrained causal model of the size of that of recipes/english.yaml. All
run in turn, in one process on one thread. Prints the CPU time from samples to logits and text as a share of real time
per stream, the median over windows of 40 ms. Then 100 streams send pieces of 40 ms at staggered times; prints how long
the results would take on an otherwise idle core.

    python benchmarks/streams.py [--seconds 2] [--rounds 5] [--live_seconds 5]
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import onnxruntime
import torch

from hf_speech.export.exporting import export_model
from hf_speech.inference import Stream, StreamBatch, load_model
from hf_speech.models import ConvGRUConfig, ConvGRUForCTC

PRETRAINED = Path(__file__).resolve().parent.parent / "pretrained"
RATE = 16_000
PIECES = (10, 40, 160, 1000)
WINDOW = 40
LIVE_STREAMS, LIVE_PIECE = 100, 0.04


def make_batches(folder: Path) -> dict[tuple[str, str], StreamBatch]:
    """Returns the batches that run each of the two models on each back end."""
    an4 = load_model(PRETRAINED / "an4-streaming", device="cpu")
    torch.manual_seed(0)
    config = ConvGRUConfig(
        stem_channels=32, hidden_size=256, bidirectional=False, causal=True, lookahead=12, vocab_size=29
    )
    ConvGRUForCTC(config).save_pretrained(folder / "english")
    for part in (an4.feature_extractor, an4.tokenizer):
        part.save_pretrained(folder / "english")
    batches = {}
    for name, loaded in (("an4-streaming", an4), ("English size", load_model(folder / "english", device="cpu"))):
        exported = folder / f"{name}-onnx"
        export_model(loaded, exported)
        batches[name, "PyTorch"] = StreamBatch(loaded)
        batches[name, "ONNX float32"] = StreamBatch(exported / "stream.onnx")
        batches[name, "ONNX int8"] = StreamBatch(exported / "stream_int8.onnx")
    return batches


def costs(batch: StreamBatch, sounds: np.ndarray, milliseconds: int) -> Iterator[float]:
    """Yields the CPU time of each window of audio, as a share of real time per stream."""
    streams = [batch.stream() for _ in sounds]
    size, window = RATE * milliseconds // 1000, max(milliseconds, WINDOW) / 1000
    used = processed = 0.0
    for start in range(0, sounds.shape[1], size):
        begun = time.process_time()
        for stream, samples in zip(streams, sounds, strict=True):
            stream.feed(samples[start : start + size])
        batch.advance(streams)
        assert all(isinstance(stream.text, str) for stream in streams)
        used += time.process_time() - begun
        processed += milliseconds / 1000
        if processed > window - 1e-6:
            yield used / processed / len(sounds)
            used = processed = 0.0


def live(batch: StreamBatch, together: bool, seconds: float) -> tuple[float, list[float]]:
    """Returns the share of a core that many streams use, and the seconds from each piece to its result.

    The clock counts CPU time and skips to the next piece when idle, which simulates an otherwise idle core.
    """
    rng = np.random.default_rng(0)
    size = round(LIVE_PIECE * RATE)
    sound = (0.1 * rng.standard_normal(RATE + size)).astype(np.float32)
    streams = [batch.stream() for _ in range(LIVE_STREAMS)]
    arrivals = sorted(
        (begin + number * LIVE_PIECE, index)
        for index, begin in enumerate(rng.uniform(0, LIVE_PIECE, LIVE_STREAMS))
        for number in range(round(seconds / LIVE_PIECE))
    )
    waits: list[float] = []
    clock = busy = 0.0
    while len(waits) < len(arrivals):
        clock = max(clock, arrivals[len(waits)][0])
        begun = time.process_time()
        fed: dict[Stream, float] = {}
        for arrived, index in arrivals[len(waits) : len(waits) + LIVE_STREAMS]:
            if arrived > clock or streams[index] in fed or (fed and not together):
                break
            start = int(rng.integers(RATE))
            streams[index].feed(sound[start : start + size])
            fed[streams[index]] = arrived
        batch.advance(list(fed))
        used = time.process_time() - begun
        clock, busy = clock + used, busy + used
        waits += [clock - arrived for arrived in fed.values()]
    return busy / clock, waits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--live_seconds", type=float, default=5.0)
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    sounds = (0.1 * np.random.default_rng(0).standard_normal((32, round(options.seconds * RATE)))).astype("f")
    print(f"torch {torch.__version__}, onnxruntime {onnxruntime.__version__}, {platform.machine()}, ", end="")
    print(f"{os.environ['OMP_NUM_THREADS']} thread(s), {options.rounds} rounds of {options.seconds:g} s.\n")
    with tempfile.TemporaryDirectory() as folder:
        batches = make_batches(Path(folder))
        shares: dict[tuple[str, str, int, int], list[float]] = {}
        for _ in range(options.rounds):
            for (model, way), batch in batches.items():
                for count in (1, len(sounds)):
                    for piece in PIECES:
                        shares.setdefault((model, way, count, piece), []).extend(costs(batch, sounds[:count], piece))
        heads = " | ".join(f"{piece} ms" for piece in PIECES)
        print("Share of real time per stream:\n")
        print(f"| model | back end | streams | {heads} | 40 ms / 1 s |\n|---|---|--:|{'--:|' * (len(PIECES) + 1)}")
        for model, way in batches:
            for count in (1, len(sounds)):
                row = [statistics.median(shares[model, way, count, piece]) for piece in PIECES]
                cells = " | ".join(f"{share:.4f}" for share in row)
                print(f"| {model} | {way} | {count} | {cells} | {row[1] / row[3]:.1f} |")
        print(f"\n{LIVE_STREAMS} streams at once, pieces of 40 ms, {options.live_seconds:g} s:\n")
        print(
            "| model, ONNX int8 | share of a core | latency, median | 95th percentile | most |\n|---|--:|--:|--:|--:|"
        )
        for model in dict.fromkeys(model for model, _ in batches):
            for together in (False, True):
                share, waits = live(batches[model, "ONNX int8"], together, options.live_seconds)
                median, p95 = statistics.median(waits), statistics.quantiles(waits, n=20)[-1]
                cells = " | ".join(f"{1000 * wait:.1f} ms" for wait in (median, p95, max(waits)))
                name = "one `StreamBatch`" if together else "one at a time"
                print(f"| {model}, {name} | {share:.0%} | {cells} |")


if __name__ == "__main__":
    main()
