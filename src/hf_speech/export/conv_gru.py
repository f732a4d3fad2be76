"""`ConvGRUForCTC` as an ONNX graph, for whole recordings and for streams.

It mirrors `modeling_conv_gru.py`, with two differences. A batch has a multiple of `stride` frames, so that no
convolution has to cut or to count. And in a stream each causal convolution gets the past frames that it needs, where
for a whole recording there are zeros; otherwise the graphs are equal, so both give the same logits.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hf_speech.export.features import FeatureGraph
from hf_speech.export.frontends import write_front_end
from hf_speech.export.graph import Graph, Value
from hf_speech.export.layers import Builder, GraphOf, Masks, State
from hf_speech.inference.onnx_description import STREAM, WHOLE
from hf_speech.models.modeling_conv_gru import IMPOSSIBLE, ConvGRUForCTC, RecurrentBlock

# Of a model without phones, only training uses this parameter.
UNUSED = ("intermediate_norm.",)


def graphs_of(model: ConvGRUForCTC, features: FeatureGraph, name: str) -> dict[str, GraphOf]:
    """The graphs of a recognizer: for whole recordings and, if it can stream, for streams; see `whole_graph`."""
    graphs = {WHOLE: GraphOf(lambda loops: whole_graph(model, features, loops, name))}
    try:
        stream = model.stream(features.extractor)
    except ValueError:  # It needs whole recordings.
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
    """The model for whole recordings.

    Inputs are `waveform` `(batch, samples)`, float32, and `lengths` `(batch,)`, int64, in samples. Outputs are `logits`
    `(batch, frames, vocabulary)`, in which padded frames are blank with probability 1, `logit_lengths` `(batch,)`,
    int64, and of a model with phones `phone_logits` `(batch, frames, phones)`.

    For recordings in chunks, features that are normalized by utterance have two more: the optional input `statistics`
    `(2, features)`, mean and standard deviation to normalize by, and the output `features` `(batch, frames, features)`,
    before normalization, to compute them from. Normalization by peak has the optional input `statistics` `(1, 1)`.

    Args:
        model: The model.
        features: Its feature extractor.
        loops: Whether GRUs become loops over matrix products, to be quantized.
        name: What errors call the model.
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
    """The model for recordings that arrive in pieces of any length.

    Inputs are `waveform` `(batch, samples)`, float32, the piece; `final` `(1,)`, bool, whether it is the last one; and
    the states. Outputs are the new `logits` `(batch, frames, vocabulary)`, perhaps none, of a model with phones
    `phone_logits` of the same frames, and for each state `next_` and its name. The recordings of a batch advance
    together.

    Args:
        model: A causal model.
        features: Its feature extractor.
        loops: Whether GRUs become loops over matrix products, to be quantized.
        name: What errors call the model.

    Returns:
        The graph, and its states.
    """
    config = model.config
    graph = Graph("stream")
    waveform = graph.input("waveform", "float32", ("batch", "samples"))
    final = graph.input("final", "bool", (1,)).cast("int64")
    builder = Builder(graph, loops=loops)
    with graph.scope("features"):
        new = _new_features(builder, features, waveform, final)
        shape = ("batch", "waiting_frames", config.input_size)
        waiting = graph.concat(1, builder.remember("waiting", shape, ("batch", 0, config.input_size)), new)
        num_logits = waiting.size(1) // config.stride
        usable = num_logits * config.stride
        builder.leave("waiting", waiting.slice(1, usable), shape)
        # onnxruntime aborts the process for a recurrence without frames: where there are none, it gets a frame of
        # silence, and its output and states are dropped.
        silence = graph.op("Sub", config.stride, usable.clip(highest=config.stride))
        x = graph.op("Pad", waiting.slice(1, 0, usable), graph.concat(0, np.zeros(4, np.int64), silence, np.array([0])))
    builder.has_frames = usable > 0
    encoded, middle, _ = _encode(builder, model, x, Masks(None, x.size(1)))
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


