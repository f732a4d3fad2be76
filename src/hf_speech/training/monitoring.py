"""What is written down while training beside the Trainer's own log: gradients as histograms, and the time it took."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from transformers.trainer_callback import TrainerControl, TrainerState
from transformers.trainer_utils import IntervalStrategy
from transformers.training_args import TrainingArguments

SECONDS_FILE = "seconds.json"


class GradientHistograms(TrainerCallback):
    """Shows TensorBoard the gradients of each parameter, of the first step and of that after each evaluation.

    Where nothing is evaluated while training, the end of an epoch counts as an evaluation. Vanishing and exploding
    gradients are seen here before they are seen in the loss.

    Args:
        writer: A `SummaryWriter`.
    """

    def __init__(self, writer: Any) -> None:
        self.writer = writer
        self._due = True

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Asks for the next step's gradients."""
        self._due = True

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Asks for the next step's gradients where no evaluation will."""
        self._due = self._due or args.eval_strategy == IntervalStrategy.NO

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **kwargs: Any
    ) -> None:
        """Writes the histograms; a gradient that is not finite has none."""
        if not self._due:
            return
        self._due = False
        for name, parameter in model.named_parameters():
            gradient = parameter.grad
            if gradient is not None and gradient.isfinite().all():
                self.writer.add_histogram(f"gradients/{name}", gradient.detach().float().cpu(), state.global_step)


class Stopwatch(TrainerCallback):
    """Counts the seconds of a training, those before an interruption included.

    Args:
        checkpoint: The checkpoint that training continues from.

    Attributes:
        seconds: Wall-clock time of the training so far.
    """

    def __init__(self, checkpoint: str | None = None) -> None:
        file = None if checkpoint is None else Path(checkpoint) / SECONDS_FILE
        self._before = 0.0 if file is None or not file.is_file() else float(json.loads(file.read_text()))
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Wall-clock time so far."""
        return self._before + time.perf_counter() - self._start

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Starts."""
        self._start = time.perf_counter()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Writes the seconds beside the checkpoint that was just saved."""
        folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        if state.is_world_process_zero and folder.is_dir():
            (folder / SECONDS_FILE).write_text(json.dumps(self.seconds))


__all__ = ["GradientHistograms", "Stopwatch"]
