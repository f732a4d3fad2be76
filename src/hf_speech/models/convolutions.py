"""Convolutions and batch norm that ignore padding: the building blocks of all front ends.

Frames beyond a clip's end are set to zero before each convolution, and batch norm computes its statistics over valid
frames only, so the output for a clip does not depend on its padding.
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


def convolve_frames(
    convolution: nn.Module,
    frames: torch.Tensor,
    lengths: torch.Tensor,
    left: int | None = None,
    round_up: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Convolves clips over time, or over time and frequency.

    Args:
        convolution: An `nn.Conv1d` or `nn.Conv2d` that does not pad time itself.
        frames: `(batch, frames, channels)` or `(batch, frames, frequencies, channels)`.
        lengths: Valid frames of each clip, `(batch,)`.
        left: Zero frames before the first; None for a centered kernel.
        round_up: Whether an incomplete last step counts as a frame.

    Returns:
        The output in the same layout, with `frames // stride` frames (rounded up if `round_up`), and its lengths.
    """
    assert isinstance(convolution, nn.Conv1d | nn.Conv2d)
    kernel, stride = convolution.kernel_size[0], convolution.stride[0]
    left = (kernel - 1) // 2 if left is None else left
    more = stride - 1 if round_up else 0
    count = (frames.shape[1] + more) // stride
    right = max((count - 1) * stride + kernel - left - frames.shape[1], 0)
    channels_first = mask_frames(frames, lengths).movedim(-1, 1)
    pads = (left, right) if channels_first.ndim == 3 else (0, 0, left, right)
    output = convolution(F.pad(channels_first, pads)).movedim(1, -1)[:, :count]
    return output, (lengths + more) // stride


class FrameConvolution(nn.Module):
    """A convolution over time (1-D) or time and frequency (2-D) of channels-last clips, optionally causal.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel: Kernel size in frames, or in frames and frequencies.
        stride: Step in frames, or in frames and frequencies.
        causal: Whether the kernel ends at the last input frame of each output frame, instead of being centered.
        groups: Groups of channels that do not mix; as many as channels for a depthwise convolution.

    Attributes:
        left: Past frames that an output frame depends on.
        time_stride: Step in frames.
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
        self.convolution: nn.Conv1d | nn.Conv2d
        if isinstance(kernel, tuple):
            padding = (0, kernel[1] // 2)
            self.convolution = nn.Conv2d(in_channels, out_channels, kernel, stride, padding, groups=groups)
        else:
            assert isinstance(stride, int)
            self.convolution = nn.Conv1d(in_channels, out_channels, kernel, stride, groups=groups)
        time_kernel, self.time_stride = self.convolution.kernel_size[0], self.convolution.stride[0]
        self.left = max(time_kernel - self.time_stride, 0) if causal else (time_kernel - 1) // 2

    def forward(self, frames: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Convolves `(batch, frames, channels)` or `(batch, frames, frequencies, channels)`; returns lengths too."""
        return convolve_frames(self.convolution, frames, lengths, self.left)


class MaskedBatchNorm(nn.Module):
    """Batch norm over the valid frames of `(batch, frames, ..., channels)`; padded frames come out as zero.

    Non-finite values never enter the running statistics, so that a skipped training step leaves no trace. A batch of a
    single value, which has no variance, is normalized by the running statistics.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Normalizes each channel."""
        mask = frame_mask(lengths, frames.shape[1])
        if not mask.any():  # No valid frame to compute statistics from.
            return torch.zeros_like(frames)
        valid = frames[mask]
        normalized = self._normalize(valid.reshape(-1, valid.shape[-1])).reshape(valid.shape)
        output = torch.zeros(frames.shape, dtype=normalized.dtype, device=frames.device)
        output[mask] = normalized
        return output

    def _normalize(self, values: torch.Tensor) -> torch.Tensor:
        """Normalizes `(values, channels)`."""
        norm = self.norm
        if not norm.training or not isinstance(norm, nn.BatchNorm1d):
            normalized: torch.Tensor = norm(values)
            return normalized
        assert norm.running_mean is not None
        assert norm.running_var is not None
        if len(values) == 1:
            return F.batch_norm(values, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
        # Copies, because autograd keeps the tensors that batch norm updates.
        mean, variance = norm.running_mean.clone(), norm.running_var.clone()
        normalized = F.batch_norm(values, mean, variance, norm.weight, norm.bias, True, norm.momentum or 0.0, norm.eps)
        for statistic, updated in ((norm.running_mean, mean), (norm.running_var, variance)):
            statistic.copy_(torch.where(updated.isfinite(), updated, statistic))
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked.add_(1)
        return normalized


__all__ = ["FrameConvolution", "MaskedBatchNorm", "convolve_frames", "mask_frames"]
