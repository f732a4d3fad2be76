"""Recurrent layers that ignore padding, without packed sequences.

`pack_padded_sequence` gives the same results, but is slow on a CPU (`benchmarks/recurrence.py` measures it). Here each
direction is one dense call over the padded batch:

- Left to right, the padding comes after the valid frames and so cannot affect them.
- Right to left, each clip is first reversed *within its own length*, so its padding again comes last.

Padded frames of the output are zero, so a clip has the same output alone and in any batch.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer

from .fused_gru import FusedGRU

CELLS = {"lstm": nn.LSTM, "gru": nn.GRU}


def frame_mask(lengths: torch.Tensor, num_frames: int) -> torch.Tensor:
    """Returns a mask of the valid frames.

    Args:
        lengths: Valid frames of each clip, `(batch,)`.
        num_frames: Frames of the padded batch.

    Returns:
        Booleans `(batch, num_frames)`, true where a frame is valid.
    """
    return torch.arange(num_frames, device=lengths.device)[None, :] < lengths[:, None]


def valid_lengths(features: torch.Tensor, attention_mask: torch.Tensor | None, input_size: int) -> torch.Tensor:
    """Checks a model's input and returns the number of valid frames of each clip; without a mask, all are valid.

    Args:
        features: `(batch, frames, features)`.
        attention_mask: Ones then zeros (padding on the right), `(batch, frames)`, or `None`.
        input_size: Features of a frame that the model was built for.

    Returns:
        Lengths in frames, `(batch,)`, int64.

    Raises:
        ValueError: If the features have another shape, or the mask disagrees with them about batch or frames.
    """
    if features.ndim != 3 or features.shape[2] != input_size:
        raise ValueError(
            f"The model was built for input_features of the shape (batch, frames, {input_size}) and got "
            f"{tuple(features.shape)}: use the feature extractor saved with the model."
        )
    if attention_mask is None:
        return torch.full((features.shape[0],), features.shape[1], dtype=torch.long, device=features.device)
    if attention_mask.shape != features.shape[:2]:
        raise ValueError(
            f"attention_mask has the shape {tuple(attention_mask.shape)} but input_features have "
            f"{tuple(features.shape[:2])} (batch, frames): take both from one call of the feature extractor."
        )
    return attention_mask.sum(dim=1).to(torch.long)


def reverse_by_length(frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Reverses the valid frames of each clip in time; the padding stays at the end.

    Args:
        frames: `(batch, frames, features)`.
        lengths: Valid frames of each clip, `(batch,)`.

    Returns:
        A tensor of the same shape. Applied twice it is the identity.
    """
    positions = torch.arange(frames.shape[1], device=frames.device)[None, :]
    index = torch.where(positions < lengths[:, None], lengths[:, None] - 1 - positions, positions)
    return frames.gather(1, index[:, :, None].expand(-1, -1, frames.shape[2]))


