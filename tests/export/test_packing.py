from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from hf_speech.export.packing import shorten_names


def test_renaming_does_not_change_the_graph(exported_beeps: Path) -> None:
    content = (exported_beeps / "model.onnx").read_bytes()
    model = onnx.load_from_string(content)
    shorten_names(model)
    short = model.SerializeToString()
    assert len(short) < len(content) - 20 * len(model.graph.node)
    inputs = {
        "waveform": np.random.default_rng(0).normal(size=(2, 4000)).astype(np.float32),
        "lengths": np.array([4000, 3000]),
    }
    results = [onnxruntime.InferenceSession(one).run(["logits"], inputs)[0] for one in (content, short)]
    np.testing.assert_array_equal(*results)


def test_renames_inside_loops(exported_beeps: Path) -> None:
    graph = onnx.load(exported_beeps / "stream_int8.onnx").graph
    bodies = [attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g")]
    assert bodies
    kept = {value.name for value in (*graph.input, *graph.output)}
    names = {name for part in (graph, *bodies) for node in part.node for name in (*node.input, *node.output)} - kept
    assert max(map(len, names)) <= 4
