"""Measures how much speech a GPU trains on per minute, and how busy it is.

Times a training step (forward pass, loss, backward pass and optimizer update, in bfloat16) of the fast recognizer and
of that of recipes/english_pieces.yaml, for growing batches. The recurrence is either ours, with a dense cuDNN call for
each direction, or that of torch on packed sequences; the last line says which one is faster. The smaller the share of
the time in kernels, the more a larger batch helps.

    python benchmarks/gpu.py [--batch_seconds 64 256 1024 4096] [--rounds 10]

Without a GPU, the benchmark runs on the CPU in float32, which only shows that it works.
"""

from __future__ import annotations

import argparse
import sys
from typing import NamedTuple

import torch
import training

MODELS = {
    "fast": training.FRONT_ENDS[training.FAST],
    "English": {"stem_channels": 32, "intermediate_ctc_weight": 0.3},
}
OURS, PACKED = "dense", "packed"


class Measurement(NamedTuple):
    """The timing of a training step.

    Attributes:
        model: Key of `MODELS`.
        recurrence: `OURS` or `PACKED`.
        sound: Seconds of speech in the batch, without padding.
        seconds: Duration of a step in seconds.
        kernels: Share of the step in which a kernel ran; None on a CPU.
    """

    model: str
    recurrence: str
    sound: float
    seconds: float
    kernels: float | None = None

    @property
    def hours_per_minute(self) -> float:
        """Hours of speech processed per minute of training."""
        return self.sound / 3600 / (self.seconds / 60)


def measure(batch_seconds: list[float], clip_seconds: float, rounds: int, device: torch.device) -> list[Measurement]:
    """Times a step of all models with both recurrences, in turn, for batches of these lengths."""
    measured = []
    for length in batch_seconds:
        batch = training.batch_of(max(round(length / clip_seconds), 1), clip_seconds, device)
        sound = float(batch["attention_mask"].sum()) / training.FRAMES_PER_SECOND
        for model, arguments in MODELS.items():
            steps = {}
            for recurrence in (OURS, PACKED):
                recognizer = training.recognizer(**arguments)
                if recurrence == PACKED:
                    training.with_packed_sequences(recognizer)
                steps[recurrence] = training.step_of(recognizer.to(device), batch, device.type == "cuda")
            for recurrence, seconds in training.medians(steps, rounds).items():
                share = training.kernel_share(steps[recurrence], seconds) if device.type == "cuda" else None
                measured.append(Measurement(model, recurrence, sound, seconds, share))
    return measured


def table(measured: list[Measurement]) -> str:
    """Returns the measurements as a Markdown table, and how much faster one recurrence is than the other."""
    lines = [
        "| recognizer | recurrence | s of speech per batch | ms per step | hours per minute | time in kernels |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for step in measured:
        kernels = "-" if step.kernels is None else f"{100 * step.kernels:.0f}%"
        cells = (f"{step.sound:.0f}", f"{1000 * step.seconds:.1f}", f"{step.hours_per_minute:.2f}", kernels)
        lines.append(f"| {step.model} | {step.recurrence} | {' | '.join(cells)} |")
    seconds = {(step.model, step.sound, step.recurrence): step.seconds for step in measured}
    ratios = [seconds[model, sound, PACKED] / took for (model, sound, name), took in seconds.items() if name == OURS]
    faster = OURS if min(ratios) >= 1 else PACKED if max(ratios) <= 1 else "depends on the batch"
    return "\n".join([*lines, "", f"packed / dense: {min(ratios):.2f} to {max(ratios):.2f}. Faster: {faster}."])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch_seconds", type=float, nargs="+", default=[64, 256, 1024, 4096])
    parser.add_argument("--clip_seconds", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu":
        print("No GPU was found: running on the CPU.", file=sys.stderr)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    print(f"torch {torch.__version__}, {name}, medians of {options.rounds} rounds.\n")
    print(table(measure(options.batch_seconds, options.clip_seconds, options.rounds, device)))


if __name__ == "__main__":
    main()
