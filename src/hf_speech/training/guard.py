"""Gradients that are no numbers never reach the weights.

One utterance whose loss is NaN or infinite would turn every weight into NaN at the next step, and hours later somebody
would notice. What is looked at are the gradients just before they are used: there they are those of all processes
together, so that all of them decide alike.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import TrainerCallback
from transformers.trainer_callback import TrainerControl, TrainerState
from transformers.training_args import TrainingArguments

from hf_speech.errors import TrainingError

# After so many batches in a row it is no longer the batches.
MOST_IN_A_ROW = 10


class NonFiniteGuard(TrainerCallback):
    """Stops, or leaves a step out, when gradients are not finite, and writes down which utterances they came from.

    Args:
        run_dir: Where `nonfinite.json` is written.
        policy: "stop" or "skip".
        take_files: Gives the files of the utterances of this step, and forgets them.
    """

    def __init__(self, run_dir: Path, policy: Literal["stop", "skip"], take_files: Callable[[], Sequence[str]]) -> None:
        self.file = run_dir / "nonfinite.json"
        self.policy = policy
        self.take_files = take_files
        self._found: list[dict[str, Any]] = []
        self._in_a_row = 0

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **kwargs: Any
    ) -> None:
        """Looks at the gradients.

        Raises:
            TrainingError: If they are not finite and the policy is "stop", or too many steps in a row were left out.
        """
        files = list(self.take_files())
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        finite = torch.stack([gradient.isfinite().all() for gradient in gradients]).all() if gradients else True
        if finite:
            self._in_a_row = 0
            return
        self._in_a_row += 1
        self._found.append({"step": state.global_step + 1, "epoch": state.epoch, "files": files})
        file = self.file if args.world_size == 1 else self.file.with_stem(f"nonfinite-{args.process_index}")
        file.write_text(json.dumps(self._found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        said = f"The gradients of step {state.global_step + 1} are not finite (its utterances: {file})"
        if self.policy == "stop":
            raise TrainingError(
                f"{said}: listen to them, lower training.learning_rate, or leave such steps out with "
                "training.nonfinite_loss skip; then --resume."
            )
        if self._in_a_row >= MOST_IN_A_ROW:
            raise TrainingError(f"{said}, as in the {MOST_IN_A_ROW - 1} before: lower training.learning_rate.")
        for parameter in model.parameters():
            parameter.grad = None  # The optimizer leaves out what has no gradient, its momenta too.


__all__ = ["NonFiniteGuard"]
