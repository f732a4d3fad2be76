"""Handles preemption: writes a last checkpoint and exits with a status that means "run again".

Schedulers and spot machines send SIGTERM or SIGUSR1 some seconds before they kill a process. The just-in-time
checkpoint of transformers only handles SIGTERM, does not agree on a step with the other processes, evaluates and loads
the best model first, and exits with status 0. Here, the processes communicate after every step and every batch of an
evaluation. If one of them has received a signal, all write a checkpoint of this step and exit with status 75
(EX_TEMPFAIL in sysexits.h). An aborted evaluation is repeated when training resumes.
"""

from __future__ import annotations

import contextlib
import copy
import ctypes
import functools
import multiprocessing.context
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch
from transformers import TrainerCallback
from transformers.trainer_callback import TrainerControl, TrainerState
from transformers.trainer_utils import SaveStrategy
from transformers.training_args import TrainingArguments

from hf_speech.errors import PreemptedError
from hf_speech.training.processes import any_process, process_state

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))
_PR_SET_PDEATHSIG = 1


class EvaluationInterrupted(Exception):
    """Raised in all processes to abort an evaluation after one of them has received a signal."""


class Preemption(TrainerCallback):
    """Requests a checkpoint after the step in which any process has received a signal, or aborts the evaluation.

    It must be called before callbacks that change the model for a checkpoint, and `stop_when_saved` after all callbacks
    that write to one.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self.stop_when_saved = _StopWhenSaved(self)
        self._training = False
        self._stopping = False

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Handles the signals; outside of the training loop, they end the program immediately with the same status.

        Raises:
            PreemptedError: If a signal has arrived.
        """
        if threading.current_thread() is not threading.main_thread():  # Only the main thread may set handlers.
            yield
            return
        if sys.platform == "linux" and "TORCHELASTIC_RUN_ID" in os.environ:
            # The launcher forwards SIGTERM, but SIGUSR1 kills it; then the system sends SIGTERM to its processes.
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
        """Returns whether any process has received a signal; all processes must call it at the same step."""
        self._stopping = self._stopping or any_process(process_state(), self.signal is not None)
        return self._stopping

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Defers signals to the end of a step from now on, and repeats an aborted evaluation first."""
        self._training = True
        saved = state.stateful_callbacks.get("TrainerControl", {})
        args.eval_on_start = args.eval_on_start or bool(saved.get("args", {}).get("should_evaluate"))

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Requests a checkpoint, unless the end of the epoch is about to write one."""
        ends_epoch = args.save_strategy == SaveStrategy.EPOCH and float(state.epoch or 0).is_integer()
        if self.requested() and not ends_epoch:
            control.should_save = True

    def on_prediction_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Aborts an evaluation.

        Raises:
            EvaluationInterrupted: If a signal has arrived.
        """
        if self._training and self.requested():
            raise EvaluationInterrupted

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Ends the program immediately on signals from now on."""
        self._training = False


class _StopWhenSaved(TrainerCallback):
    """Ends training when the checkpoint is complete."""

    def __init__(self, preemption: Preemption) -> None:
        self.preemption = preemption

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Ends training.

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


def shield_loader(loader: torch.utils.data.DataLoader[Any]) -> torch.utils.data.DataLoader[Any]:
    """Makes the processes of a loader ignore signals, which this process handles, and returns the loader."""
    base = getattr(loader, "base_dataloader", loader)  # Attributes of accelerate's wrapper have no effect.
    base.worker_init_fn = functools.partial(_init_worker, base.worker_init_fn)
    if base.num_workers and sys.platform != "win32":
        context: Any = copy.copy(base.multiprocessing_context or torch.multiprocessing.get_context())
        context.Process = _PROCESSES[context.get_start_method()]
        base.multiprocessing_context = context
    return loader


def _init_worker(init: Callable[[int], None] | None, worker: int) -> None:
    """Ignores signals in a loader process, including those that arrived while it started."""
    if init is not None:
        init(worker)
    for number in (signal.SIGINT, *SIGNALS):
        signal.signal(number, signal.SIG_IGN)
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, *SIGNALS))


if sys.platform != "win32":

    class _BlockedStart:
        """Starts a process with blocked signals, which would kill it before it can ignore them."""

        def start(self) -> None:
            before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, *SIGNALS))
            try:
                super().start()  # type: ignore[misc]
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)

    class _ForkProcess(_BlockedStart, multiprocessing.context.ForkProcess):
        pass

    class _ForkServerProcess(_BlockedStart, multiprocessing.context.ForkServerProcess):
        pass

    class _SpawnProcess(_BlockedStart, multiprocessing.context.SpawnProcess):
        pass

    _PROCESSES = {"fork": _ForkProcess, "forkserver": _ForkServerProcess, "spawn": _SpawnProcess}
