"""Reports the progress of training: a bar for all steps in a terminal, plain lines in a file or a pipe."""

from __future__ import annotations

import time
from typing import Any

from tqdm.auto import tqdm
from transformers import ProgressCallback
from transformers.trainer_callback import TrainerControl, TrainerState
from transformers.trainer_utils import IntervalStrategy, has_length
from transformers.training_args import TrainingArguments

from hf_speech.common.progress import SECONDS_BETWEEN_LINES, shows_bars
from hf_speech.tasks import metric_named


class ProgressReporter(ProgressCallback):
    """Prints a line after each evaluation (or epoch without one), and shows a progress bar in a terminal.

    Args:
        metric: The metric to print, without "eval_".
    """

    def __init__(self, metric: str) -> None:
        super().__init__()
        self.metric = metric
        self.live = shows_bars()
        self._training_loss: float | None = None  # None until transformers logs it.
        self._last_line = 0.0
        self.prediction_bar: Any = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Opens the bar."""
        self.current_step = state.global_step
        self._last_line = time.monotonic()
        if state.is_world_process_zero and self.live:
            self.training_bar = tqdm(
                total=state.max_steps, initial=state.global_step, desc="Training", unit="step", dynamic_ncols=True
            )

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Advances the bar."""
        if self.training_bar is not None:
            super().on_step_end(args, state, control, **kwargs)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Closes the bar."""
        if self.training_bar is not None:
            super().on_train_end(args, state, control, **kwargs)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Logs the loss at the end of every epoch, however short."""
        control.should_log = True
        return control

    def on_prediction_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        eval_dataloader: Any = None,
        **kwargs: Any,
    ) -> None:
        """Shows a second bar during validation."""
        if state.is_world_process_zero and self.live and self.prediction_bar is None:
            total = len(eval_dataloader) if has_length(eval_dataloader) else None
            self.prediction_bar = tqdm(total=total, desc="Validating", unit="batch", leave=False, delay=1)
        if self.prediction_bar is not None:
            self.prediction_bar.update(1)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Shows the loss on the bar, and prints a line after an evaluation or an epoch without one."""
        if not state.is_world_process_zero or logs is None:
            return
        by_steps = args.eval_strategy == IntervalStrategy.STEPS
        epoch = state.epoch or 0.0
        when = f"step {state.global_step:7,}" if by_steps else f"epoch {epoch:5.1f}"
        if "loss" in logs:
            self._training_loss = float(logs["loss"])
            if self.training_bar is not None:
                self.training_bar.set_postfix(loss=f"{self._training_loss:.3f}")
            if args.eval_strategy == IntervalStrategy.NO and epoch.is_integer():
                self._write(f"{when}   loss {self._training_loss:6.3f}")
            elif not self.live and time.monotonic() - self._last_line > SECONDS_BETWEEN_LINES:
                step = f"step {state.global_step:,} of {state.max_steps:,}"
                self._write(f"epoch {epoch:5.1f}   loss {self._training_loss:6.3f}   {step}")
        if "eval_loss" in logs:
            loss = "" if self._training_loss is None else f"   loss {self._training_loss:6.3f}"
            line = f"{when}{loss}   validation loss {logs['eval_loss']:6.3f}"
            value = logs.get(f"eval_{self.metric}")
            if value is not None and self.metric != "loss":
                line += f"   {self.metric} {metric_named(self.metric).format(value):>7}"
            self._write(line)

    def _write(self, line: str) -> None:
        self._last_line = time.monotonic()
        tqdm.write(line)
