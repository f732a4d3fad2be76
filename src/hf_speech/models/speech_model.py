"""The base class of the encoders and heads of both model families."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from transformers import PreTrainedModel


class SpeechPreTrainedModel(PreTrainedModel):
    """Base class of all encoders and heads.

    A model with a head has its encoder's parameters under the same names, and those of the head, so either can load the
    other's checkpoints.
    """

    main_input_name = "input_features"
    supports_gradient_checkpointing = True
    # The loss is a mean over the batch, so Trainer has to divide it by the number of accumulation steps.
    accepts_loss_kwargs = False
    # The class that `AutoModel` loads from a checkpoint of this family.
    encoder_class: ClassVar[str]

    def save_pretrained(self, save_directory: str | Path, *arguments: Any, **options: Any) -> None:
        """Saves the model; if its code is saved too, registers the encoder for `AutoModel`."""
        if self._auto_class is not None:
            module = type(self).__module__.rpartition(".")[2]
            auto_map = getattr(self.config, "auto_map", None) or {}
            self.config.auto_map = auto_map | {"AutoModel": f"{module}.{self.encoder_class}"}
        super().save_pretrained(save_directory, *arguments, **options)

    def select_hidden_states(
        self, states: Sequence[torch.Tensor], output_hidden_states: bool | None
    ) -> tuple[torch.Tensor, ...] | None:
        """Returns the states if the argument, or by default the configuration, requests them, else None."""
        if output_hidden_states is None:
            output_hidden_states = getattr(self.config, "output_hidden_states", False)
        return tuple(states) if output_hidden_states else None


__all__ = ["SpeechPreTrainedModel"]
