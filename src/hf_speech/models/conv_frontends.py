"""The three convolutional front ends of `ConvGRUForCTC`, from features to what the recurrent layers read.

All of them keep two promises, which the layers of `convolutions.py` make once and for all:

- Padding is invisible: a clip has the same frames alone and in any batch.
- Frames are countable: a convolution of stride s makes `frames // s` of `frames`, so that the logits have exactly
  `samples // inputs_to_logits_ratio` frames.

A causal convolution ends at the last frame that its output frame spans, so it knows nothing of the future.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from .configuration_conv_gru import ConvGRUConfig
from .convolutions import FrameConvolution, MaskedBatchNorm, mask_frames


class DeepSpeech2FrontEnd(nn.Module):
    """Two or three 2-D convolutions, each with batch norm and a ReLU clipped at 20 (arXiv 1512.02595, section 3).

    Kernels are 41 x 11 and 21 x 11 (frequency x time); the first halves time, each halves frequency. 32 channels, and
    96 in the third.
    """

    KERNELS = ((11, 41), (11, 21), (11, 21))
    CHANNELS = (32, 32, 96)

    def __init__(self, config: ConvGRUConfig) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList()
        self.norms = nn.ModuleList()
        channels, frequencies = 1, config.input_size
        for index in range(config.num_convolutions):
            stride = (2 if index == 0 else 1, 2)
            self.convolutions.append(
                FrameConvolution(channels, self.CHANNELS[index], self.KERNELS[index], stride, config.causal)
            )
            channels = self.CHANNELS[index]
            self.norms.append(MaskedBatchNorm(channels))
            frequencies = (frequencies + 1) // 2
        self.dropout = nn.Dropout(config.dropout)
        self.output_size = channels * frequencies

    def forward(self, features: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """`(batch, frames, features)` to `(batch, frames // 2, output_size)`, and new lengths."""
        frames = features[..., None]
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            frames, lengths = convolution(frames, lengths)
            frames = F.hardtanh(norm(frames, lengths), 0.0, 20.0)
        return self.dropout(mask_frames(frames.flatten(2), lengths)), lengths


class ResidualBlock(nn.Module):
    """Layer norm over frequency, GELU, dropout, convolution, twice, plus the skip."""

    def __init__(self, channels: int, frequencies: int, dropout: float, causal: bool) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(frequencies) for _ in range(2))
        self.convolutions = nn.ModuleList(
            FrameConvolution(channels, channels, (3, 3), (1, 1), causal) for _ in range(2)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Maps `(batch, frames, frequencies, channels)` to the same shape."""
        skip = frames
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            frames = self.dropout(F.gelu(norm(frames.mT).mT))
            frames, _ = convolution(frames, lengths)
        return frames + skip


class ResidualFrontEnd(nn.Module):
    """A 2-D convolution that halves time and frequency, residual blocks, and a linear projection."""

    def __init__(self, config: ConvGRUConfig) -> None:
        super().__init__()
        self.stem = FrameConvolution(1, config.channels, (3, 3), (2, 2), config.causal)
        frequencies = (config.input_size + 1) // 2
        self.blocks = nn.ModuleList(
            ResidualBlock(config.channels, frequencies, config.dropout, config.causal)
            for _ in range(config.num_convolutions)
        )
        self.output_size = config.hidden_size
        self.projection = nn.Linear(frequencies * config.channels, self.output_size)

    def forward(self, features: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """`(batch, frames, features)` to `(batch, frames // 2, output_size)`, and new lengths."""
        frames, lengths = self.stem(features[..., None], lengths)
        for block in self.blocks:
            frames = block(frames, lengths)
        return mask_frames(self.projection(frames.flatten(2)), lengths), lengths


class SpectralStem(nn.Module):
    """Two 3 x 3 convolutions over time and frequency and a linear projection to the channels of what follows.

    What a speaker with a shorter vocal tract says looks shifted upwards: a kernel that moves over the frequencies still
    knows it, while one that mixes all of them at once has to learn each voice anew.
    """

    def __init__(self, input_size: int, stem_channels: int, channels: int, time_strides: tuple[int, int], causal: bool):
        super().__init__()
        self.convolutions = nn.ModuleList()
        for index, time_stride in enumerate(time_strides):
            in_channels = stem_channels if index else 1
            self.convolutions.append(FrameConvolution(in_channels, stem_channels, (3, 3), (time_stride, 2), causal))
        self.projection = nn.Linear((input_size + 3) // 4 * stem_channels, channels)

    def forward(self, features: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Maps `(batch, frames, features)` to `(batch, frames // strides, channels)`; gives new lengths too."""
        frames = features[..., None]
        for convolution in self.convolutions:
            frames, lengths = convolution(frames, lengths)
            frames = F.silu(frames)
        return self.projection(frames.flatten(2)), lengths


class SubsamplingFrontEnd(nn.Module):
    """Strided convolutions that shorten time early, where it is cheap, before anything expensive happens.

    The first one mixes all features (or is a `SpectralStem`); the others are depthwise-separable. Then come unstrided
    depthwise-separable convolutions with a skip. Each is followed by layer norm and SiLU.
    """

    def __init__(self, config: ConvGRUConfig) -> None:
        super().__init__()
        channels = config.channels
        halvings = config.subsampling.bit_length() - 1
        if config.stem_channels:
            time_strides = (2, 2 if halvings > 1 else 1)
            first: nn.Module = SpectralStem(
                config.input_size, config.stem_channels, channels, time_strides, config.causal
            )
            halvings -= sum(stride == 2 for stride in time_strides)
        else:
            first = FrameConvolution(config.input_size, channels, config.kernel_size, 2, config.causal)
            halvings -= 1
        self.convolutions = nn.ModuleList([first])
        self.strides = [0] + [2] * halvings + [1] * config.num_convolutions
        for stride in self.strides[1:]:
            self.convolutions.append(
                FrameConvolution(channels, channels, config.kernel_size, stride, config.causal, groups=channels)
            )
        self.pointwise = nn.ModuleList([nn.Identity(), *(nn.Linear(channels, channels) for _ in self.strides[1:])])
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in self.convolutions)
        self.dropout = nn.Dropout(config.dropout)
        self.output_size = channels

    def forward(self, features: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """`(batch, frames, features)` to `(batch, frames // subsampling, output_size)`, and new lengths."""
        frames = features
        layers = zip(self.strides, self.convolutions, self.pointwise, self.norms, strict=True)
        for stride, convolution, pointwise, norm in layers:
            skip = frames if stride == 1 else None
            frames, lengths = convolution(frames, lengths)
            frames = self.dropout(F.silu(norm(pointwise(frames))))
            if skip is not None:
                frames = frames + skip
        return mask_frames(frames, lengths), lengths


FRONT_ENDS: dict[str, Any] = {
    "deepspeech2": DeepSpeech2FrontEnd,
    "residual": ResidualFrontEnd,
    "subsampling": SubsamplingFrontEnd,
}

__all__ = ["FRONT_ENDS"]
