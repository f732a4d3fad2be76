"""The base class of the encoders and heads of both model families."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from transformers import PreTrainedModel


class SpeechPreTrainedModel(PreTrainedModel):
    """Base class of all encoders and heads.

    A head and its encoder have the same parameters under the same names, and the head adds its own: so each loads the
    checkpoints of the other.
    """

    main_input_name = "input_features"
    supports_gradient_checkpointing = True
    # The loss is a mean over the batch: Trainer must divide it by the accumulation steps itself.
    accepts_loss_kwargs = False
    # The class that `AutoModel` loads from a checkpoint of this family.
    encoder_class: ClassVar[str]

    def save_pretrained(self, save_directory: str | Path, *arguments: Any, **options: Any) -> None:
        """Saves the model; where its code is saved too, `AutoModel` finds the encoder in it."""
        if self._auto_class is not None:
            module = type(self).__module__.rpartition(".")[2]
            auto_map = getattr(self.config, "auto_map", None) or {}
            self.config.auto_map = auto_map | {"AutoModel": f"{module}.{self.encoder_class}"}
        super().save_pretrained(save_directory, *arguments, **options)

    def select_hidden_states(
        self, states: Sequence[torch.Tensor], output_hidden_states: bool | None
    ) -> tuple[torch.Tensor, ...] | None:
        """The states if the argument, or by default the configuration, asks for them; None otherwise."""
        if output_hidden_states is None:
            output_hidden_states = getattr(self.config, "output_hidden_states", False)
        return tuple(states) if output_hidden_states else None


__all__ = ["SpeechPreTrainedModel"]
