"""What the encoders and heads of both model families share as models of transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

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

    def wants_hidden_states(self, output_hidden_states: bool | None) -> bool:
        """Whether to return hidden states: as the argument says, or by default the configuration."""
        default = bool(getattr(self.config, "output_hidden_states", False))
        return default if output_hidden_states is None else bool(output_hidden_states)


__all__ = ["SpeechPreTrainedModel"]
