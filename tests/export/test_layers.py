"""The int8 products of a GRU's loop; layers are tested as parts of whole models."""

from __future__ import annotations

import numpy as np
import pytest

from hf_speech.export.graph import Graph
from hf_speech.export.layers import Builder, Masks


@pytest.mark.parametrize("inputs", [48, 256, 96, 512, 20])
@pytest.mark.parametrize("batch", [1, 3])
def test_an_int8_product_is_exact_within_half_a_step(inputs: int, batch: int, run_graph) -> None:
    """For weights with a scale per block, and inputs with a scale per row, for divisible and other sizes."""
    rng = np.random.default_rng(inputs)
    weight = rng.normal(0.0, 1.0, (40, inputs)).astype(np.float32)
    weight[3] *= 100.0  # The scales of units are independent.
    weight[5] = 0.0
    x = rng.normal(0.0, 1.0, (batch, inputs)).astype(np.float32)
    graph = Graph("product")
    graph.output(
        Builder._int8_product(graph, graph.input("x", "float32", ("batch", inputs)), weight),
        "y",
        "float32",
        ("batch", 40),
    )
    product, expected = run_graph(graph, x=x)["y"], x @ weight.T
    # Each of the two factors is off by half a step at most, at random: their sum grows with the root of the inputs.
    steps = np.abs(weight).max(axis=1) * np.abs(x).max(axis=1, keepdims=True) / 127
    assert (np.abs(product - expected) <= np.sqrt(inputs) * steps + 1e-6).all()
    assert np.abs(product[:, 5]).max() < 1e-6


@pytest.mark.parametrize(("round_up", "halves"), [(False, [0, 1, 2, 2]), (True, [1, 2, 2, 3])])
def test_masks_round_frame_counts_like_convolutions(run_graph, round_up: bool, halves: list[int]) -> None:
    graph = Graph("masks")
    lengths, frames = graph.input("lengths", "int64", ("batch",)), graph.input("frames", "int64", (1,))
    halved = Masks(lengths, frames).halve(round_up)
    assert halved.lengths is not None
    graph.output(halved.lengths, "halves", "int64", ("batch",))
    graph.output(halved.num_frames, "half", "int64", (1,))
    found = run_graph(graph, lengths=np.array([1, 3, 4, 5]), frames=np.array([5]))
    assert found["halves"].tolist() == halves
    assert found["half"].tolist() == halves[-1:]
