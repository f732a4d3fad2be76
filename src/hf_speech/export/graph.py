"""Builds ONNX graphs in the style of NumPy: values with operators, and the few operations that the models need.

Graphs are built by hand rather than traced, because PyTorch's exporters unroll recurrences or fix their length, and
support neither ONNX's sequence lengths nor features inside the graph. The export detects mistakes: every parameter must
be used, and the outputs are compared with PyTorch's (`exporting.py`).

The number `2` becomes int64 and `2.0` float32. Sizes are int64 values of shape `(1,)`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# The first version with LayerNormalization.
OPSET = 17
IR_VERSION = 8
# The domain of onnxruntime's additional operations.
MICROSOFT = "com.microsoft"
# The end of a dimension, for Slice.
END = np.iinfo(np.int64).max

TYPES = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64, "int32": TensorProto.INT32, "bool": TensorProto.BOOL}

Operand = Any
"""A `Value`, a number, or an array."""


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor of a graph.

    Attributes:
        graph: The graph.
        name: The name in the graph.
    """

    graph: Graph
    name: str

    def __add__(self, other: Operand) -> Value:
        return self.graph.op("Add", self, other)

    def __sub__(self, other: Operand) -> Value:
        return self.graph.op("Sub", self, other)

    def __mul__(self, other: Operand) -> Value:
        return self.graph.op("Mul", self, other)

    def __truediv__(self, other: Operand) -> Value:
        return self.graph.op("Div", self, other)

    def __floordiv__(self, other: Operand) -> Value:
        """Divides non-negative integers; ONNX does not define the rounding of negative results."""
        return self.graph.op("Div", self, other)

    def __matmul__(self, other: Operand) -> Value:
        return self.graph.op("MatMul", self, other)

    def __lt__(self, other: Operand) -> Value:
        return self.graph.op("Less", self, other)

    def __gt__(self, other: Operand) -> Value:
        return self.graph.op("Greater", self, other)

    def size(self, axis: int) -> Value:
        """Returns the size of a dimension, `(1,)`."""
        return self.graph.op("Shape", self, start=axis, end=axis + 1)

    def slice(self, axis: int, start: Operand, end: Operand = END, step: int = 1) -> Value:
        """Slices a dimension; a negative step goes backwards."""
        bounds = [bound if isinstance(bound, Value) else np.array([bound]) for bound in (start, end)]
        return self.graph.op("Slice", self, *bounds, np.array([axis]), np.array([step]))

    def split(self, axis: int, sizes: Sequence[int]) -> tuple[Value, ...]:
        """Splits a dimension into parts."""
        return self.graph.ops("Split", self, np.array(sizes), outputs=len(sizes), axis=axis)

    def reshape(self, *sizes: int | Value) -> Value:
        """Reshapes the value; 0 keeps the size of the dimension at its position."""
        if all(isinstance(size, int) for size in sizes):
            return self.graph.op("Reshape", self, np.array(sizes))
        parts = [size if isinstance(size, Value) else np.array([size]) for size in sizes]
        return self.graph.op("Reshape", self, self.graph.concat(0, *parts))

    def unsqueeze(self, *axes: int) -> Value:
        """Inserts dimensions of size 1."""
        return self.graph.op("Unsqueeze", self, np.array(axes))

    def squeeze(self, *axes: int) -> Value:
        """Removes dimensions of size 1."""
        return self.graph.op("Squeeze", self, np.array(axes))

    def transpose(self, *order: int) -> Value:
        """Reorders the dimensions."""
        return self.graph.op("Transpose", self, perm=order)

    def cast(self, dtype: str) -> Value:
        """Converts the value to another type."""
        return self.graph.op("Cast", self, to=TYPES[dtype])

    def sum(self, axis: int) -> Value:
        """Sums over a dimension, which is kept with size 1."""
        return self.graph.op("ReduceSum", self, np.array([axis]), keepdims=1)

    def max(self, *axes: int) -> Value:
        """Returns the maximum over dimensions, which are kept with size 1."""
        return self.graph.op("ReduceMax", self, axes=axes, keepdims=1)

    def clip(self, lowest: Operand = "", highest: Operand = "") -> Value:
        """Limits the value to the range from `lowest` to `highest`."""
        return self.graph.op("Clip", self, lowest, highest)


