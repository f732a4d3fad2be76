"""Writes the layers of both model families into an ONNX graph.

`Builder` reads PyTorch modules and records which parameters it used. A parameter that is left over at the end belongs
to a part of the model that the export does not support, so the export fails.

- Recurrences are ONNX's GRU and LSTM nodes. They accept the length of each clip, so a bidirectional layer is one node
  without masks or reversals.
- For int8, a GRU is a loop (`Scan`) over products with int8 weights, because no runtime has an int8 GRU. The loop is
  also faster, since the weights fit into the cache. Both directions share each step. The product is onnxruntime's
  `MatMulNBits`, optimized for single rows, which takes two thirds of the time of the product of its dynamic
  quantization.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from hf_speech.errors import ModelError
from hf_speech.export.graph import MICROSOFT, Graph, Value
from hf_speech.models.convolutions import FrameConvolution, MaskedBatchNorm
from hf_speech.models.recurrent import RecurrentLayer

# Positions of PyTorch's gates in ONNX's order; GRU: reset, update, new; LSTM: input, forget, cell, output.
GATES = {"GRU": (1, 0, 2), "LSTM": (0, 3, 1, 2)}

# The range of numbers of inputs that share a scale in an int8 product of the loop.
LARGEST_BLOCK, SMALLEST_BLOCK = 256, 16

Shape = tuple[int | str, ...]
"""The sizes of dimensions; free dimensions have names."""


@dataclass
class State:
    """A state that a stream keeps between pieces.

    Attributes:
        name: The name of the input; that of the output is prefixed with `next_`.
        shape: The shape at the beginning of a recording, when all values are zero.
    """

    name: str
    shape: Shape


Maker = Callable[[bool], Graph]
"""Makes a graph, given whether to write GRUs as loops of matrix products, to be quantized."""


@dataclass(frozen=True)
class GraphOf:
    """A graph of an exported model.

    Attributes:
        make: Makes the graph.
        states: The shapes of a stream's states at the beginning, by name.
        latency: For a stream, the number of seconds from the beginning of a logit frame until it is known.
        first_samples: For a stream, the number of samples that the first logit frame depends on, without lookahead.
    """

    make: Maker
    states: dict[str, Shape] = field(default_factory=dict)
    latency: float = 0.0
    first_samples: int = 0


@dataclass
class Builder:
    """Writes modules into a graph.

    Attributes:
        graph: The graph.
        loops: Whether to write GRUs as loops over matrix products, to be quantized.
        num_new: For a stream, the number of new frames of the recurrence, `(1,)`, which may be 0; None for whole
            recordings.
        states: The states of a stream, in the order of the inputs.
    """

    graph: Graph
    loops: bool = False
    num_new: Value | None = None
    states: list[State] = field(default_factory=list)
    _used: set[int] = field(default_factory=set)

    def array(self, parameter: torch.Tensor) -> np.ndarray:
        """Returns the values of a parameter and marks it as used."""
        self._used.add(id(parameter))
        return parameter.detach().float().cpu().numpy()

    def check_all_used(self, model: nn.Module, unneeded: Iterable[str], name: str) -> None:
        """Raises `ModelError` if the model has parameters that were not used, except for the `unneeded` ones."""
        tensors = [*model.named_parameters(), *model.named_buffers()]
        unused = [key for key, value in tensors if id(value) not in self._used and not key.startswith(tuple(unneeded))]
        unused = [key for key in unused if not key.endswith("num_batches_tracked")]
        if unused:
            raise ModelError(
                f"{name} has parts that cannot be exported, such as {unused[0]}: update hf_speech, or use the model "
                "with PyTorch."
            )

    def read_state(self, name: str, shape: Shape, initial: Shape | None = None) -> Value:
        """Adds an input for a state after the previous piece."""
        self.states.append(State(name, initial or shape))
        return self.graph.input(name, "float32", shape)

    def write_state(self, state: str, value: Value, shape: Shape) -> None:
        """Adds an output for a state."""
        self.graph.output(value, f"next_{state}", "float32", shape)

    def linear(self, x: Value, module: nn.Module) -> Value:
        """Writes a linear layer over `(..., features)`."""
        assert isinstance(module, nn.Linear)
        return self._product(x, self.array(module.weight)) + self.array(module.bias)

    def _product(self, x: Value, weight: np.ndarray) -> Value:
        """Multiplies `(..., inputs)` by the transpose of a weight `(outputs, inputs)`.

        In an int8 stream, the weight is quantized here, so that the result of a row does not depend on the other rows,
        which belong to other frames and streams. Elsewhere onnxruntime's dynamic quantization is faster.
        """
        if self.loops and self.num_new is not None:
            return self._int8_product(self.graph, x, weight)
        return x @ weight.T

    def layer_norm(self, x: Value, module: nn.Module) -> Value:
        """Writes layer norm over the last dimension."""
        assert isinstance(module, nn.LayerNorm)
        scale, bias = self.array(module.weight), self.array(module.bias)
        return self.graph.op("LayerNormalization", x, scale, bias, axis=-1, epsilon=module.eps)

    def batch_norm(self, x: Value, module: nn.Module, dimensions_after: int = 0) -> Value:
        """Writes batch norm with the statistics of training; `dimensions_after` dimensions follow the channels."""
        assert isinstance(module, MaskedBatchNorm)
        norm = module.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = self.array(norm.weight) / np.sqrt(self.array(norm.running_var) + norm.eps)
        shift = self.array(norm.bias) - self.array(norm.running_mean) * scale
        shape = (-1, *[1] * dimensions_after)
        return x * scale.reshape(shape) + shift.reshape(shape)

    def silu(self, x: Value) -> Value:
        """Writes the SiLU, also called swish."""
        return x * self.graph.op("Sigmoid", x)

    def relu(self, x: Value) -> Value:
        """Writes the ReLU."""
        return self.graph.op("Relu", x)

    def gelu(self, x: Value) -> Value:
        """Writes the exact GELU."""
        return x * (self.graph.op("Erf", x * float(np.sqrt(0.5))) + 1.0) * 0.5

    def convolution(
        self, x: Value, masks: Masks, module: nn.Module, name: str, frequencies: int = 0
    ) -> tuple[Value, Masks]:
        """Writes a convolution over time, or over time and frequency.

        Args:
            x: `(batch, frames, channels)` or `(batch, channels, frames, frequencies)`; the number of frames is a
                multiple of the stride.
            masks: The masks of the frames.
            module: The convolution.
            name: The name of its state.
            frequencies: The number of frequencies of the input of a 2-D convolution.

        Returns:
            The output in the same layout, whose number of frames is divided by the stride, and its masks.
        """
        assert isinstance(module, FrameConvolution)
        inner = module.convolution
        assert isinstance(inner, nn.Conv1d | nn.Conv2d)
        assert inner.bias is not None
        x = masks.apply(x) if isinstance(inner, nn.Conv1d) else masks.apply(x, 1, 1)
        before, after = module.left, max(inner.kernel_size[0] - module.left - module.time_stride, 0)
        if self.num_new is not None and before:
            shape: Shape = ("batch", before, inner.in_channels)
            axis = 1
            if isinstance(inner, nn.Conv2d):
                shape, axis = ("batch", inner.in_channels, before, frequencies), 2
            x = self.graph.concat(axis, self.read_state(name, shape), x)
            self.write_state(name, x.slice(axis, masks.num_frames, masks.num_frames + before), shape)
            before = 0
        masks = masks.halve() if module.time_stride == 2 else masks
        if isinstance(inner, nn.Conv1d):
            return self.convolve(x, inner, before, after), masks
        across = int(inner.padding[1])
        convolved = self.graph.op(
            "Conv",
            x,
            self.array(inner.weight),
            self.array(inner.bias),
            strides=list(inner.stride),
            pads=[before, across, after, across],
            group=inner.groups,
        )
        return convolved, masks

    def convolve(self, x: Value, module: nn.Conv1d, before: int, after: int) -> Value:
        """Writes a convolution of `(batch, frames, channels)` over time, with `before` and `after` frames of zeros.

        It has a second dimension of size 1, because onnxruntime's depthwise convolutions are fast in two dimensions
        only (one frame of 384 channels: 8 us instead of 50).
        """
        assert module.bias is not None
        convolved = self.graph.op(
            "Conv",
            x.unsqueeze(1).transpose(0, 3, 1, 2),
            self.array(module.weight)[:, :, None],
            self.array(module.bias),
            strides=[1, *module.stride],
            pads=[0, before, 0, after],
            group=module.groups,
        )
        return convolved.transpose(0, 2, 3, 1).squeeze(1)

    def centered_convolution(self, x: Value, module: nn.Module) -> Value:
        """Writes a centered convolution over `(batch, channels, ...)` that rounds the number of steps up."""
        assert isinstance(module, nn.Conv1d | nn.Conv2d)
        assert module.bias is not None
        weight, bias = self.array(module.weight), self.array(module.bias)
        pads = [size // 2 for size in module.kernel_size] * 2
        return self.graph.op("Conv", x, weight, bias, strides=list(module.stride), pads=pads, group=module.groups)

    def recurrence(self, x: Value, layer: nn.Module, lengths: Value | None, name: str) -> Value:
        """Writes a unidirectional or bidirectional recurrent layer.

        Args:
            x: `(frames, batch, features)`.
            layer: The layer.
            lengths: The number of frames of each clip, int64, at least 1, `(batch,)`; None in a stream.
            name: The name of its state.

        Returns:
            `(frames, batch, output_size)`; padded frames are finite but arbitrary.
        """
        assert isinstance(layer, RecurrentLayer)
        rnns = [layer.forward_rnn] + ([layer.backward_rnn] if layer.backward_rnn is not None else [])
        kind = "GRU" if isinstance(layer.forward_rnn, nn.GRU) else "LSTM"
        size = layer.hidden_size
        weights = [[self._gates(kind, parameter, size) for parameter in rnn._flat_weights] for rnn in rnns]
        initial = None if self.num_new is None else self.read_state(name, (1, "batch", size))
        if self.loops and kind == "GRU":
            output = self._gru_loop(x, weights, size, lengths, initial)
        else:
            output = self._recurrence_node(kind, x, weights, size, lengths, initial)
        if len(rnns) == 1:
            output = output.squeeze(1)
            if initial is not None:
                assert self.num_new is not None
                states = self.graph.concat(0, initial, output)
                self.write_state(name, states.slice(0, self.num_new, self.num_new + 1), (1, "batch", size))
            return output
        return output.transpose(0, 2, 1, 3).reshape(0, 0, 2 * size)

    def _recurrence_node(
        self,
        kind: str,
        x: Value,
        weights: list[list[np.ndarray]],
        size: int,
        lengths: Value | None,
        initial: Value | None,
    ) -> Value:
        """Writes a GRU or LSTM node; returns `(frames, directions, batch, size)`."""
        inputs, recurrent, *biases = (np.stack(parts) for parts in zip(*weights, strict=True))
        return self.graph.op(
            kind,
            x,
            inputs,
            recurrent,
            np.concatenate(biases, axis=1),
            lengths.cast("int32") if lengths is not None else "",
            initial if initial is not None else "",
            hidden_size=size,
            direction="bidirectional" if len(weights) == 2 else "forward",
            **({"linear_before_reset": 1} if kind == "GRU" else {}),
        )

    def _gates(self, kind: str, parameter: torch.Tensor, size: int) -> np.ndarray:
        """Returns a parameter with the gates in ONNX's order."""
        array = self.array(parameter)
        return np.concatenate([array[gate * size : (gate + 1) * size] for gate in GATES[kind]])

    def _gru_loop(
        self, x: Value, weights: list[list[np.ndarray]], size: int, lengths: Value | None, initial: Value | None
    ) -> Value:
        """Writes a GRU as a loop; returns `(frames, directions, batch, size)`."""
        graph, directions = self.graph, len(weights)
        # The reset gate multiplies the recurrent bias of the new gate; all other biases are added outside of the loop.
        in_loop = np.arange(3 * size) >= 2 * size
        biases = [input_bias + np.where(in_loop, 0, bias) for _, _, input_bias, bias in weights]
        projected = self._product(x, np.concatenate([part[0] for part in weights])) + np.concatenate(biases)
        if directions == 2:
            ahead, back = projected.split(2, [3 * size, 3 * size])
            projected = graph.concat(1, ahead.unsqueeze(1), self._reverse(back, lengths).unsqueeze(1))
        gates, new = projected.split(-1, [2 * size, size])

        body = Graph("step", graph)
        state = body.input("state", "float32", (directions, "batch", size))
        shape: Shape = ("batch",) if directions == 1 else (directions, "batch")
        step_gates = body.input("gates", "float32", (*shape, 2 * size))
        step_new = body.input("new", "float32", (*shape, size))
        states = [state] if directions == 1 else state.split(0, [1, 1])
        products = [
            self._int8_product(body, part, recurrent) + np.where(in_loop, bias, 0).astype(np.float32)
            for part, (_, recurrent, _, bias) in zip(states, weights, strict=True)
        ]
        product = products[0] if directions == 1 else body.concat(0, *products)
        product_gates, product_new = product.split(2, [2 * size, size])
        update, reset = body.op("Sigmoid", step_gates + product_gates).split(2, [size, size])
        candidate = body.op("Tanh", step_new + reset * product_new)
        next_state = candidate + update * (state - candidate)
        body.output(next_state, "next_state", "float32", (directions, "batch", size))
        body.output(next_state, "output", "float32", (directions, "batch", size))

        first = graph.zeros(directions, x.size(1), size) if initial is None else initial
        _, output = graph.ops("Scan", first, gates, new, outputs=2, body=body.body(), num_scan_inputs=2)
        if directions == 2:
            ahead, back = output.split(1, [1, 1])
            output = graph.concat(1, ahead, self._reverse(back.squeeze(1), lengths).unsqueeze(1))
        return output

    @staticmethod
    def _int8_product(graph: Graph, x: Value, weight: np.ndarray) -> Value:
        """Multiplies `(..., inputs)` by the transpose of an int8 weight `(outputs, inputs)`, with a scale per block."""
        outputs, inputs = weight.shape
        block = min(max(inputs & -inputs, SMALLEST_BLOCK), LARGEST_BLOCK)  # The largest power of two that divides it.
        blocks = np.pad(weight, ((0, 0), (0, -inputs % block))).reshape(outputs, -1, block)
        scales = np.maximum(np.abs(blocks).max(axis=2), np.finfo(np.float32).tiny) / 127
        quantized = (np.round(blocks / scales[:, :, None]) + 128).astype(np.uint8)  # 128 is zero.
        return graph.op(
            "MatMulNBits",
            x,
            quantized,
            scales.reshape(-1).astype(np.float32),
            domain=MICROSOFT,
            K=inputs,
            N=outputs,
            bits=8,
            block_size=block,
            accuracy_level=4,  # Quantizes each row of `x` to int8 by a scale of its own.
        )

    def _reverse(self, x: Value, lengths: Value | None) -> Value:
        """Reverses the valid frames of each clip of `(frames, batch, features)`."""
        assert lengths is not None
        return self.graph.op("ReverseSequence", x, lengths, time_axis=0, batch_axis=1)


