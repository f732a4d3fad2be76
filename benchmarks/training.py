"""Measures the speed of a training step with several front ends and recurrences, and of the data loader.

A step is the forward pass, loss, backward pass and optimizer update on a batch of clips of different lengths. All
models have three bidirectional recurrent layers of 256 units; only the front ends differ. "torch's GRU" is the fast
recognizer with `nn.GRU` on packed sequences instead of our recurrence. All take turns in one process. Prints medians.
With a GPU, the steps run there, and the share of the time in kernels is printed too.

The parts of a step are timed for the recognizer of recipes/english_pieces.yaml, with phone targets, masks, gradient
clipping, the check for non-finite values, and weight averaging.

The data loader reads and augments files in worker processes while a model trains with recipes/an4.yaml. Prints the
share of the time that training waits for data.

    python benchmarks/training.py [--batch 12] [--seconds 6] [--rounds 5] [--workers 2] [--compile]
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import soundfile
import torch
import transformers
from recurrence import packed_twin
from torch import nn
from torch.utils.data import DataLoader

from hf_speech.data.dataset import TRAINER_KEYS, SpeechCollator, SpeechDataset
from hf_speech.models import ConvGRUConfig, ConvGRUForCTC
from hf_speech.models.recurrent import RecurrentLayer
from hf_speech.training import load_recipe
from hf_speech.training.averaging import WeightAveraging
from hf_speech.training.guard import NonFiniteGuard
from hf_speech.training.options import computes_bfloat16
from hf_speech.training.preparation import prepare

RATE, FRAMES_PER_SECOND, LETTERS = 16_000, 100, 32
RECIPES = Path(__file__).resolve().parent.parent / "recipes"

FRONT_ENDS = {
    "subsampling 8": {"subsampling": 8},
    "subsampling 4": {},
    "subsampling 4, 2-D stem": {"stem_channels": 32},
    "residual, 3 blocks": {"frontend": "residual", "channels": 32, "num_convolutions": 3},
    "deepspeech2": {"frontend": "deepspeech2", "recurrent_norm": "batch"},
}
FAST, SLOW, PACKED = "subsampling 8", "deepspeech2", "subsampling 8, torch's GRU"

# On a CPU, the CPU time of this thread, which other load affects less than wall time.
clock = time.perf_counter if torch.cuda.is_available() else time.thread_time

Step = Callable[[], None]


class PackedGRU(nn.Module):
    """The bidirectional layer of torch on packed sequences, with the weights of ours."""

    def __init__(self, ours: RecurrentLayer) -> None:
        super().__init__()
        self.rnn = packed_twin(ours, "gru", ours.forward_rnn.input_size)

    def forward(self, frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Maps `(batch, frames, features)` to `(batch, frames, 2 units)`, as `RecurrentLayer` does."""
        packed = nn.utils.rnn.pack_padded_sequence(frames, lengths.cpu(), batch_first=True, enforce_sorted=False)
        output, _ = nn.utils.rnn.pad_packed_sequence(
            self.rnn(packed)[0], batch_first=True, total_length=frames.shape[1]
        )
        return output


def recognizer(**arguments: object) -> ConvGRUForCTC:
    torch.manual_seed(0)
    return ConvGRUForCTC(ConvGRUConfig(**{"vocab_size": LETTERS, "num_hidden_layers": 3, **arguments})).train()


def with_packed_sequences(model: ConvGRUForCTC) -> ConvGRUForCTC:
    for layer in model.layers:
        layer.recurrence = PackedGRU(layer.recurrence)
    return model


