"""Where the time of a training goes: the loader, waiting for the loader, and the steps themselves.

The loader processes time themselves and send their seconds with each batch, so the profile is that of the actual
training run.
"""

from __future__ import annotations

import time
from typing import Any

import torch
from transformers import TrainerCallback
from transformers.trainer_callback import TrainerControl, TrainerState
from transformers.training_args import TrainingArguments

# Above this share of the time, waiting is commented on.
TOLERATED_WAIT = 0.05


class Profile(TrainerCallback):
    """Adds up the seconds of this process's training steps and of their batches.

    Args:
        num_workers: Processes that make batches; 0 if the training process makes them.

    Attributes:
        seconds: Totals: "read" (and decode), "augment" and "features" in the loader's processes, "wait" and "step" in
            the training process; evaluations and checkpoints are not counted.
        steps: Steps of the optimizer.
    """

    def __init__(self, num_workers: int) -> None:
        self.num_workers = num_workers
        self.seconds = dict.fromkeys(("read", "augment", "features", "wait", "step"), 0.0)
        self.steps = 0
        self._begun = 0.0

    def add_batch(self, loader_seconds: torch.Tensor) -> None:
        """Adds the seconds that the loader took for a batch: `(3,)`, from `SpeechCollator`."""
        for name, seconds in zip(("read", "augment", "features"), loader_seconds.tolist(), strict=True):
            self.seconds[name] += seconds

    def add_wait(self, seconds: float) -> None:
        """Adds seconds in which the model waited for a batch."""
        self.seconds["wait"] += seconds

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        """Starts the clock; the batches are there."""
        self._begun = time.perf_counter()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Counts a step, after the accelerator has finished it."""
        if args.device.type == "cuda":
            torch.cuda.synchronize(args.device)
        self.seconds["step"] += time.perf_counter() - self._begun
        self.steps += 1

    @property
    def waiting(self) -> float:
        """Share of the training's time spent waiting for batches."""
        return self.seconds["wait"] / max(self.seconds["wait"] + self.seconds["step"], 1e-9)

    def to_dict(self) -> dict[str, Any]:
        """The totals as JSON can write them."""
        rounded = {name: round(seconds, 6) for name, seconds in self.seconds.items()}
        return {"steps": self.steps, "loader_processes": self.num_workers, "seconds": rounded}

    def __str__(self) -> str:
        each = {name: f"{1000 * seconds / max(self.steps, 1):.1f}" for name, seconds in self.seconds.items()}
        where = f"{self.num_workers} loader process{'' if self.num_workers == 1 else 'es'}"
        if not self.num_workers:
            where = "no loader process, so the model waits for all of it"
        lines = [
            f"Where the time went, milliseconds a step ({self.steps} steps, {where}):",
            f"  loader     read {each['read']}   augment {each['augment']}   features {each['features']}",
            f"  training   wait {each['wait']} ({self.waiting:.1%})   step {each['step']}",
        ]
        if self.waiting > TOLERATED_WAIT:
            lines.append(
                "The model waits for the loader: raise training.dataloader_num_workers, or set training.cache_features "
                "(and augmentation.variants where the sound is augmented)."
            )
        return "\n".join(lines)
