"""Profiles training: the time of the loader, of waiting for the loader, and of the steps.

The loader's processes measure themselves and send the seconds with each batch.
"""

from __future__ import annotations

import time
from typing import Any

import torch
from transformers import TrainerCallback
from transformers.trainer_callback import TrainerControl, TrainerState
from transformers.training_args import TrainingArguments

from hf_speech.common.text import counted

# The profile gives advice if waiting takes a larger fraction of the time.
TOLERATED_WAIT = 0.05


class Profile(TrainerCallback):
    """Sums the seconds of this process's training steps and their batches.

    Args:
        num_workers: Number of loader processes; 0 if the training process prepares the batches.

    Attributes:
        seconds: Totals: "read" (and decode), "augment" and "features" in the loader's processes, "wait" and "step" in
            the training process, without evaluations and checkpoints.
        steps: Number of optimizer steps.
    """

    def __init__(self, num_workers: int) -> None:
        self.num_workers = num_workers
        self.seconds = dict.fromkeys(("read", "augment", "features", "wait", "step"), 0.0)
        self.steps = 0
        self._step_start = 0.0

    def add_batch(self, loader_seconds: torch.Tensor) -> None:
        """Adds the loader's seconds for a batch, `(3,)`, from `SpeechCollator`."""
        for name, seconds in zip(("read", "augment", "features"), loader_seconds.tolist(), strict=True):
            self.seconds[name] += seconds

    def add_wait(self, seconds: float) -> None:
        """Adds seconds in which the model waited for a batch."""
        self.seconds["wait"] += seconds

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        """Starts the clock, when the batches are ready."""
        self._step_start = time.perf_counter()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Counts a step, after the accelerator has finished it."""
        if args.device.type == "cuda":
            torch.cuda.synchronize(args.device)
        self.seconds["step"] += time.perf_counter() - self._step_start
        self.steps += 1

    @property
    def waiting(self) -> float:
        """Fraction of the training time spent waiting for batches."""
        return self.seconds["wait"] / max(self.seconds["wait"] + self.seconds["step"], 1e-9)

    def to_dict(self) -> dict[str, Any]:
        """Returns the totals for JSON."""
        rounded = {name: round(seconds, 6) for name, seconds in self.seconds.items()}
        return {"steps": self.steps, "loader_processes": self.num_workers, "seconds": rounded}

    def __str__(self) -> str:
        each = {name: f"{1000 * seconds / max(self.steps, 1):.1f}" for name, seconds in self.seconds.items()}
        loader = counted(self.num_workers, "loader process", "loader processes")
        if not self.num_workers:
            loader = "no loader process, so the model waits for the loader"
        lines = [
            f"Milliseconds per step ({counted(self.steps, 'step')}, {loader}):",
            f"  loader     read {each['read']}   augment {each['augment']}   features {each['features']}",
            f"  training   wait {each['wait']} ({self.waiting:.1%})   step {each['step']}",
        ]
        if self.waiting > TOLERATED_WAIT:
            lines.append(
                "The model waits for the loader: raise training.dataloader_num_workers, or set training.cache_features "
                "(and augmentation.variants if recordings are augmented)."
            )
        return "\n".join(lines)