def batch_of(size: int, seconds: float, device: torch.device) -> dict[str, torch.Tensor]:
    """Returns features of clips of between `seconds / 2` and `seconds`, with 3 letters per second."""
    torch.manual_seed(0)
    frames = round(seconds * FRAMES_PER_SECOND)
    lengths = torch.linspace(frames // 2, frames, size).long()
    letters = torch.randint(1, LETTERS, (size, round(3 * seconds)))
    batch = {
        "input_features": torch.randn(size, frames, 80),
        "attention_mask": (torch.arange(frames)[None, :] < lengths[:, None]).long(),
        "labels": torch.where(torch.arange(letters.shape[1])[None, :] < 3 * lengths[:, None] / 100, letters, -100),
    }
    return {name: tensor.to(device) for name, tensor in batch.items()}


def step_of(model: nn.Module, batch: dict[str, torch.Tensor], in_bfloat16: bool) -> Step:
    """Returns a function that runs one training step of a model."""
    train = trainer_of(model, in_bfloat16)
    return lambda: train(batch)


def trainer_of(model: nn.Module, in_bfloat16: bool) -> Callable[[dict[str, torch.Tensor]], None]:
    """Returns a function that trains a model on a batch: forward pass, backward pass and update."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def train(batch: dict[str, torch.Tensor]) -> None:
        device = batch["labels"].device
        with torch.autocast(device.type, torch.bfloat16, enabled=in_bfloat16):
            loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return train


def medians(steps: dict[str, Step], rounds: int) -> dict[str, float]:
    """Returns the median seconds of each step. All take turns; the first two rounds are for warmup."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds + 2):
        for name, step in steps.items():
            start = clock()
            step()
            times[name].append(clock() - start)
    return {name: statistics.median(seconds[2:]) for name, seconds in times.items()}


def kernel_share(step: Step, seconds: float) -> float:
    """Returns the share of the time of a step in which the GPU ran a kernel."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        step()
    return sum(event.self_device_time_total for event in profile.key_averages()) / 1e6 / seconds


def step_parts(batch: dict[str, torch.Tensor], in_bfloat16: bool, rounds: int) -> dict[str, float]:
    """Returns the median seconds of each part of a step of the English recognizer."""
    recipe = load_recipe(RECIPES / "english_pieces.yaml", [])
    arguments = {name: value for name, value in recipe.model.items() if name != "model_type"}
    model = recognizer(**arguments, num_phones=40).to(batch["labels"].device)
    batch = {**batch, "phone_targets": batch["labels"]}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    guard, averaging = NonFiniteGuard(Path(), "stop", list), WeightAveraging(recipe.training.weight_averaging)
    state = SimpleNamespace(global_step=1000)
    control = SimpleNamespace(should_evaluate=False, should_save=False)
    averaging.on_train_begin(None, state, control, model)  # type: ignore[arg-type]
    parts: dict[str, float] = defaultdict(float)
    begun: dict[tuple[object, str], float] = {}

    def start(module: object, name: str) -> None:
        begun[module, name] = clock()

    def stop(module: object, name: str) -> None:
        parts[name] += clock() - begun[module, name]

    def watch(module: nn.Module, name: str) -> None:
        module.register_forward_pre_hook(lambda *_: start(module, f"{name}, forward"))
        module.register_forward_hook(lambda *_: stop(module, f"{name}, forward"))
        module.register_full_backward_pre_hook(lambda *_: start(module, f"{name}, backward"))
        module.register_full_backward_hook(lambda *_: stop(module, f"{name}, backward"))

    for layer in model.layers:
        watch(layer.recurrence, "recurrences")
        watch(layer.dropout, "dropout")
    model.frontend.register_forward_pre_hook(lambda *_: start(model, "front end, forward"))
    model.frontend.register_forward_hook(lambda *_: stop(model, "front end, forward"))
    # The input of the front end has no gradient, so its backward pass starts after that of the first layer.
    model.layers[0].recurrence.register_full_backward_hook(lambda *_: start(model, "front end, backward"))
    loss_of = model._loss

    def watched_loss(*given: torch.Tensor) -> torch.Tensor:
        start(model, "CTC losses, forward")
        loss: torch.Tensor = loss_of(*given)
        stop(model, "CTC losses, forward")
        return loss

    model._loss = watched_loss

    def timed(name: str, call: Callable[[], object]) -> None:
        start(call, name)
        call()
        stop(call, name)

    def forward() -> torch.Tensor:
        with torch.autocast(batch["labels"].device.type, torch.bfloat16, enabled=in_bfloat16):
            loss: torch.Tensor = model(**batch).loss
        return loss

    found: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds + 2):
        parts.clear()
        start(model, "whole step")
        start(model, "other, forward")
        loss = forward()
        stop(model, "other, forward")
        start(model, "other, backward")
        loss.backward()
        stop(model, "front end, backward")
        stop(model, "other, backward")
        for side in ("forward", "backward"):  # The time not measured by the hooks.
            measured = [name for name in parts if name.endswith(side) and not name.startswith("other")]
            parts[f"other, {side}"] -= sum(parts[name] for name in measured)
        timed("clipping", lambda: nn.utils.clip_grad_norm_(model.parameters(), recipe.training.max_grad_norm))
        timed("gradient check", lambda: guard.on_pre_optimizer_step(None, state, control, model))  # type: ignore[arg-type]
        timed("optimizer", optimizer.step)
        timed("averaging", lambda: averaging.on_step_end(None, state, control, model))  # type: ignore[arg-type]
        optimizer.zero_grad()
        stop(model, "whole step")
        for name, seconds in parts.items():
            found[name].append(seconds)
    return {name: statistics.median(seconds[2:]) for name, seconds in found.items()}


def loader_share(workers: int, batches: int) -> tuple[float, float]:
    """Trains with recipes/an4.yaml on files; returns the share of time waiting for data, and the seconds of a step."""
    with tempfile.TemporaryDirectory() as folder:
        generator = np.random.default_rng(0)
        lines = ["path,text,speaker"]
        for index in range(160):
            sound = 0.1 * generator.standard_normal(generator.integers(2 * RATE, 4 * RATE))
            soundfile.write(Path(folder, f"{index}.wav"), sound, RATE)
            lines.append(f"{index}.wav,ONE TWO THREE,speaker{index % 20}")
        Path(folder, "table.csv").write_text("\n".join(lines), encoding="utf-8")
        words = [
            "--corpus.name",
            "csv",
            "--train_file",
            str(Path(folder, "table.csv")),
            "--text_column",
            "text",
            "--speaker_column",
            "speaker",
        ]
        recipe = load_recipe(RECIPES / "an4.yaml", [*words, "--text.lexicon", "null", "--data_dir", folder])
        parts, _ = prepare(recipe)
        dataset = parts.datasets["train"]
        assert isinstance(dataset, SpeechDataset)
        size = recipe.training.per_device_train_batch_size
        loader = DataLoader(
            dataset,
            batch_size=size,
            num_workers=workers,
            collate_fn=SpeechCollator(parts.extractor, recipe.task.collate_targets),
            persistent_workers=workers > 0,
        )
        train = trainer_of(parts.model.train(), computes_bfloat16())
        waited = worked = 0.0
        iterator, done = iter(loader), 0
        while done < batches:
            start = time.perf_counter()
            batch = next(iterator, None)
            if batch is None:
                iterator = iter(loader)
                continue
            ready = time.perf_counter()
            train({name: batch[name] for name in batch.keys() - TRAINER_KEYS})
            done += 1
            if done > 4:  # The first batches wait for the workers to start.
                waited, worked = waited + ready - start, worked + time.perf_counter() - ready
    return waited / (waited + worked), worked / (batches - 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--compile", action="store_true", help="Also measure the compiled fast recognizer.")
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    batch = batch_of(options.batch, options.seconds, device)
    models: dict[str, nn.Module] = {name: recognizer(**given) for name, given in FRONT_ENDS.items()}
    models[PACKED] = with_packed_sequences(recognizer(**FRONT_ENDS[FAST]))
    if options.compile:
        models[f"{FAST}, compiled"] = torch.compile(recognizer(**FRONT_ENDS[FAST]))  # type: ignore[assignment]
    for model in models.values():
        model.to(device)
    types = {"float32": False} | ({"bfloat16": True} if device.type == "cuda" or computes_bfloat16() else {})
    times: dict[str, dict[str, float]] = {}
    steps: dict[str, dict[str, Step]] = {}
    for label, in_bfloat16 in types.items():
        # Packed sequences do not support bfloat16 on CPUs.
        able = {name: model for name, model in models.items() if not in_bfloat16 or name != PACKED}
        steps[label] = {name: step_of(model, batch, in_bfloat16) for name, model in able.items()}
        times[label] = medians(steps[label], options.rounds)
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"{platform.machine()}, 1 thread"
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, {where}: ", end="")
    print(f"{options.batch} clips of up to {options.seconds:g} s, medians of {options.rounds} rounds.\n")
    sound = float(batch["attention_mask"].sum()) / FRAMES_PER_SECOND
    heads = [head for label in types for head in (f"ms per step, {label}", f"minutes of audio per minute, {label}")]
    heads += ["time in kernels"] if device.type == "cuda" else []
    print(f"| recognizer | parameters | {' | '.join(heads)} |\n|---|--:|{'--:|' * len(heads)}")
    for name, model in models.items():
        cells = [f"{sum(parameter.numel() for parameter in model.parameters()) / 1e6:.1f} M"]
        for label in types:
            seconds = times[label].get(name)
            cells += ["-", "-"] if seconds is None else [f"{1000 * seconds:.0f}", f"{sound / seconds:.0f}"]
        if device.type == "cuda":
            label = list(types)[-1] if name in steps[list(types)[-1]] else "float32"
            cells.append(f"{100 * kernel_share(steps[label][name], times[label][name]):.0f}%")
        print(f"| {name} | {' | '.join(cells)} |")
    for label in types:
        print(
            f"\nSpeed of a step with {FAST} relative to {SLOW}, {label}: {times[label][SLOW] / times[label][FAST]:.1f}."
        )
    ratio = times["float32"][PACKED] / times["float32"][FAST]
    print(f"\nSpeed of a step with our recurrence relative to torch's packed sequences: {ratio:.1f}.")
    if device.type == "cpu":
        # 64 seconds of audio, as in the recipe.
        english = batch_of(16, 4.0, device)
        columns = [step_parts(english, in_bfloat16, options.rounds) for in_bfloat16 in types.values()]
        print(
            f"\nA step of recipes/english_pieces.yaml, ms\n\n| part | {' | '.join(types)} |\n|---|{'--:|' * len(types)}"
        )
        for name in sorted(columns[-1], key=lambda name: -columns[-1][name]):
            print(f"| {name} | {' | '.join(f'{1000 * column[name]:.1f}' for column in columns)} |")
        share, seconds = loader_share(options.workers, 40)
        print(f"\nTraining with recipes/an4.yaml and {options.workers} worker(s) waits for data ", end="")
        print(f"{100 * share:.1f}% of the time; a step takes {1000 * seconds:.0f} ms.")


if __name__ == "__main__":
    main()
