"""Writes `SpeechLSTMForAudioClassification` as an ONNX graph that mirrors `modeling_speech_lstm.py`."""

from __future__ import annotations

import numpy as np
from torch import nn

from hf_speech.export.features import LOWEST, FeatureGraph
from hf_speech.export.frontends import write_front_end
from hf_speech.export.graph import Graph, Value
from hf_speech.export.layers import Builder, GraphOf, Masks
from hf_speech.inference.onnx_description import WHOLE
from hf_speech.models.modeling_speech_lstm import Pooling, SpeechLSTMForAudioClassification


def graphs_of(model: SpeechLSTMForAudioClassification, features: FeatureGraph, name: str) -> dict[str, GraphOf]:
    """Returns the graph of a classifier, for whole clips."""
    return {WHOLE: GraphOf(lambda loops: whole_graph(model, features, loops, name))}


def whole_graph(model: SpeechLSTMForAudioClassification, features: FeatureGraph, loops: bool, name: str) -> Graph:
    """Writes the graph for whole clips.

    Inputs are `waveform` `(batch, samples)`, float32, and `lengths` `(batch,)`, int64, in samples. The output is
    `logits` `(batch, labels)`.
    """
    graph = Graph("classifier")
    waveform = graph.input("waveform", "float32", ("batch", "samples"))
    lengths = graph.input("lengths", "int64", ("batch",))
    with graph.scope("features"):
        inputs = features.whole(waveform, lengths, 1)
        x, counts = inputs.features, inputs.counts
        if model.config.features_as_steps:  # Each feature of the single frame is a step.
            x = x.transpose(0, 2, 1)
            counts = counts.clip(lowest=1, highest=1) * model.config.input_size
    builder, masks = Builder(graph, loops=loops), Masks(counts, x.size(1))
    with graph.scope("frontend"):
        if model.projection is not None:
            x = builder.relu(builder.linear(x, model.projection))
        if (frontend := model.config.frontend_name) is not None:
            size = model.config.projection_size or (1 if model.config.features_as_steps else model.config.input_size)
            x, masks = write_front_end(builder, frontend, model.stem, x, masks, size)
    assert masks.lengths is not None
    x, valid_lengths = x.transpose(1, 0, 2), masks.lengths.clip(lowest=1)
    for index, (layer, norm) in enumerate(zip(model.layers, model.norms, strict=True)):
        with graph.scope(f"layer{index}"):
            x = builder.recurrence(x, layer, valid_lengths, f"hidden_{index}")
            if isinstance(norm, nn.LayerNorm):
                x = builder.layer_norm(x, norm)
    with graph.scope("pooling"):
        x = _pool(builder, model.pooling, masks.apply(x.transpose(1, 0, 2)), masks, valid_lengths)
    with graph.scope("classifier"):
        for dense in model.head:
            assert isinstance(dense, nn.Linear)
            x = builder.relu(builder.linear(x, dense))
        x = builder.linear(x, model.classifier)
    graph.output(x, "logits", "float32", ("batch", model.config.num_labels))
    builder.check_all_used(model, (), name)
    return graph


def _pool(builder: Builder, pooling: Pooling, frames: Value, masks: Masks, lengths: Value) -> Value:
    """Pools `(batch, frames, size)`, zero on padded frames, to `(batch, size)`; lengths are at least 1."""
    graph = builder.graph
    if pooling.kind == "last":
        # The backward direction has read the whole clip at the first frame.
        is_last = graph.op("Equal", graph.arange(masks.num_frames).unsqueeze(0), (lengths - 1).unsqueeze(1))
        last = (frames * is_last.cast("float32").unsqueeze(2)).sum(1).squeeze(1).slice(1, 0, pooling.hidden_size)
        return graph.concat(1, last, frames.slice(1, 0, 1).squeeze(1).slice(1, pooling.hidden_size))
    if pooling.kind == "mean":
        return frames.sum(1).squeeze(1) / lengths.cast("float32").unsqueeze(1)
    valid, lowest = masks.valid(), np.float32(LOWEST)
    if pooling.scorer is None:
        return graph.where(valid, frames, lowest).max(1).squeeze(1)
    scores = graph.where(valid, builder.linear(frames, pooling.scorer), lowest)
    return (frames * graph.op("Softmax", scores, axis=1)).sum(1).squeeze(1)
