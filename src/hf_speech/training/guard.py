"""Keeps non-finite gradients away from the weights.

A single utterance with a NaN or infinite loss turns all weights into NaN at the next step, unnoticed for hours. The
gradients are checked just before the optimizer step, when they are summed over all processes, so that all processes
make the same decision. A skipped step does not change the running statistics of batch norm either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import TrainerCallback
from transformers.trainer_callback import TrainerControl, TrainerState
from transformers.training_args import TrainingArguments

from hf_speech.common.files import write_json
from hf_speech.errors import TrainingError
from hf_speech.training.processes import any_process, process_state

# After this many consecutive bad steps, the cause is not a single batch.
MAX_IN_A_ROW = 10


class NonFiniteGuard(TrainerCallback):
    """Stops training or skips the step if gradients are not finite, and records the utterances of the step.

    Args:
        run_dir: The run folder, for `nonfinite.json`.
        policy: "stop" or "skip".
        pop_files: Returns the files of the utterances since its last call.
    """

    def __init__(self, run_dir: Path, policy: Literal["stop", "skip"], pop_files: Callable[[], Sequence[str]]) -> None:
        self.file = run_dir / "nonfinite.json"
        self.policy = policy
        self.pop_files = pop_files
        self._bad_steps: list[dict[str, Any]] = []
        self._in_a_row = 0
        self._buffers: list[torch.Tensor] = []

    @torch.no_grad()
    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **kwargs: Any
    ) -> None:
        """Copies the model's buffers before the step."""
        if self.policy == "skip":
            self._buffers = [buffer.clone() for buffer in model.buffers()]

    @torch.no_grad()
    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **kwargs: Any
    ) -> None:
        """Checks the gradients and the batch norm statistics of the step.

        Raises:
            TrainingError: If they are not finite and the policy is "stop", or too many steps in a row were skipped.
        """
        files = list(self.pop_files())
        if not any_process(process_state(), not _all_finite(model)):
            self._in_a_row = 0
            return
        self._in_a_row += 1
        self._bad_steps.append({"step": state.global_step + 1, "epoch": state.epoch, "files": files})
        file = self.file if args.world_size == 1 else self.file.with_stem(f"nonfinite-{args.process_index}")
        write_json(file, self._bad_steps)
        problem = f"The gradients of step {state.global_step + 1} are not finite (its utterances: {file})"
        if self.policy == "stop":
            raise TrainingError(
                f"{problem}: listen to them; then skip such steps with --resume --training.nonfinite_loss skip, or "
                "train again with a lower training.learning_rate."
            )
        if self._in_a_row >= MAX_IN_A_ROW:
            raise TrainingError(f"{problem}, as in the {MAX_IN_A_ROW - 1} before: lower training.learning_rate.")
        for parameter in model.parameters():
            parameter.grad = None  # The optimizer skips parameters without gradients, and their momenta.
        for buffer, before in zip(model.buffers(), self._buffers, strict=True):
            buffer.copy_(before)


def _all_finite(model: torch.nn.Module) -> bool:
    """Returns whether all gradients and batch norm statistics of a model are finite."""
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    statistics = [buffer for name, buffer in model.named_buffers() if name.endswith(("running_mean", "running_var"))]
    tensors = [*gradients, *statistics]
    # Computing the norm is five times as fast, but it may overflow for finite values.
    if not tensors or bool(torch.nn.utils.get_total_norm(tensors).isfinite()):
        return True
    return bool(torch.stack([tensor.isfinite().all() for tensor in tensors]).all())
