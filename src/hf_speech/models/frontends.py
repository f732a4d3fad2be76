"""Front ends: the layers between the features and the recurrent layers of both model families, and their registry.

Every front end follows two rules, which the layers of `convolutions.py` implement:

- A clip has the same output alone and in any batch.
- `frames` input frames become `frames // stride` output frames, rounded up if `round_up` is set.

Configurations, models, streaming, the ONNX export and the model card look up everything about a front end in
`FRONT_ENDS`. To add one, write its module and entry here, and the function that its `onnx_writer` names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from .convolutions import FrameConvolution, MaskedBatchNorm, convolve_frames, mask_frames
from .recurrent import Dropout


class DeepSpeech2FrontEnd(nn.Module):
    """Two or three 2-D convolutions, each with batch norm and a ReLU clipped at 20 (arXiv 1512.02595, section 3).

    Kernels are 41 x 11 and 21 x 11 (frequency x time); the first halves time, each halves frequency. 32 channels, and
    96 in the third.
    """

    KERNELS = ((11, 41), (11, 21), (11, 21))
    CHANNELS = (32, 32, 96)

    def __init__(self, config: Any, input_size: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList()
        self.norms = nn.ModuleList()
        channels, frequencies = 1, input_size
        for index in range(config.num_convolutions):
            stride = (2 if index == 0 else 1, 2)
            self.convolutions.append(
                FrameConvolution(channels, self.CHANNELS[index], self.KERNELS[index], stride, config.causal)
            )
            channels = self.CHANNELS[index]
            self.norms.append(MaskedBatchNorm(channels))
            frequencies = (frequencies + 1) // 2
        self.dropout = Dropout(config.dropout)
        self.output_size = channels * frequencies

    def forward(self, features: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Maps `(batch, frames, features)` to `(batch, frames // 2, output_size)`; also returns new lengths."""
        frames = features[..., None]
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            frames, lengths = convolution(frames, lengths)
            frames = F.hardtanh(norm(frames, lengths), 0.0, 20.0)
        return self.dropout(mask_frames(frames.flatten(2), lengths)), lengths


