"""Makes ONNX files smaller for browsers: 8-bit weights with float32 arithmetic, and short names.

Each large array of weights is stored as int8 with scales along one axis. A `DequantizeLinear` node converts it to
float32, which onnxruntime does once, when it loads the file (`session.disable_quant_qdq`). The file is a quarter of the
size of a float32 file and as fast. In WebAssembly, the int8 arithmetic of `*_int8.onnx` would take five times as long.
"""

from __future__ import annotations

from typing import Any

import numpy as np

# Smaller arrays, such as biases, are not packed. Neither are those of the features, whose range is too large.
MIN_WEIGHTS = 4096


def pack_weights(model: Any) -> None:
    """Packs the weights of an `onnx.ModelProto`."""
    import onnx
    from onnx.numpy_helper import from_array, to_array

    arrays, nodes = [], []
    for initializer in model.graph.initializer:
        weights, name = to_array(initializer), initializer.name
        if weights.dtype != np.float32 or weights.size < MIN_WEIGHTS or name.startswith("features/"):
            arrays.append(initializer)
            continue
        axis = int(np.argmax(weights.shape[:-1]))
        others = tuple(other for other in range(weights.ndim) if other != axis)
        scales = np.maximum(np.abs(weights).max(axis=others), 1e-12) / 127
        packed = np.rint(weights / np.expand_dims(scales, others)).astype(np.int8)
        names = [f"{name}/packed", f"{name}/scales"]
        arrays += [from_array(packed, names[0]), from_array(scales.astype(np.float32), names[1])]
        nodes.append(onnx.helper.make_node("DequantizeLinear", names, [name], axis=axis, name=f"{name}/unpack"))
    nodes += model.graph.node
    for field, values in (("initializer", arrays), ("node", nodes)):
        copies = [type(value).FromString(value.SerializeToString()) for value in values]
        model.graph.ClearField(field)
        getattr(model.graph, field).extend(copies)


def shorten_names(model: Any) -> None:
    """Replaces the names of values in an `onnx.ModelProto` by numbers; in a small model, names are as large as a layer.

    The names of inputs and outputs stay.
    """
    kept = {value.name for value in (*model.graph.input, *model.graph.output)}
    short_names = {"": "", **{name: name for name in kept}}

    def short(name: str) -> str:
        return short_names.setdefault(name, f"_{len(short_names):x}")

    def rename(graph: Any) -> None:
        for value in (*graph.initializer, *graph.input, *graph.output):
            value.name = short(value.name)
        for node in graph.node:
            node.name = ""
            for names in (node.input, node.output):
                names[:] = [short(name) for name in names]
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    rename(attribute.g)

    rename(model.graph)