class Graph:
    """A graph under construction.

    Args:
        name: Its name.
        parent: For the body of a loop, the outer graph, which contains the constants.
    """

    def __init__(self, name: str, parent: Graph | None = None) -> None:
        self.name = name
        self._root: Graph = parent._root if parent else self
        self._nodes: list[onnx.NodeProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._known: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._scope: list[str] = []
        self._count = 0

    @contextlib.contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Prefixes the names of operations in the context with `name/`, for quantization and profiles."""
        self._root._scope.append(name)
        yield
        self._root._scope.pop()

    def input(self, name: str, dtype: str, shape: Sequence[int | str], default: np.ndarray | None = None) -> Value:
        """Adds an input; free dimensions have names, and an input with a default is optional."""
        self._inputs.append(helper.make_tensor_value_info(name, TYPES[dtype], shape))
        if default is not None:
            self._constants[name] = numpy_helper.from_array(default, name)
        return Value(self, name)

    def output(self, value: Value, name: str, dtype: str, shape: Sequence[int | str]) -> None:
        """Adds an output."""
        self._nodes.append(helper.make_node("Identity", [value.name], [name], name=self._new_name("Identity")))
        self._outputs.append(helper.make_tensor_value_info(name, TYPES[dtype], shape))

    def constant(self, array: Any) -> Value:
        """Adds a constant; equal constants are stored once."""
        array = np.ascontiguousarray(array) if np.ndim(array) else np.asarray(array)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        key = (array.dtype.str, array.shape, array.tobytes())
        root = self._root
        if key not in root._known:
            root._known[key] = root._new_name("constant")
            root._constants[root._known[key]] = numpy_helper.from_array(array, root._known[key])
        return Value(self, root._known[key])

    def op(self, kind: str, *operands: Operand, **attributes: Any) -> Value:
        """Adds an operation with one output."""
        return self.ops(kind, *operands, outputs=1, **attributes)[0]

    def ops(self, kind: str, *operands: Operand, outputs: int, **attributes: Any) -> tuple[Value, ...]:
        """Adds an operation with several outputs; the operand "" stands for an omitted one."""
        names = [
            operand.name
            if isinstance(operand, Value)
            else ""
            if isinstance(operand, str)
            else self.constant(operand).name
            for operand in operands
        ]
        while names and not names[-1]:
            names.pop()
        name = self._new_name(kind)
        results = [f"{name}:{index}" for index in range(outputs)]
        self._nodes.append(helper.make_node(kind, names, results, name=name, **attributes))
        return tuple(Value(self, result) for result in results)

    def _new_name(self, kind: str) -> str:
        root = self._root
        root._count += 1
        return "/".join([*root._scope, f"{kind}_{root._count}"])

    def concat(self, axis: int, *parts: Operand) -> Value:
        """Concatenates values."""
        return self.op("Concat", *parts, axis=axis)

    def where(self, condition: Value, yes: Operand, no: Operand) -> Value:
        """Returns `yes` where the condition is true, else `no`."""
        return self.op("Where", condition, yes, no)

    def arange(self, size: Value) -> Value:
        """Returns the integers from 0 to `size - 1`, `(size,)`."""
        return self.op("Range", np.int64(0), size.squeeze(0), np.int64(1))

    def minimum(self, *values: Operand) -> Value:
        """Returns the elementwise minimum."""
        return self.op("Min", *values)

    def maximum(self, *values: Operand) -> Value:
        """Returns the elementwise maximum."""
        return self.op("Max", *values)

    def zeros(self, *sizes: int | Value) -> Value:
        """Returns float32 zeros."""
        parts = [size if isinstance(size, Value) else np.array([size]) for size in sizes]
        return self.op("Expand", np.float32(0), self.concat(0, *parts))

    def body(self) -> onnx.GraphProto:
        """Returns the finished graph."""
        return helper.make_graph(self._nodes, self.name, self._inputs, self._outputs, list(self._constants.values()))

    def model(self, **metadata: str) -> onnx.ModelProto:
        """Returns the finished graph as a checked model with metadata.

        Raises:
            onnx.checker.ValidationError: If the graph is invalid, which is a bug.
        """
        model = helper.make_model(
            self.body(),
            opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)],
            ir_version=IR_VERSION,
            producer_name="hf_speech",
        )
        helper.set_model_props(model, metadata)
        onnx.checker.check_model(model, full_check=True)
        return model
