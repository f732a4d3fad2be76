"""Callbacks that record histograms of gradients and the duration of training."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from transformers.trainer_callback import TrainerControl, TrainerState
from transformers.trainer_utils import IntervalStrategy
from transformers.training_args import TrainingArguments

from hf_speech.common.files import write_json
from hf_speech.training.checkpoints import checkpoint_folder

SECONDS_FILE = "seconds.json"


class GradientHistograms(TrainerCallback):
    """Writes the gradients of each parameter to TensorBoard, at the first step and after each evaluation.

    Without a validation split, they are written after each epoch. Vanishing and exploding gradients are visible here
    earlier than in the loss.

    Args:
        writer: A `SummaryWriter`.
    """

    def __init__(self, writer: Any) -> None:
        self.writer = writer
        self._due = True

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Schedules the gradients of the next step."""
        self._due = True

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Schedules the gradients of the next step if there are no evaluations."""
        self._due = self._due or args.eval_strategy == IntervalStrategy.NO

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **kwargs: Any
    ) -> None:
        """Writes the histograms of finite gradients."""
        if not self._due:
            return
        self._due = False
        for name, parameter in model.named_parameters():
            gradient = parameter.grad
            if gradient is not None and gradient.isfinite().all():
                self.writer.add_histogram(f"gradients/{name}", gradient.detach().float().cpu(), state.global_step)


class Stopwatch(TrainerCallback):
    """Measures the duration of training, including the time before an interruption.

    Args:
        checkpoint: The checkpoint that training resumes from.

    Attributes:
        seconds: Wall-clock time so far.
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
        """Starts the clock."""
        self._start = time.perf_counter()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Writes the seconds to the checkpoint that was just saved."""
        if state.is_world_process_zero:
            write_json(checkpoint_folder(args, state) / SECONDS_FILE, self.seconds)
