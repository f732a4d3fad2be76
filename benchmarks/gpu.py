"""How many hours of speech does a GPU train on in a minute, and in which share of the time does it compute?

A step is forward, loss, backward and the optimizer's update, of the fast recognizer and of the one of
recipes/english_pieces.yaml, in bfloat16, on batches of more and more seconds. The recurrence is ours, a dense call of
cuDNN for each direction, or torch's own on packed sequences; the last line says which one is faster. The smaller the
share of the time in kernels, the more would a larger batch help.

    python benchmarks/gpu.py [--batch_seconds 64 256 1024 4096] [--rounds 10]

Without a GPU it runs on the CPU, in float32, which only shows that it works.
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
    """A model's training step.

    Attributes:
        model: Key of `MODELS`.
        recurrence: `OURS` or `PACKED`.
        sound: Seconds of speech in the batch, without padding.
        seconds: Seconds of a step.
        kernels: Share of them in which a kernel ran; None on a CPU.
    """

    model: str
    recurrence: str
    sound: float
    seconds: float
    kernels: float | None = None

    @property
    def hours_a_minute(self) -> float:
        """Hours of speech trained on in a minute."""
        return self.sound / 3600 / (self.seconds / 60)


def measure(batch_seconds: list[float], clip_seconds: float, rounds: int, device: torch.device) -> list[Measurement]:
    """Steps of all models with both recurrences, which take turns, on batches of these lengths."""
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
    """The measurements, and how much faster one recurrence is than the other, as Markdown."""
    lines = [
        "| recognizer | recurrence | s of speech a batch | ms a step | hours of speech a minute | time in kernels |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for one in measured:
        kernels = "-" if one.kernels is None else f"{100 * one.kernels:.0f} %"
        cells = (f"{one.sound:.0f}", f"{1000 * one.seconds:.1f}", f"{one.hours_a_minute:.2f}", kernels)
        lines.append(f"| {one.model} | {one.recurrence} | {' | '.join(cells)} |")
    seconds = {(one.model, one.sound, one.recurrence): one.seconds for one in measured}
    ratios = [seconds[model, sound, PACKED] / took for (model, sound, name), took in seconds.items() if name == OURS]
    faster = OURS if min(ratios) >= 1 else PACKED if max(ratios) <= 1 else "neither everywhere"
    return "\n".join([*lines, "", f"packed / dense: {min(ratios):.2f} to {max(ratios):.2f}. Faster: {faster}."])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch_seconds", type=float, nargs="+", default=[64, 256, 1024, 4096])
    parser.add_argument("--clip_seconds", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu":
        print("There is no GPU here: this runs on the CPU.", file=sys.stderr)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    print(f"torch {torch.__version__}, {name}, medians of {options.rounds} rounds.\n")
    print(table(measure(options.batch_seconds, options.clip_seconds, options.rounds, device)))


if __name__ == "__main__":
    main()