class ResidualBlock(nn.Module):
    """Layer norm over frequency, GELU, dropout and a convolution, twice, with a skip connection."""

    def __init__(self, channels: int, frequencies: int, dropout: float, causal: bool) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(frequencies) for _ in range(2))
        self.convolutions = nn.ModuleList(
            FrameConvolution(channels, channels, (3, 3), (1, 1), causal) for _ in range(2)
        )
        self.dropout = Dropout(dropout)

    def forward(self, frames: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Maps `(batch, frames, frequencies, channels)` to the same shape."""
        skip = frames
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            frames = self.dropout(F.gelu(norm(frames.mT).mT))
            frames, _ = convolution(frames, lengths)
        return frames + skip


class ResidualFrontEnd(nn.Module):
    """A 2-D convolution that halves time and frequency, residual blocks, and a linear projection."""

    def __init__(self, config: Any, input_size: int) -> None:
        super().__init__()
        self.stem = FrameConvolution(1, config.channels, (3, 3), (2, 2), config.causal)
        frequencies = (input_size + 1) // 2
        self.blocks = nn.ModuleList(
            ResidualBlock(config.channels, frequencies, config.dropout, config.causal)
            for _ in range(config.num_convolutions)
        )
        self.output_size = config.hidden_size
        self.projection = nn.Linear(frequencies * config.channels, self.output_size)

    def forward(self, features: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Maps `(batch, frames, features)` to `(batch, frames // 2, output_size)`; also returns new lengths."""
        frames, lengths = self.stem(features[..., None], lengths)
        for block in self.blocks:
            frames = block(frames, lengths)
        return mask_frames(self.projection(frames.flatten(2)), lengths), lengths


class SpectralStem(nn.Module):
    """Two 3 x 3 convolutions over time and frequency, and a linear projection to `channels`.

    A shorter vocal tract shifts speech upwards in frequency. A kernel that moves along the frequency axis still matches
    it, while one that mixes all frequencies at once has to learn each voice separately.
    """

    def __init__(self, input_size: int, stem_channels: int, channels: int, time_strides: tuple[int, int], causal: bool):
        super().__init__()
        self.convolutions = nn.ModuleList()
        for index, time_stride in enumerate(time_strides):
            in_channels = stem_channels if index else 1
            self.convolutions.append(FrameConvolution(in_channels, stem_channels, (3, 3), (time_stride, 2), causal))
        self.projection = nn.Linear((input_size + 3) // 4 * stem_channels, channels)

    def forward(self, features: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Maps `(batch, frames, features)` to `(batch, frames // strides, channels)`; also returns new lengths."""
        frames = features[..., None]
        for convolution in self.convolutions:
            frames, lengths = convolution(frames, lengths)
            frames = F.silu(frames)
        return self.projection(frames.flatten(2)), lengths


class SubsamplingFrontEnd(nn.Module):
    """Strided convolutions that shorten time first, which makes all later layers cheaper.

    The first one mixes all features (or is a `SpectralStem`); the others are depthwise-separable, followed by unstrided
    depthwise-separable convolutions with skip connections. Layer norm and SiLU follow each convolution.
    """

    def __init__(self, config: Any, input_size: int) -> None:
        super().__init__()
        channels = config.channels
        halvings = config.subsampling.bit_length() - 1
        if config.stem_channels:
            time_strides = (2, 2 if halvings > 1 else 1)
            first: nn.Module = SpectralStem(input_size, config.stem_channels, channels, time_strides, config.causal)
            halvings -= sum(stride == 2 for stride in time_strides)
        else:
            first = FrameConvolution(input_size, channels, config.kernel_size, 2, config.causal)
            halvings -= 1
        self.convolutions = nn.ModuleList([first])
        self.strides = [0] + [2] * halvings + [1] * config.num_convolutions
        for stride in self.strides[1:]:
            self.convolutions.append(
                FrameConvolution(channels, channels, config.kernel_size, stride, config.causal, groups=channels)
            )
        self.pointwise = nn.ModuleList([nn.Identity(), *(nn.Linear(channels, channels) for _ in self.strides[1:])])
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in self.convolutions)
        self.dropout = Dropout(config.dropout)
        self.output_size = channels

    def forward(self, features: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Maps `(batch, frames, features)` to `(batch, frames // subsampling, output_size)`; returns lengths too."""
        frames = features
        layers = zip(self.strides, self.convolutions, self.pointwise, self.norms, strict=True)
        for stride, convolution, pointwise, norm in layers:
            skip = frames if stride == 1 else None
            frames, lengths = convolution(frames, lengths)
            frames = self.dropout(F.silu(norm(pointwise(frames))))
            if skip is not None:
                frames = frames + skip
        return mask_frames(frames, lengths), lengths


class StridedFrontEnd(nn.Module):
    """Convolutions over time with kernel 3 and stride 2, each followed by layer norm and GELU."""

    def __init__(self, config: Any, input_size: int) -> None:
        super().__init__()
        self.output_size = channels = config.hidden_size
        sizes = [input_size] + [channels] * (config.subsampling.bit_length() - 1)
        self.convolutions = nn.ModuleList(nn.Conv1d(size, channels, kernel_size=3, stride=2) for size in sizes[:-1])
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in self.convolutions)
        self.dropout = Dropout(config.dropout)

    def forward(self, features: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Maps `(batch, frames, features)` to `(batch, ceil(frames / subsampling), output_size)`; returns lengths."""
        frames = features
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            frames, lengths = convolve_frames(convolution, frames, lengths, round_up=True)
            frames = self.dropout(F.gelu(norm(frames)))
        return mask_frames(frames, lengths), lengths


class SpectralFrontEnd(nn.Module):
    """Convolutions over time and frequency, each with batch norm and ReLU, and a linear projection.

    Each convolution halves the frequencies; the first ones also halve time, until it is shortened by `subsampling`. The
    first kernel is 5 x 5, the others 3 x 3. Features and their deltas are input channels. See `SpectralStem` for why
    kernels move along the frequency axis.
    """

    def __init__(self, config: Any, input_size: int) -> None:
        super().__init__()
        self.output_size = config.hidden_size
        self.num_maps = config.num_deltas + 1
        halvings = config.subsampling.bit_length() - 1
        self.convolutions = nn.ModuleList()
        size = self.num_maps
        for index, channels in enumerate(config.stem_channels):
            kernel, stride = 3 if index else 5, 2 if index < halvings else 1
            self.convolutions.append(nn.Conv2d(size, channels, kernel, (stride, 2), (0, kernel // 2)))
            size = channels
        self.norms = nn.ModuleList(MaskedBatchNorm(channels) for channels in config.stem_channels)
        frequencies = -(-input_size // self.num_maps // 2 ** len(config.stem_channels))
        self.projection = nn.Linear(frequencies * size, self.output_size)
        self.norm = MaskedBatchNorm(self.output_size)
        self.dropout = Dropout(config.dropout)

    def forward(self, features: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Maps `(batch, frames, features)` to `(batch, ceil(frames / subsampling), output_size)`; returns lengths."""
        frames = features.unflatten(2, (self.num_maps, -1)).movedim(2, 3)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            frames, lengths = convolve_frames(convolution, frames, lengths, round_up=True)
            frames = F.relu(norm(frames, lengths))
        frames = self.projection(self.dropout(frames.flatten(2)))
        return self.dropout(F.relu(self.norm(frames, lengths))), lengths


@dataclass(frozen=True)
class FrontEnd:
    """An entry of `FRONT_ENDS`.

    Attributes:
        module: Creates the module from a configuration and the number of input features. The module maps features
            `(batch, frames, features)` and lengths `(batch,)` to `(batch, frames // stride, output_size)` and new
            lengths, and has the attribute `output_size`.
        stride: Returns the number of input frames per output frame for a configuration.
        onnx_writer: The function that writes the module into an ONNX graph, as `module:function`.
        sentence: Returns the subject of the model card's sentence "... shorten time" for a configuration.
        options: Fields that a configuration needs for this front end.
        streams: Whether a causal model with this front end can stream: the output then depends on no later frame, and
            on earlier frames only through `FrameConvolution`s.
        round_up: Whether an incomplete last step counts as a frame.
    """

    module: Callable[[Any, int], Any]
    stride: Callable[[Any], int]
    onnx_writer: str
    sentence: Callable[[Any], str]
    options: tuple[str, ...] = ()
    streams: bool = False
    round_up: bool = False


_WRITERS = "hf_speech.export.frontends"

FRONT_ENDS: dict[str, FrontEnd] = {
    "deepspeech2": FrontEnd(
        DeepSpeech2FrontEnd,
        stride=lambda config: 2,
        onnx_writer=f"{_WRITERS}:write_deepspeech2",
        sentence=lambda config: "2-D convolutions as in Deep Speech 2",
        options=("num_convolutions", "causal", "dropout"),
        streams=True,
    ),
    "residual": FrontEnd(
        ResidualFrontEnd,
        stride=lambda config: 2,
        onnx_writer=f"{_WRITERS}:write_residual",
        sentence=lambda config: (
            f"a 2-D convolution and {config.num_convolutions} residual blocks of {config.channels} channels"
        ),
        options=("channels", "num_convolutions", "hidden_size", "causal", "dropout"),
        streams=True,
    ),
    "subsampling": FrontEnd(
        SubsamplingFrontEnd,
        stride=lambda config: config.subsampling,
        onnx_writer=f"{_WRITERS}:write_subsampling",
        sentence=lambda config: f"strided depthwise-separable convolutions of {config.channels} channels",
        options=("channels", "subsampling", "num_convolutions", "kernel_size", "stem_channels", "causal", "dropout"),
        streams=True,
    ),
    "strided": FrontEnd(
        StridedFrontEnd,
        stride=lambda config: config.subsampling,
        onnx_writer=f"{_WRITERS}:write_strided",
        sentence=lambda config: f"strided convolutions of {config.hidden_size} channels",
        options=("subsampling", "hidden_size", "dropout"),
        round_up=True,
    ),
    "spectral": FrontEnd(
        SpectralFrontEnd,
        stride=lambda config: config.subsampling,
        onnx_writer=f"{_WRITERS}:write_spectral",
        sentence=lambda config: f"{len(config.stem_channels)} convolutions over time and frequency",
        options=("subsampling", "stem_channels", "num_deltas", "hidden_size", "dropout"),
        round_up=True,
    ),
}


def check_front_end(name: str, config: Any, round_up: bool) -> FrontEnd:
    """Returns the entry of the front end that a configuration names.

    Args:
        name: Name of the front end.
        config: The configuration.
        round_up: Whether the model accepts front ends that round the number of frames up.

    Raises:
        ValueError: If there is no such front end, or it does not suit the model.
    """
    if name not in FRONT_ENDS:
        raise ValueError(f"frontend={name!r} is unknown: it must be one of {', '.join(FRONT_ENDS)}.")
    entry = FRONT_ENDS[name]
    missing = [option for option in entry.options if not hasattr(config, option)]
    if missing or (entry.round_up and not round_up):
        fault = f"which has no {missing[0]}" if missing else "whose frames must not be rounded up"
        raise ValueError(f"frontend={name!r} does not suit {type(config).__name__}, {fault}: take another one.")
    return entry


__all__ = ["FRONT_ENDS", "FrontEnd", "check_front_end"]