class Dropout(nn.Dropout):
    """Dropout that is four times as fast on a CPU, since it draws only 16 random bits per value."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """In training, sets values to zero at random and scales the others."""
        dropped = round(self.p * 2**16)
        if not self.training or not 0 < dropped < 2**16 or input.device.type != "cpu":
            return super().forward(input)
        words = torch.empty(input.numel() // 4 + 1, dtype=torch.int64).random_(-(2**63), None)
        kept = words.view(torch.int16)[: input.numel()].view(input.shape) >= dropped - 2**15
        return input * kept.to(input.dtype).div_(1 - dropped / 2**16)


class RecurrentLayer(GradientCheckpointingLayer):
    """A unidirectional or bidirectional recurrent layer over padded clips.

    With gradient checkpointing, only the recurrence is recomputed in the backward pass, but not batch norm, which would
    update its running statistics twice.

    Args:
        cell: `"lstm"` or `"gru"`.
        input_size: Features of an input frame.
        hidden_size: Units of each direction.
        bidirectional: Whether a second recurrence reads the sequence backwards.

    Attributes:
        output_size: Features of an output frame: `hidden_size`, or twice that if bidirectional.
    """

    def __init__(self, cell: str, input_size: int, hidden_size: int, bidirectional: bool = False) -> None:
        super().__init__()
        self.forward_rnn = CELLS[cell](input_size, hidden_size, batch_first=True)
        self.backward_rnn = CELLS[cell](input_size, hidden_size, batch_first=True) if bidirectional else None
        self.hidden_size = hidden_size
        self.output_size = hidden_size * (2 if bidirectional else 1)

    def forward(self, frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Runs the layer.

        Args:
            frames: `(batch, frames, input_size)`, padded on the right.
            lengths: Valid frames of each clip, `(batch,)`.

        Returns:
            `(batch, frames, output_size)`; padded frames are zero. The forward direction comes first.
        """
        if self._fuse(frames, lengths):
            output = self._fused(frames, lengths)
        else:
            output = self.forward_rnn(frames)[0]
            if self.backward_rnn is not None:
                backward = self.backward_rnn(reverse_by_length(frames, lengths))[0]
                output = torch.cat((output, reverse_by_length(backward, lengths)), dim=-1)
        return output * frame_mask(lengths, frames.shape[1])[:, :, None]

    def _fuse(self, frames: torch.Tensor, lengths: torch.Tensor) -> bool:
        """Returns whether `FusedGRU` applies: in training, for a GRU on a CPU."""
        training = self.training and torch.is_grad_enabled() and not torch.compiler.is_compiling()
        on_cpu = frames.device.type == "cpu" and isinstance(self.forward_rnn, nn.GRU)
        return training and on_cpu and bool(lengths.any())

    def _fused(self, frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Computes the output with `FusedGRU`."""
        cells = [rnn for rnn in (self.forward_rnn, self.backward_rnn) if rnn is not None]
        autocast = torch.is_autocast_enabled("cpu")
        dtype = torch.get_autocast_dtype("cpu") if autocast else frames.dtype
        weights, input_weights, recurrent_biases, input_biases = (
            torch.stack([getattr(rnn, f"{name}_l0") for rnn in cells])
            for name in ("weight_hh", "weight_ih", "bias_hh", "bias_ih")
        )
        # Both biases of the reset and update gates can be added in advance, but only the input bias of the new gate.
        summed, new_bias = recurrent_biases.split((2 * self.hidden_size, self.hidden_size), dim=1)
        biases = input_biases + F.pad(summed, (0, self.hidden_size))
        output: torch.Tensor = FusedGRU.apply(
            frames.to(dtype), lengths, input_weights.to(dtype), biases, weights.to(dtype), new_bias
        )
        return output


@torch.no_grad()
def initialize_recurrence(rnn: nn.LSTM | nn.GRU) -> None:
    """Initializes a recurrence: Glorot input weights, an orthogonal matrix per gate, forget-gate biases of 1.

    Orthogonal recurrent weights keep gradients alive over time (Saxe et al., arXiv 1312.6120); a forget-gate bias of 1
    lets an LSTM remember from the first step on (Jozefowicz et al., 2015). transformers initializes LSTMs differently,
    and GRUs not at all. Parameters that were loaded from a checkpoint are not changed.
    """
    for name, parameter in rnn.named_parameters():
        if getattr(parameter, "_is_hf_initialized", False):
            continue
        if name.startswith("weight_ih"):
            init.xavier_uniform_(parameter)
        elif name.startswith("weight_hh"):
            for gate in parameter.split(rnn.hidden_size):
                init.orthogonal_(gate)
        else:
            init.zeros_(parameter)
            if isinstance(rnn, nn.LSTM) and name.startswith("bias_ih"):
                # torch orders the gates input, forget, cell, output.
                init.ones_(parameter[rnn.hidden_size : 2 * rnn.hidden_size])


__all__ = ["Dropout", "RecurrentLayer", "frame_mask", "initialize_recurrence", "reverse_by_length", "valid_lengths"]
