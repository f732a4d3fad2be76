"""Convolutions and batch norm that never see padding: what the front ends of both model families are made of.

Padding is invisible: what lies beyond a clip's last frame is zero before every convolution, as is what lies beyond the
batch; batch norm takes its statistics over valid frames only.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from .recurrent import frame_mask


def mask_frames(frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Sets padded frames of `(batch, frames, ...)` to zero."""
    mask = frame_mask(lengths, frames.shape[1])
    return frames * mask.reshape(*mask.shape, *[1] * (frames.ndim - 2))


class FrameConvolution(nn.Module):
    """A convolution over time (1-D) or time and frequency (2-D) of channels-last clips.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel: Frames, or frames and frequencies, that it spans.
        stride: Step in frames, or in frames and frequencies.
        causal: Whether it ends at the last frame its output frame spans instead of being centered.
        groups: Groups of channels that do not mix; as many as channels for a depthwise convolution.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        causal: bool = False,
        groups: int = 1,
    ) -> None:
        super().__init__()
        if isinstance(kernel, int):
            self.time_kernel, self.time_stride = kernel, int(stride)  # type: ignore[arg-type]
            self.convolution: nn.Module = nn.Conv1d(in_channels, out_channels, kernel, int(stride), groups=groups)  # type: ignore[arg-type]
        else:
            assert isinstance(stride, tuple)
            self.time_kernel, self.time_stride = kernel[0], stride[0]
            padding = (0, kernel[1] // 2)
            self.convolution = nn.Conv2d(in_channels, out_channels, kernel, stride, padding, groups=groups)
        overlap = self.time_kernel - self.time_stride
        self.left = max(overlap, 0) if causal else (self.time_kernel - 1) // 2

    def forward(self, frames: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Convolves `(batch, frames, channels)` or `(batch, frames, frequencies, channels)`; gives new lengths too."""
        count = frames.shape[1] // self.time_stride
        right = max((count - 1) * self.time_stride + self.time_kernel - self.left - frames.shape[1], 0)
        channels_first = mask_frames(frames, lengths).movedim(-1, 1)
        pads = (self.left, right) if channels_first.ndim == 3 else (0, 0, self.left, right)
        output = self.convolution(F.pad(channels_first, pads)).movedim(1, -1)[:, :count]
        return output, lengths // self.time_stride


class MaskedBatchNorm(nn.Module):
    """Batch norm over the valid frames of `(batch, frames, ..., channels)`; padded frames come out as zero."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Normalizes each channel."""
        mask = frame_mask(lengths, frames.shape[1])
        if not mask.any():  # Nothing to take statistics of.
            return torch.zeros_like(frames)
        valid = frames[mask]
        normalized = self.norm(valid.reshape(-1, valid.shape[-1])).reshape(valid.shape)
        output = torch.zeros(frames.shape, dtype=normalized.dtype, device=frames.device)
        output[mask] = normalized
        return output


__all__ = ["FrameConvolution", "MaskedBatchNorm", "mask_frames"]
