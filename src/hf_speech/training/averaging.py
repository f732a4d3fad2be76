"""An exponential moving average of the weights, updated during training and used in their place.

The average of the last steps is a better model than the last step (Polyak & Juditsky 1992), above all with little data.
The running statistics of batch norm are averaged too, because they belong to the weights of their steps. The model
holds the average whenever it is evaluated or saved, and from the end of an epoch to the beginning of the next: the
average is what is evaluated, chosen as best and saved. The weights that gradients act on are kept aside meanwhile, and
saved next to each checkpoint, so that a resumed training continues exactly.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback
from transformers.trainer_callback import TrainerControl, TrainerState
from transformers.training_args import TrainingArguments

WEIGHTS_FILE = "unaveraged.safetensors"


class WeightAveraging(TrainerCallback):
    """Averages a model's weights after each optimizer step.

    Args:
        decay: Share of the average that stays at each step; in the first steps it is smaller, so that the average does
            not remember the fresh weights for long.
        checkpoint: The checkpoint that training resumes from.
    """

    def __init__(self, decay: float, checkpoint: str | None = None) -> None:
        self.decay = decay
        self.checkpoint = checkpoint
        self._average: dict[str, torch.Tensor] = {}
        self._waiting: dict[str, torch.Tensor] | None = None

    @torch.no_grad()
    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **kwargs: Any
    ) -> None:
        """Starts the average; a checkpoint holds the average, and next to it the weights to train on with."""
        self._average = _copy(model)
        if self.checkpoint is not None:
            self._waiting = load_file(Path(self.checkpoint) / WEIGHTS_FILE)

    @torch.no_grad()
    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **kwargs: Any
    ) -> None:
        """Moves the average towards the new weights, and puts it into the model if this step is evaluated or saved."""
        decay = min(self.decay, (1 + state.global_step) / (10 + state.global_step))
        for name, tensor in _averaged(model):
            self._average[name].lerp_(tensor.to(self._average[name]), 1 - decay)
        if control.should_evaluate or control.should_save:
            self._average_into(model)

    @torch.no_grad()
    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **kwargs: Any
    ) -> None:
        """Puts the average into the model, before evaluation and saving."""
        self._average_into(model)

    def _average_into(self, model: Any) -> None:
        """Puts the average into the model, unless it is there already."""
        if self._waiting is None:
            self._waiting = _copy(model)
            self._load(model, self._average)

    @torch.no_grad()
    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **kwargs: Any
    ) -> None:
        """Restores the weights that were kept aside, to train on with; after the last step the average stays."""
        if self._waiting is not None:
            self._load(model, self._waiting)
            self._waiting = None

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Writes the weights that are kept aside into the checkpoint that was just saved."""
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if state.is_world_process_zero and self._waiting is not None and folder.is_dir():
            save_file({name: weight.contiguous() for name, weight in self._waiting.items()}, folder / WEIGHTS_FILE)

    @staticmethod
    def _load(model: Any, weights: dict[str, torch.Tensor]) -> None:
        for name, tensor in _averaged(model):
            tensor.copy_(weights[name].to(tensor))


def _averaged(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """The weights of a model and its statistics in floating point, without their gradients."""
    for name, tensor in itertools.chain(model.named_parameters(), model.named_buffers()):
        if tensor.is_floating_point():
            yield name, tensor.detach()


def _copy(model: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in _averaged(model)}
