"""Keeps gradients that are not finite away from the weights.

One utterance whose loss is NaN or infinite would turn every weight into NaN at the next step, unnoticed for hours. The
gradients are checked just before they are used: there they are those of all processes together, so that all of them
decide alike. A step that is left out leaves no trace in the running statistics of batch norm either.
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
    """Stops training or skips the step when gradients are not finite, and logs which utterances they came from.

    Args:
        run_dir: Where `nonfinite.json` is written.
        policy: "stop" or "skip".
        take_files: Returns the files of the utterances processed since its last call.
    """

    def __init__(self, run_dir: Path, policy: Literal["stop", "skip"], take_files: Callable[[], Sequence[str]]) -> None:
        self.file = run_dir / "nonfinite.json"
        self.policy = policy
        self.take_files = take_files
        self._found: list[dict[str, Any]] = []
        self._in_a_row = 0
        self._buffers: list[torch.Tensor] = []

    @torch.no_grad()
    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **kwargs: Any
    ) -> None:
        """Keeps the model's buffers as they are before the step."""
        if self.policy == "skip":
            self._buffers = [buffer.clone() for buffer in model.buffers()]

    @torch.no_grad()
    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **kwargs: Any
    ) -> None:
        """Checks the gradients, and the statistics that the forward pass has changed.

        Raises:
            TrainingError: If they are not finite and the policy is "stop", or too many steps in a row were left out.
        """
        files = list(self.take_files())
        if not any_process(process_state(), not _all_finite(model)):
            self._in_a_row = 0
            return
        self._in_a_row += 1
        self._found.append({"step": state.global_step + 1, "epoch": state.epoch, "files": files})
        file = self.file if args.world_size == 1 else self.file.with_stem(f"nonfinite-{args.process_index}")
        write_json(file, self._found)
        found = f"The gradients of step {state.global_step + 1} are not finite (its utterances: {file})"
        if self.policy == "stop":
            raise TrainingError(
                f"{found}: listen to them; then leave such steps out with --resume --training.nonfinite_loss skip, or "
                "train again with a lower training.learning_rate."
            )
        if self._in_a_row >= MAX_IN_A_ROW:
            raise TrainingError(f"{found}, as in the {MAX_IN_A_ROW - 1} before: lower training.learning_rate.")
        for parameter in model.parameters():
            parameter.grad = None  # The optimizer leaves out what has no gradient, its momenta too.
        for buffer, before in zip(model.buffers(), self._buffers, strict=True):
            buffer.copy_(before)


def _all_finite(model: torch.nn.Module) -> bool:
    """Whether all gradients of a model and its batch norm statistics are finite."""
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    statistics = [buffer for name, buffer in model.named_buffers() if name.endswith(("running_mean", "running_var"))]
    tensors = [*gradients, *statistics]
    # The norm is five times as fast and nearly always finite, but it may overflow although no value is infinite.
    if not tensors or bool(torch.nn.utils.get_total_norm(tensors).isfinite()):
        return True
    return bool(torch.stack([tensor.isfinite().all() for tensor in tensors]).all())
