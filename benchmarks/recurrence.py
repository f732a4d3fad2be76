"""Compares our bidirectional LSTM and GRU layers with `pack_padded_sequence` in a training step on the CPU.

Both run in one process, in turn, with the same weights on the same batches, whose clips differ in length by up to 10%,
as in batches grouped by length. Prints medians over the rounds, their ratio, and the largest difference between the
outputs.

    python benchmarks/recurrence.py [--rounds 15]
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

from hf_speech.models.recurrent import RecurrentLayer

CELLS: dict[str, type[nn.LSTM] | type[nn.GRU]] = {"lstm": nn.LSTM, "gru": nn.GRU}
# name: cell, batch, frames, features, units
SHAPES = {
    "digits": ("lstm", 64, 50, 40, 96),
    "commands": ("lstm", 32, 100, 80, 128),
    "sentences": ("lstm", 16, 400, 256, 256),
    "utterances": ("gru", 20, 100, 512, 256),
    "long sentences": ("gru", 16, 400, 256, 256),
}


def packed_twin(layer: RecurrentLayer, cell: str, features: int) -> nn.LSTM | nn.GRU:
    """Returns the bidirectional layer of torch with the weights of ours."""
    twin = CELLS[cell](features, layer.hidden_size, batch_first=True, bidirectional=True)
    with torch.no_grad():
        for suffix, rnn in (("", layer.forward_rnn), ("_reverse", layer.backward_rnn)):
            assert rnn is not None
            for name, parameter in rnn.named_parameters():
                getattr(twin, name + suffix).copy_(parameter)
    return twin


def seconds(step: Callable[[], torch.Tensor]) -> float:
    """Returns the seconds of a forward and backward pass."""
    start = time.perf_counter()
    step().square().mean().backward()
    return time.perf_counter() - start


def compare(cell: str, batch: int, frames: int, features: int, units: int, rounds: int) -> tuple[float, float, float]:
    """Returns the median seconds of ours and of packed sequences, and the largest difference between their outputs."""
    torch.manual_seed(0)
    layer = RecurrentLayer(cell, features, units, bidirectional=True)
    twin = packed_twin(layer, cell, features)
    inputs = torch.randn(batch, frames, features, requires_grad=True)
    lengths = torch.randint(round(0.9 * frames), frames + 1, (batch,))
    lengths[0] = frames

    def ours() -> torch.Tensor:
        return layer(inputs, lengths)

    def packed() -> torch.Tensor:
        sequence = nn.utils.rnn.pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
        output, _ = nn.utils.rnn.pad_packed_sequence(twin(sequence)[0], batch_first=True)
        return output

    difference = float((ours() - packed()).detach().abs().max())
    times: dict[str, list[float]] = {"ours": [], "packed": []}
    for _ in range(rounds + 1):
        times["ours"].append(seconds(ours))
        times["packed"].append(seconds(packed))
    # The first round warms up.
    return statistics.median(times["ours"][1:]), statistics.median(times["packed"][1:]), difference


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {platform.machine()}, {options.threads} thread(s), {options.rounds} rounds\n")
    print("| cell, batch x frames x features -> units | ours, ms | packed, ms | packed / ours | largest difference |")
    print("|---|---|---|---|---|")
    for name, shape in SHAPES.items():
        ours, packed, difference = compare(*shape, options.rounds)
        size = "{}, {} x {} x {} -> 2 x {}".format(shape[0].upper(), *shape[1:])
        print(
            f"| {name}: {size} | {1000 * ours:.1f} | {1000 * packed:.1f} | **{packed / ours:.2f}** | {difference:.1e} |"
        )


if __name__ == "__main__":
    main()