def _new_features(builder: Builder, features: FeatureGraph, waveform: Value, final: Value) -> Value:
    """Features of the frames whose windows are complete, as in `StreamingTranscriber`."""
    graph, hop = builder.graph, features.hop
    preemphasis = float(features.extractor.preemphasis)
    # The kept samples begin at the window of the next frame, or one sample before.
    kept = features.lead + (1 if preemphasis else 0)
    samples = graph.concat(1, builder.remember("samples", ("batch", "kept_samples"), ("batch", kept)), waveform)
    filtered = samples
    if preemphasis:
        filtered = samples.slice(1, 1) - samples.slice(1, 0, -1) * preemphasis
    length = filtered.size(1)
    # After the end there is silence; a frame counts only if its whole hop has arrived.
    silence = final * (features.blocks * hop)
    complete = (length + silence + (hop - features.window)).clip(lowest=0) // hop
    num_frames = graph.minimum(complete, (length - features.lead) // hop)
    builder.leave("samples", samples.slice(1, num_frames * hop), ("batch", "kept_samples"))
    padded = graph.op("Pad", filtered, np.array([0, 0, 0, features.blocks * hop]))
    return features.stream(features.spectra(padded, num_frames))


def _encode(builder: Builder, model: ConvGRUForCTC, x: Value, masks: Masks) -> tuple[Value, Value | None, Masks]:
    """Front end and recurrent layers: `(batch, frames, features)` to `(batch, frames / stride, size)`.

    Returns:
        The output of the last layer; that of an earlier layer which predicts phones, if one does; and the masks of
        their frames.
    """
    with builder.graph.scope("frontend"):
        config = model.config
        x, masks = write_front_end(builder, config.frontend, model.frontend, x, masks, config.input_size)
        x = masks.apply(x)
    x = x.transpose(1, 0, 2)
    middle: Value | None = None
    phone_layer = config.intermediate_layer or (len(model.layers) + 1) // 2
    lengths = None if masks.lengths is None else masks.lengths.clip(lowest=1)
    for index, layer in enumerate(model.layers):
        assert isinstance(layer, RecurrentBlock)
        with builder.graph.scope(f"layer{index}"):
            norm: Any = layer.norm
            x = builder.layer_norm(x, norm) if model.config.recurrent_norm == "layer" else builder.batch_norm(x, norm)
            x = builder.recurrence(x, layer.recurrence, lengths, f"hidden_{index}")
        if model.phone_classifier is not None and index + 1 == phone_layer < len(model.layers):
            middle = x.transpose(1, 0, 2)
    return x.transpose(1, 0, 2), middle, masks


def _classify(builder: Builder, model: ConvGRUForCTC, x: Value) -> Value:
    with builder.graph.scope("classifier"):
        return builder.linear(builder.layer_norm(x, model.norm), model.classifier)


def _classify_phones(builder: Builder, model: ConvGRUForCTC, encoded: Value, middle: Value | None) -> Value:
    """The phones by an earlier layer, or by the last one, which is normalized before."""
    assert model.phone_classifier is not None
    assert model.intermediate_norm is not None
    with builder.graph.scope("phones"):
        if middle is None:
            middle = builder.layer_norm(encoded, model.norm)
        return builder.linear(builder.layer_norm(middle, model.intermediate_norm), model.phone_classifier)


def _look_ahead(builder: Builder, model: ConvGRUForCTC, x: Value, after: int) -> Value:
    """The lookahead convolution of `(batch, frames, size)`, followed by `after` frames of silence."""
    assert model.lookahead is not None
    return builder.relu(builder.convolve(x, model.lookahead.convolution, 0, after))


def _look_ahead_in_stream(
    builder: Builder, model: ConvGRUForCTC, encoded: Value, middle: Value | None, final: Value
) -> tuple[Value, Value | None]:
    """Those of the frames whose future frames are known, or will not come: `(batch, frames, size)`.

    Returns:
        The output of the lookahead convolution, and the same frames of the layer that predicts phones.
    """
    assert model.lookahead is not None
    future, size = model.lookahead.lookahead, model.norm.normalized_shape[0]

    def wait(name: str, new: Value) -> tuple[Value, Value]:
        """The frames that are known, and how many of them are ready; the others wait for the next piece."""
        shape = ("batch", f"{name}_frames", size)
        known = builder.graph.concat(1, builder.remember(name, shape, ("batch", 0, size)), new)
        ready = (known.size(1) - future + final * future).clip(lowest=0)
        builder.leave(name, known.slice(1, ready), shape)
        return known, ready

    known, ready = wait("awaiting", encoded)
    if middle is not None:
        middle = wait("awaiting_phones", middle)[0].slice(1, 0, ready)
    # Frames whose future is not known get silence instead and are cut off; one more, so that there is always one.
    return _look_ahead(builder, model, known, after=future + 1).slice(1, 0, ready), middle
