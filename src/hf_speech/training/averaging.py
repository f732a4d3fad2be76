"""Exponential moving average of the weights during training.

The average of the last steps is a better model than the last step (Polyak & Juditsky 1992), above all with little data.
The running statistics of batch norm are averaged too, because they depend on the weights. The model holds the average
whenever it is evaluated or saved, and between two epochs. The current weights are set aside meanwhile, and saved next
to each checkpoint, so that resumed training continues exactly.
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

from hf_speech.training.checkpoints import checkpoint_folder

WEIGHTS_FILE = "unaveraged.safetensors"


class WeightAveraging(TrainerCallback):
    """Averages a model's weights after each optimizer step.

    Args:
        decay: Decay of the average per step; smaller in the first steps, so that the initial weights fade quickly.
        checkpoint: The checkpoint that training resumes from.
    """

    def __init__(self, decay: float, checkpoint: str | None = None) -> None:
        self.decay = decay
        self.checkpoint = checkpoint
        self._average: dict[str, torch.Tensor] = {}
        self._current: dict[str, torch.Tensor] | None = None  # Current weights while the model holds the average.

    @torch.no_grad()
    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **kwargs: Any
    ) -> None:
        """Starts the average; resuming loads the average as the model, and the current weights from their own file."""
        self._average = _copy(model)
        if self.checkpoint is not None:
            self._current = load_file(Path(self.checkpoint) / WEIGHTS_FILE)

    @torch.no_grad()
    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **kwargs: Any
    ) -> None:
        """Updates the average, and loads it into the model if this step is evaluated or saved."""
        decay = min(self.decay, (1 + state.global_step) / (10 + state.global_step))
        for name, tensor in _averaged(model):
            self._average[name].lerp_(tensor.to(self._average[name]), 1 - decay)
        if control.should_evaluate or control.should_save:
            self._load_average(model)

    @torch.no_grad()
    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **kwargs: Any
    ) -> None:
        """Loads the average into the model, before evaluation and saving."""
        self._load_average(model)

    def _load_average(self, model: Any) -> None:
        """Loads the average into the model, unless the model already holds it."""
        if self._current is None:
            self._current = _copy(model)
            self._load(model, self._average)

    @torch.no_grad()
    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **kwargs: Any
    ) -> None:
        """Restores the current weights for training; after the last step, the model keeps the average."""
        if self._current is not None:
            self._load(model, self._current)
            self._current = None

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Writes the current weights to the checkpoint that was just saved."""
        folder = checkpoint_folder(args, state)
        if state.is_world_process_zero and self._current is not None and folder.is_dir():
            save_file({name: weight.contiguous() for name, weight in self._current.items()}, folder / WEIGHTS_FILE)

    @staticmethod
    def _load(model: Any, weights: dict[str, torch.Tensor]) -> None:
        for name, tensor in _averaged(model):
            tensor.copy_(weights[name].to(tensor))


def _averaged(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Yields the floating-point parameters and buffers of a model, detached."""
    for name, tensor in itertools.chain(model.named_parameters(), model.named_buffers()):
        if tensor.is_floating_point():
            yield name, tensor.detach()


def _copy(model: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in _averaged(model)}
