"""Frozen layers, gradual unfreezing, and learning rates by depth.

The levels of a model are the front end, each recurrent layer, and the head. Frozen weights keep their values exactly,
and frozen batch norm keeps its running statistics. No gradients are computed for layers that stay frozen to the end.
Gradual unfreezing (Howard & Ruder 2018, arXiv 1801.06146) starts at the head. It computes all gradients and drops those
of frozen layers, because DistributedDataParallel needs the same parameters in every step.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import nn

from hf_speech.errors import RecipeError
from hf_speech.models.convolutions import MaskedBatchNorm

_FRONT_END = re.compile(r"(?:frontend|stem|projection)\.")
_LAYER = re.compile(r"(?:layers|norms)\.(\d+)\.")
_AFTER_LAYERS = re.compile(r"(?:lookahead|norm)\.")


def layer_of(name: str) -> int | None:
    """Returns the index of the recurrent layer of a parameter or module, or None for other parts."""
    layer = _LAYER.match(name)
    return None if layer is None else int(layer[1])


def level_of(name: str, num_layers: int) -> int:
    """Returns the level of a parameter or module: 0 for the front end, then the recurrent layers, then the head.

    Args:
        name: Name in the model.
        num_layers: Number of recurrent layers of the model.
    """
    name = f"{name}."
    if _FRONT_END.match(name):
        return 0
    if (layer := layer_of(name)) is not None:
        return layer + 1
    return num_layers if _AFTER_LAYERS.match(name) else num_layers + 1


def count_layers(model: nn.Module) -> int:
    """Returns the number of recurrent layers of a model."""
    return len({layer_of(name) for name, _ in model.named_parameters()} - {None})


class Freezing:
    """Freezes parts of a model.

    Args:
        model: The model, before it is wrapped for several processes.
        parts: "frontend", "encoder" (the recurrent layers) or both.
        unfreeze_every: Number of epochs after which the topmost frozen level is unfrozen; None for never.

    Raises:
        RecipeError: If the model does not have the part.
    """

    def __init__(self, model: nn.Module, parts: Sequence[str], unfreeze_every: float | None = None) -> None:
        layers = count_layers(model)
        levels = [*([0] if "frontend" in parts else []), *(range(1, layers + 1) if "encoder" in parts else [])]
        self._every = unfreeze_every
        self._levels: list[tuple[list[nn.Parameter], list[nn.Module]]] = []
        for level in levels:
            parameters = [parameter for name, parameter in model.named_parameters() if level_of(name, layers) == level]
            norms: list[nn.Module] = [
                module
                for name, module in model.named_modules()
                if level_of(name, layers) == level and isinstance(module, MaskedBatchNorm)
            ]
            if not parameters:
                raise RecipeError("The model has no front end to freeze: remove it from training.freeze.")
            self._levels.append((parameters, norms))
        if unfreeze_every is None:
            for parameters, _ in self._levels:
                for parameter in parameters:
                    parameter.requires_grad_(False)

    def _frozen(self, epoch: float) -> list[tuple[list[nn.Parameter], list[nn.Module]]]:
        unfrozen = 0 if self._every is None else int(epoch / self._every + 1e-6)
        return self._levels[: max(len(self._levels) - unfrozen, 0)]

    def before_forward(self, epoch: float) -> None:
        """Puts the batch norm of frozen parts into evaluation mode, which `model.train()` has ended."""
        for _, norms in self._frozen(epoch):
            for norm in norms:
                norm.eval()

    def after_backward(self, epoch: float) -> None:
        """Drops the gradients of frozen parts, before clipping and the optimizer."""
        for parameters, _ in self._frozen(epoch):
            for parameter in parameters:
                parameter.grad = None


def scale_learning_rates(optimizer: torch.optim.Optimizer, model: nn.Module, decay: float) -> None:
    """Sets the learning rate of each level to `decay` times that of the level above.

    Args:
        optimizer: The optimizer of all parameters, before its first step and before the schedule is created.
        model: The model.
        decay: Ratio of the learning rates, above 0 and at most 1.
    """
    layers = count_layers(model)
    level = {id(parameter): level_of(name, layers) for name, parameter in model.named_parameters()}
    groups = []
    for depth in range(layers + 2):  # The head is first, because the log shows the first group's learning rate.
        for group in optimizer.param_groups:
            parameters = [parameter for parameter in group["params"] if level[id(parameter)] == layers + 1 - depth]
            if parameters:
                groups.append({**group, "params": parameters, "lr": group["lr"] * decay**depth})
    optimizer.param_groups = groups
