"""Writes `ConvGRUForCTC` as ONNX graphs, for whole recordings and for streams.

The graphs mirror `modeling_conv_gru.py`, with two differences. Batches are padded to a multiple of `stride` frames, so
that convolutions need not handle remainders. In a stream, each causal convolution receives past frames in place of the
zeros at the beginning of a whole recording, so both graphs give the same logits.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hf_speech.export.features import FeatureGraph
from hf_speech.export.frontends import write_front_end
from hf_speech.export.graph import Graph, Value
from hf_speech.export.layers import Builder, GraphOf, Masks, State
from hf_speech.inference.onnx_description import STREAM, WHOLE
from hf_speech.inference.pytorch import phone_layer
from hf_speech.models.modeling_conv_gru import IMPOSSIBLE, ConvGRUForCTC, RecurrentBlock

# Parameters that only training uses, if the model has no phones.
UNUSED = ("intermediate_norm.",)


def graphs_of(model: ConvGRUForCTC, features: FeatureGraph, name: str) -> dict[str, GraphOf]:
    """Returns the graphs of a recognizer for whole recordings and, if it is causal, for streams."""
    graphs = {WHOLE: GraphOf(lambda loops: whole_graph(model, features, loops, name))}
    try:
        stream = model.stream(features.extractor)
    except ValueError:  # The model needs whole recordings.
        return graphs
    _, states = stream_graph(model, features, False, name)
    shapes = {state.name: state.shape for state in states}
    rate, config = features.extractor.sampling_rate, model.config
    first_samples = round(stream.latency * rate) - config.lookahead * config.inputs_to_logits_ratio
    streamed = GraphOf(
        lambda loops: stream_graph(model, features, loops, name)[0], shapes, stream.latency, first_samples
    )
    return graphs | {STREAM: streamed}


def whole_graph(model: ConvGRUForCTC, features: FeatureGraph, loops: bool, name: str) -> Graph:
    """Writes the graph for whole recordings.

    Inputs are `waveform` `(batch, samples)`, float32, and `lengths` `(batch,)`, int64, in samples. Outputs are `logits`
    `(batch, frames, vocabulary)`, in which padded frames are blank with probability 1, `logit_lengths` `(batch,)`,
    int64, and, for a model with phones, `phone_logits` `(batch, frames, phones)`.

    For recordings in chunks, a model with features normalized by utterance also has the optional input `statistics`
    `(2, features)`, the mean and standard deviation for the normalization, and the output `features`
    `(batch, frames, features)`, the features before normalization, to compute them from. Normalization by peak has the
    optional input `statistics` `(1, 1)`.

    Args:
        model: The model.
        features: Its feature extractor.
        loops: Whether to write GRUs as loops over matrix products, to be quantized.
        name: The name of the model in error messages.
    """
    config = model.config
    graph = Graph("recognizer")
    waveform = graph.input("waveform", "float32", ("batch", "samples"))
    lengths = graph.input("lengths", "int64", ("batch",))
    statistics = None
    shapes = {"utterance": (2, config.input_size), "peak": (1, 1)}
    if (shape := shapes.get(features.extractor.normalization)) is not None:
        statistics = graph.input("statistics", "float32", shape, default=np.zeros(shape, dtype=np.float32))
    with graph.scope("features"):
        inputs = features.whole(waveform, lengths, config.stride, statistics)
    builder = Builder(graph, loops=loops)
    encoded, middle, masks = _encode(builder, model, inputs.features, Masks(inputs.counts, inputs.features.size(1)))
    if model.lookahead is not None:
        with graph.scope("lookahead"):
            encoded = _look_ahead(builder, model, masks.apply(encoded), after=model.lookahead.lookahead)

    def write(logits: Value, size: int, blank: int, name: str) -> None:
        padding = np.full(size, IMPOSSIBLE, dtype=np.float32)
        padding[blank] = 0.0
        logits = graph.where(masks.valid(), logits, padding).slice(1, 0, inputs.longest // config.stride)
        graph.output(logits, name, "float32", ("batch", "frames", size))

    with graph.scope("padding"):
        write(_classify(builder, model, encoded), config.vocab_size, config.pad_token_id, "logits")
        if model.phone_classifier is not None:
            write(_classify_phones(builder, model, encoded, middle), config.num_phones, 0, "phone_logits")
    assert masks.lengths is not None
    graph.output(masks.lengths, "logit_lengths", "int64", ("batch",))
    if features.extractor.normalization == "utterance":
        raw = inputs.raw.slice(1, 0, inputs.longest)
        graph.output(raw, "features", "float32", ("batch", "feature_frames", config.input_size))
    builder.check_all_used(model, () if model.phone_classifier is not None else UNUSED, name)
    return graph


def stream_graph(model: ConvGRUForCTC, features: FeatureGraph, loops: bool, name: str) -> tuple[Graph, list[State]]:
    """Writes the graph for recordings that arrive in pieces of any length.

    Inputs are `waveform` `(batch, samples)`, float32, the next piece; `final` `(1,)`, bool, whether it is the last one;
    and the states. Outputs are the new `logits` `(batch, frames, vocabulary)`, possibly without frames; for a model
    with phones, `phone_logits` of the same frames; and the new states, whose names begin with `next_`. All recordings
    of a batch receive a piece of the same length.

    Args:
        model: A causal model.
        features: Its feature extractor.
        loops: Whether to write GRUs as loops over matrix products, to be quantized.
        name: The name of the model in error messages.

    Returns:
        The graph and its states.
    """
    config = model.config
    graph = Graph("stream")
    waveform = graph.input("waveform", "float32", ("batch", "samples"))
    final = graph.input("final", "bool", (1,)).cast("int64")
    builder = Builder(graph, loops=loops)
    with graph.scope("features"):
        x, num_logits = _new_features(builder, features, waveform, final, config.stride)
    builder.num_new = num_logits
    encoded, middle, _ = _encode(builder, model, x, Masks(None, num_logits * config.stride))
    encoded, middle = encoded.slice(1, 0, num_logits), None if middle is None else middle.slice(1, 0, num_logits)
    if model.lookahead is not None:
        with graph.scope("lookahead"):
            encoded, middle = _look_ahead_in_stream(builder, model, encoded, middle, final)
    graph.output(_classify(builder, model, encoded), "logits", "float32", ("batch", "frames", config.vocab_size))
    if model.phone_classifier is not None:
        phones = _classify_phones(builder, model, encoded, middle)
        graph.output(phones, "phone_logits", "float32", ("batch", "frames", config.num_phones))
    builder.check_all_used(model, () if model.phone_classifier is not None else UNUSED, name)
    return graph, builder.states


def _new_features(
    builder: Builder, features: FeatureGraph, waveform: Value, final: Value, stride: int
) -> tuple[Value, Value]:
    """Writes the features of the frames whose windows are complete, as in `StreamingTranscriber`.

    onnxruntime aborts the process for a recurrence without frames. If there are none, it gets those of incomplete
    windows, and its output and states are dropped.

    Returns:
        The features of `stride` frames for each logit frame, of one at least; and the number of logit frames, `(1,)`.
    """
    graph, hop = builder.graph, features.hop
    preemphasis = float(features.extractor.preemphasis)
    # The kept samples begin with the window of the next frame, or one sample earlier for pre-emphasis.
    kept = features.lead + (1 if preemphasis else 0)
    samples = graph.concat(1, builder.read_state("samples", ("batch", "kept_samples"), ("batch", kept)), waveform)
    filtered = samples
    if preemphasis:
        filtered = samples.slice(1, 1) - samples.slice(1, 0, -1) * preemphasis
    # A frame counts if its window and its hop are complete; at the end, only its hop, since silence follows.
    beyond_hop = max(features.window - features.lead - hop, 0)
    complete = filtered.size(1) + (final - 1) * beyond_hop - features.lead
    num_logits = complete.clip(lowest=0) // (hop * stride)
    builder.write_state("samples", samples.slice(1, num_logits * (hop * stride)), ("batch", "kept_samples"))
    padded = graph.op("Pad", filtered, np.array([0, 0, 0, (features.blocks + stride) * hop]))
    return features.stream(features.spectra(padded, num_logits.clip(lowest=1) * stride)), num_logits


def _encode(builder: Builder, model: ConvGRUForCTC, x: Value, masks: Masks) -> tuple[Value, Value | None, Masks]:
    """Writes front end and recurrent layers: `(batch, frames, features)` to `(batch, frames / stride, size)`.

    Returns:
        The output of the last layer; that of the earlier layer that predicts phones, or None; and the masks of their
        frames.
    """
    with builder.graph.scope("frontend"):
        config = model.config
        x, masks = write_front_end(builder, config.frontend, model.frontend, x, masks, config.input_size)
        x = masks.apply(x)
    x = x.transpose(1, 0, 2)
    middle: Value | None = None
    number = phone_layer(config)
    lengths = None if masks.lengths is None else masks.lengths.clip(lowest=1)
    for index, layer in enumerate(model.layers):
        assert isinstance(layer, RecurrentBlock)
        with builder.graph.scope(f"layer{index}"):
            norm: Any = layer.norm
            x = builder.layer_norm(x, norm) if model.config.recurrent_norm == "layer" else builder.batch_norm(x, norm)
            x = builder.recurrence(x, layer.recurrence, lengths, f"hidden_{index}")
        if model.phone_classifier is not None and index + 1 == number < len(model.layers):
            middle = x.transpose(1, 0, 2)
    return x.transpose(1, 0, 2), middle, masks


def _classify(builder: Builder, model: ConvGRUForCTC, x: Value) -> Value:
    with builder.graph.scope("classifier"):
        return builder.linear(builder.layer_norm(x, model.norm), model.classifier)


def _classify_phones(builder: Builder, model: ConvGRUForCTC, encoded: Value, middle: Value | None) -> Value:
    """Writes the phone classifier after an earlier layer (`middle`), or after the normalized last layer."""
    assert model.phone_classifier is not None
    assert model.intermediate_norm is not None
    with builder.graph.scope("phones"):
        if middle is None:
            middle = builder.layer_norm(encoded, model.norm)
        return builder.linear(builder.layer_norm(middle, model.intermediate_norm), model.phone_classifier)


def _look_ahead(builder: Builder, model: ConvGRUForCTC, x: Value, after: int) -> Value:
    """Writes the lookahead convolution of `(batch, frames, size)`, followed by `after` frames of silence."""
    assert model.lookahead is not None
    return builder.relu(builder.convolve(x, model.lookahead.convolution, 0, after))


def _look_ahead_in_stream(
    builder: Builder, model: ConvGRUForCTC, encoded: Value, middle: Value | None, final: Value
) -> tuple[Value, Value | None]:
    """Writes the lookahead convolution for frames whose future frames are known or beyond the end.

    Returns:
        The output of the convolution, `(batch, frames, size)`, and the same frames of the layer that predicts phones.
    """
    assert model.lookahead is not None
    future, size = model.lookahead.lookahead, model.norm.normalized_shape[0]

    def wait(name: str, new: Value, ready: Value | None = None) -> tuple[Value, Value]:
        """Returns the known frames and the number of those that are ready; the others wait for the next piece."""
        shape = ("batch", f"{name}_frames", size)
        known = builder.graph.concat(1, builder.read_state(name, shape, ("batch", 0, size)), new)
        ready = ready or (known.size(1) - future + final * future).clip(lowest=0)
        builder.write_state(name, known.slice(1, ready), shape)
        return known, ready

    known, ready = wait("awaiting", encoded)
    if middle is not None:
        middle = wait("awaiting_phones", middle, ready)[0].slice(1, 0, ready)
    # Frames without a known future get silence instead and are cut off; one more frame avoids an empty input.
    return _look_ahead(builder, model, known, after=future + 1).slice(1, 0, ready), middle
