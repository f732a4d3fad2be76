"""Writes the front ends of `models/frontends.py` into an ONNX graph.

The writer of a front end, named in the registry, is a function `(builder, frontend, x, masks, input_size)` that returns
`(x, masks)`: from features `(batch, frames, input_size)` and their masks to the output of the front end and its masks.
"""

from __future__ import annotations

from pkgutil import resolve_name
from typing import Any

import numpy as np
from torch import nn

from hf_speech.export.graph import Value
from hf_speech.export.layers import Builder, Masks
from hf_speech.models.frontends import (
    FRONT_ENDS,
    DeepSpeech2FrontEnd,
    ResidualBlock,
    ResidualFrontEnd,
    SpectralFrontEnd,
    SpectralStem,
    StridedFrontEnd,
    SubsamplingFrontEnd,
)


def write_front_end(
    builder: Builder, name: str, module: nn.Module, x: Value, masks: Masks, input_size: int
) -> tuple[Value, Masks]:
    """Writes a front end with the writer that its entry in `FRONT_ENDS` names.

    Returns:
        The output of the front end, `(batch, frames, size)`, and its masks.
    """
    writer: Any = resolve_name(FRONT_ENDS[name].onnx_writer)
    written: tuple[Value, Masks] = writer(builder, module, x, masks, input_size)
    return written


def write_deepspeech2(
    builder: Builder, frontend: DeepSpeech2FrontEnd, x: Value, masks: Masks, frequencies: int
) -> tuple[Value, Masks]:
    """Writes 2-D convolutions with batch norm and a clipped ReLU."""
    x = x.unsqueeze(1)
    for index, (convolution, norm) in enumerate(zip(frontend.convolutions, frontend.norms, strict=True)):
        x, masks = builder.convolution(x, masks, convolution, f"convolution_{index}", frequencies)
        x = builder.batch_norm(x, norm, dimensions_after=2).clip(np.float32(0), np.float32(20))
        frequencies = (frequencies + 1) // 2
    return _flatten(x, frontend.output_size), masks


def write_residual(
    builder: Builder, frontend: ResidualFrontEnd, x: Value, masks: Masks, frequencies: int
) -> tuple[Value, Masks]:
    """Writes a 2-D convolution, residual blocks and a projection."""
    x, masks = builder.convolution(x.unsqueeze(1), masks, frontend.stem, "convolution_stem", frequencies)
    frequencies = (frequencies + 1) // 2
    for number, block in enumerate(frontend.blocks):
        assert isinstance(block, ResidualBlock)
        skip = x
        for index, (norm, convolution) in enumerate(zip(block.norms, block.convolutions, strict=True)):
            x = builder.gelu(builder.layer_norm(x, norm))
            x, masks = builder.convolution(x, masks, convolution, f"convolution_{number}_{index}", frequencies)
        x = x + skip
    return builder.linear(_flatten(x, frontend.projection.in_features), frontend.projection), masks


def write_subsampling(
    builder: Builder, frontend: SubsamplingFrontEnd, x: Value, masks: Masks, frequencies: int
) -> tuple[Value, Masks]:
    """Writes strided depthwise-separable convolutions."""
    layers = zip(frontend.strides, frontend.convolutions, frontend.pointwise, frontend.norms, strict=True)
    for index, (stride, convolution, pointwise, norm) in enumerate(layers):
        skip = x
        if isinstance(convolution, SpectralStem):
            x, masks = _spectral_stem(builder, convolution, x, masks, frequencies)
        else:
            x, masks = builder.convolution(x, masks, convolution, f"convolution_{index}")
        if isinstance(pointwise, nn.Linear):
            x = builder.linear(x, pointwise)
        x = builder.silu(builder.layer_norm(x, norm))
        if stride == 1:
            x = x + skip
    return x, masks


def write_strided(
    builder: Builder, frontend: StridedFrontEnd, x: Value, masks: Masks, frequencies: int
) -> tuple[Value, Masks]:
    """Writes strided convolutions that round the number of frames up."""
    for convolution, norm in zip(frontend.convolutions, frontend.norms, strict=True):
        x = builder.centered_convolution(masks.apply(x).transpose(0, 2, 1), convolution).transpose(0, 2, 1)
        x = builder.gelu(builder.layer_norm(x, norm))
        masks = masks.halve(round_up=True)
    return x, masks


def write_spectral(
    builder: Builder, frontend: SpectralFrontEnd, x: Value, masks: Masks, frequencies: int
) -> tuple[Value, Masks]:
    """Writes convolutions over time and frequency that round the number of frames up."""
    x = masks.apply(x).reshape(0, 0, frontend.num_maps, -1).transpose(0, 2, 1, 3)
    for convolution, norm in zip(frontend.convolutions, frontend.norms, strict=True):
        assert isinstance(convolution, nn.Conv2d)
        x = builder.centered_convolution(x, convolution)
        if convolution.stride[0] == 2:
            masks = masks.halve(round_up=True)
        x = masks.apply(builder.relu(builder.batch_norm(x, norm, dimensions_after=2)), 1, 1)
    x = builder.linear(_flatten(x, frontend.projection.in_features), frontend.projection)
    return builder.relu(builder.batch_norm(x, frontend.norm)), masks


def _spectral_stem(
    builder: Builder, stem: SpectralStem, x: Value, masks: Masks, frequencies: int
) -> tuple[Value, Masks]:
    x = x.unsqueeze(1)
    for index, convolution in enumerate(stem.convolutions):
        x, masks = builder.convolution(x, masks, convolution, f"convolution_stem_{index}", frequencies)
        x, frequencies = builder.silu(x), (frequencies + 1) // 2
    return builder.linear(_flatten(x, stem.projection.in_features), stem.projection), masks


def _flatten(x: Value, size: int) -> Value:
    """Reshapes `(batch, channels, frames, frequencies)` to `(batch, frames, frequencies * channels)`."""
    return x.transpose(0, 2, 3, 1).reshape(0, 0, size)
