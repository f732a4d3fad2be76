"""Signals that announce the end of a job: one last checkpoint, then an exit status that means "run me again".

Schedulers and providers of spot machines send SIGTERM or SIGUSR1 some seconds before they end a process. transformers'
own just-in-time checkpoint answers SIGTERM alone, does not agree on a step with the other processes, evaluates and
loads the best model before it ends, and ends with status 0. Here the processes agree after every step and every batch
of an evaluation; when one of them has been signaled, all write a checkpoint of this step and end with status 75
(EX_TEMPFAIL in sysexits.h). An evaluation that was left is repeated when training resumes.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

from transformers import TrainerCallback
from transformers.trainer_callback import TrainerControl, TrainerState
from transformers.trainer_utils import SaveStrategy
from transformers.training_args import TrainingArguments

from hf_speech.errors import PreemptedError
from hf_speech.training.processes import any_process, process_state

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))
_PR_SET_PDEATHSIG = 1


class EvaluationLeft(Exception):
    """Raised in all processes to leave an evaluation in which a signal arrived in one of them."""


class Preemption(TrainerCallback):
    """Asks for a checkpoint after the step in which a signal arrived in any process, or leaves the evaluation.

    It must be called before callbacks that change the model for a checkpoint, and `stop_when_saved` after all callbacks
    that write into one.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self.stop_when_saved = _StopWhenSaved(self)
        self._training = False
        self._stopping = False

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Listens to the signals; outside of the training loop they end the program at once, with the same status.

        Raises:
            PreemptedError: When a signal has arrived.
        """
        if threading.current_thread() is not threading.main_thread():  # Only the main thread may set handlers.
            yield
            return
        if sys.platform == "linux" and "TORCHELASTIC_RUN_ID" in os.environ:
            # The launcher passes SIGTERM on, but is killed by SIGUSR1: then the system signals its processes.
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        before = {number: signal.signal(number, self._handle) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, number: int, frame: Any) -> None:
        self.signal = number
        if not self._training:
            raise PreemptedError(
                f"{signal.Signals(number).name} ended the program outside of the training loop: run it again with "
                "--resume."
            )

    def requested(self) -> bool:
        """Whether a signal has arrived in any process; all of them must ask, at the same step."""
        self._stopping = self._stopping or any_process(process_state(), self.signal is not None)
        return self._stopping

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """From here on, signals wait for the end of a step; an evaluation that a signal ended is repeated first."""
        self._training = True
        saved = state.stateful_callbacks.get("TrainerControl", {})
        args.eval_on_start = args.eval_on_start or bool(saved.get("args", {}).get("should_evaluate"))

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Asks for a checkpoint, except where the end of the epoch, with its evaluation, is about to write one."""
        ends_epoch = args.save_strategy == SaveStrategy.EPOCH and float(state.epoch or 0).is_integer()
        if self.requested() and not ends_epoch:
            control.should_save = True

    def on_prediction_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Leaves an evaluation.

        Raises:
            EvaluationLeft: When a signal has arrived.
        """
        if self._training and self.requested():
            raise EvaluationLeft

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """From here on, signals end the program at once."""
        self._training = False


class _StopWhenSaved(TrainerCallback):
    """Ends the training when a checkpoint is complete."""

    def __init__(self, preemption: Preemption) -> None:
        self.preemption = preemption

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Ends the training.

        Raises:
            PreemptedError: In all processes.
        """
        if self.preemption.requested():
            number = self.preemption.signal
            reason = "a signal to another process" if number is None else signal.Signals(number).name
            raise PreemptedError(
                f"Training stopped at step {state.global_step:,} of {state.max_steps:,} because of {reason}; its "
                "checkpoint is written: run the same command again with --resume."
            )