class Masks:
    """Masks of the valid frames of a batch.

    Args:
        lengths: The number of valid frames of each clip, `(batch,)`; None in a stream, where all frames are valid.
        num_frames: The number of frames of the batch, `(1,)`; in a stream, that of new frames, which may be 0.
    """

    def __init__(self, lengths: Value | None, num_frames: Value) -> None:
        self.lengths = lengths
        self.num_frames = num_frames
        self._factors: dict[tuple[int, int], Value] = {}

    def halve(self, round_up: bool = False) -> Masks:
        """Returns the masks for half as many frames."""
        offset = 1 if round_up else 0
        lengths = None if self.lengths is None else (self.lengths + offset) // 2
        return Masks(lengths, (self.num_frames + offset) // 2)

    def valid(self, before: int = 0, after: int = 1) -> Value:
        """Returns booleans `(batch, 1, ..., frames, 1, ...)`; `before` and `after` count the dimensions of size 1."""
        assert self.lengths is not None
        valid = self.lengths.graph.arange(self.num_frames).unsqueeze(0) < self.lengths.unsqueeze(1)
        axes = [*range(1, 1 + before), *range(2 + before, 2 + before + after)]
        return valid.unsqueeze(*axes) if axes else valid

    def apply(self, x: Value, before: int = 0, after: int = 1) -> Value:
        """Sets padded frames to zero; `before` and `after` are the numbers of dimensions around the frames."""
        if self.lengths is None:
            return x
        if (before, after) not in self._factors:
            self._factors[before, after] = self.valid(before, after).cast("float32")
        return x * self._factors[before, after]
