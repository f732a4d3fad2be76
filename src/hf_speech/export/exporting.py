"""Exports a PyTorch model to a folder of ONNX files that run without PyTorch.

The folder contains `model.onnx`, from waveform to logits; for causal models `stream.onnx`, for pieces of a waveform; an
int8 variant of each, a quarter of the size; and `export.json`, the description of the model.

onnxruntime runs every file and the results are compared with PyTorch's. A float32 file that differs by more than
rounding is rejected; `export.json` records the differences. For int8, onnxruntime's dynamic quantization quantizes
matrix products and LSTMs; GRUs are written as loops of int8 products, and streams have int8 products throughout
(`layers.py`). The dynamic quantization uses 7 bits and a scale for each unit (`reduce_range`), because processors
without VNNI add pairs of 8-bit products in 16 bits, which can overflow. Features stay float32.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import numpy as np
import torch

from hf_speech.common.digests import digest_file
from hf_speech.decoding.patterns import PATTERNS
from hf_speech.errors import ModelError
from hf_speech.export import packed_ngrams
from hf_speech.export.features import FeatureGraph
from hf_speech.export.layers import GraphOf, Maker
from hf_speech.export.packing import pack_weights, shorten_names
from hf_speech.inference.listening import DetectorOptions
from hf_speech.inference.onnx import ExportedModel
from hf_speech.inference.onnx_description import FILE, INT8, KEY, NO_DIGEST, PACKED, STREAM, WHOLE, Description, seal
from hf_speech.inference.onnx_stream import ExportedStream
from hf_speech.inference.pytorch import LoadedModel

# The largest accepted difference, relative to the largest logit. Rounding causes a thousandth of it.
TOLERANCE = 1e-3

# For each model class, the function `(model, features, name)` that returns a `GraphOf` for each file.
FAMILIES = {
    "ConvGRUForCTC": "hf_speech.export.conv_gru:graphs_of",
    "SpeechLSTMForAudioClassification": "hf_speech.export.speech_lstm:graphs_of",
}


@dataclass(frozen=True)
class ExportedFile:
    """An exported ONNX file.

    Attributes:
        path: Its path.
        precision: "float32", "int8" or "packed".
        size: Its size in bytes.
        max_difference: The largest difference between its logits and PyTorch's for a few artificial sounds.
        largest_logit: The largest absolute value of PyTorch's logits.
    """

    path: Path
    precision: str
    size: int
    max_difference: float
    largest_logit: float


def export_model(
    loaded: LoadedModel, output: str | Path, int8: bool = True, packed: bool = False
) -> list[ExportedFile]:
    """Writes a model as ONNX files.

    Args:
        loaded: A model on the CPU.
        output: The folder, which is created if missing. Files of an earlier export are replaced.
        int8: Whether to write int8 files as well.
        packed: Whether to write files for browsers as well; see `packing` and `packed_ngrams`.

    Returns:
        The ONNX files, the float32 files first.

    Raises:
        ModelError: If onnx or onnxruntime is missing, the model or one of its parts cannot be exported, keywords were
            enrolled in it, or the output is a model folder.
    """
    _check_libraries()
    if loaded.find_file(PATTERNS) is not None:
        raise ModelError(
            f"{loaded.name} detects enrolled keywords, which cannot be exported: export the recognizer that it was "
            "made from, or train a keyword spotter."
        )
    output = Path(output).expanduser()
    if output.is_file() or (output / "config.json").exists():
        raise ModelError(f"{output} is a file or a model folder: give another folder, such as {output}/onnx.")
    graphs = _graphs(loaded)
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output, prefix=".export-") as staging:
        files = []
        suffixes = {"float32": ""} | ({"int8": INT8} if int8 else {}) | ({"packed": PACKED} if packed else {})
        for kind, (make, description) in graphs.items():
            for precision, suffix in suffixes.items():
                path = Path(staging) / f"{kind}{suffix}.onnx"
                _write(make, dataclasses.replace(description, precision=precision), path)
                files.append(_compare(loaded, path, precision))
        extras: dict[str, Any] = {}
        if packed and (language_model := packed_ngrams.pack_language_model(loaded, Path(staging))) is not None:
            extras["language_model"] = language_model
        if (detector := loaded.find_file(DetectorOptions.FILE)) is not None:
            DetectorOptions.load(detector)
            shutil.copyfile(detector, Path(staging) / DetectorOptions.FILE)
            extras["detector"] = DetectorOptions.FILE
        _write_description(Path(staging) / FILE, graphs[WHOLE][1], graphs.get(STREAM), files, extras)
        stale = [f"{kind}{suffix}.onnx" for kind in (WHOLE, STREAM) for suffix in ("", INT8, PACKED)]
        for name in (*stale, packed_ngrams.FILE, DetectorOptions.FILE):
            (output / name).unlink(missing_ok=True)
        for path in sorted(Path(staging).iterdir(), key=lambda path: path.name == FILE):
            os.replace(path, output / path.name)
    return [dataclasses.replace(file, path=output / file.path.name) for file in files]


def _graphs(loaded: LoadedModel) -> dict[str, tuple[Maker, Description]]:
    """Returns the graphs to write and their descriptions, by kind of file."""
    model, name = loaded.model, loaded.name
    # A subclass, such as one with another loss, should compute the same logits; `_compare` verifies it.
    family = next((FAMILIES[cls.__name__] for cls in type(model).__mro__ if cls.__name__ in FAMILIES), None)
    if family is None:
        raise ModelError(f"{name} is a {type(model).__name__}, which cannot be exported: use a model of this package.")
    features = FeatureGraph(loaded.feature_extractor, name)
    description = Description(
        task=loaded.task.name,
        name=Path(name).name if Path(name).expanduser().is_dir() else name,
        revision=loaded.revision,
        sampling_rate=loaded.sampling_rate,
        min_samples=features.hop + features.extractor.first_sample,
        labels=(),
    )
    description = dataclasses.replace(description, **loaded.task.describe_outputs(model.config, loaded.tokenizer))
    graphs: dict[str, GraphOf] = resolve_name(family)(model, features, name)
    return {
        kind: (
            graph.make,
            dataclasses.replace(
                description, states=graph.states, latency=graph.latency, first_samples=graph.first_samples
            ),
        )
        for kind, graph in graphs.items()
    }


def _write(make: Maker, description: Description, path: Path) -> None:
    """Writes one file in the precision of its description."""
    import onnx

    metadata = {KEY: dataclasses.replace(description, digest=NO_DIGEST).to_json()}
    if description.precision != "int8":
        floats = make(False).model(**metadata)
        if description.precision == "packed":
            pack_weights(floats)
            shorten_names(floats)
        onnx.save(floats, path)
        seal(path)
        return
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = make(True).model()
    with _without_warnings():
        quantize_dynamic(
            model,
            path,
            op_types_to_quantize=["MatMul", "LSTM"],
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=[node.name for node in model.graph.node if node.name.startswith("features/")],
            extra_options={"EnableSubgraph": True},
        )
    quantized = onnx.load(path)
    # onnx infers wrong shapes inside loops, since it ignores constants outside; some runtimes reject these shapes.
    for graph in (quantized.graph, *(a.g for node in quantized.graph.node for a in node.attribute if a.HasField("g"))):
        graph.ClearField("value_info")
    shorten_names(quantized)
    onnx.helper.set_model_props(quantized, metadata)
    onnx.save(quantized, path)
    seal(path)


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Silences the quantizer's advice to optimize the graph first, which does not help these graphs."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _check_libraries() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise ModelError(
            f"The export needs onnx and onnxruntime, but importing them failed ({error}): pip install "
            "'hf_speech[export]'."
        ) from error


def _compare(loaded: LoadedModel, path: Path, precision: str) -> ExportedFile:
    """Compares the logits of a file and of PyTorch for the same sounds.

    Raises:
        ModelError: If a float32 file differs by more than rounding, or the logits of another file are not finite.
    """
    sounds = _sounds(loaded)
    expected = [_logits(loaded, samples) for samples in sounds]
    if path.name.startswith(STREAM):
        actual = [_stream_logits(ExportedStream(path), samples) for samples in sounds]
        expected = [logits[:, : len(loaded.labels)] for logits in expected]  # `ExportedStream` ignores phones.
    else:
        actual = [_join(outputs.logits, outputs.phone_logits) for outputs in ExportedModel(path).run(sounds)]
    largest = max(float(np.abs(logits).max(initial=0.0)) for logits in expected)
    same_shape = all(a.shape == b.shape for a, b in zip(actual, expected, strict=True))
    difference = np.inf
    if same_shape:
        difference = max(float(np.abs(a - b).max(initial=0.0)) for a, b in zip(actual, expected, strict=True))
    if not difference <= (TOLERANCE * max(largest, 1.0) if precision == "float32" else np.finfo(np.float32).max):
        raise ModelError(
            f"The exported {loaded.name} gives other logits than PyTorch (difference {difference:.3g}), so nothing was "
            "written: please report it with the model's config.json and preprocessor_config.json."
        )
    return ExportedFile(path, precision, path.stat().st_size, difference, largest)


def _sounds(loaded: LoadedModel) -> list[np.ndarray]:
    """Synthesizes sounds of several lengths, as loud as speech, with rising tones and pauses."""
    rng = np.random.default_rng(0)
    rate = loaded.sampling_rate
    offset = float(loaded.feature_extractor.offset)
    sounds = []
    for seconds in (2.03, 1.31, 0.57):
        time = np.arange(round((seconds + offset) * rate)) / rate
        tone = np.sin(2 * np.pi * (200 + 300 * time) * time) * (np.sin(2 * np.pi * 2.5 * time) > -0.5)
        sounds.append((0.1 * tone + rng.normal(0.0, 0.01, len(time))).astype(np.float32))
    return sounds


@torch.inference_mode()
def _logits(loaded: LoadedModel, samples: np.ndarray) -> np.ndarray:
    """Returns PyTorch's logits of a clip, of tokens and phones, without the padding up to `max_duration`."""
    inputs = loaded.feature_extractor(samples, sampling_rate=loaded.sampling_rate, return_tensors="pt")
    outputs = loaded.model(**inputs)
    phones = getattr(outputs, "phone_logits", None)
    logits = _join(outputs.logits[0].numpy(), None if phones is None else phones[0].numpy())
    if logits.ndim == 1:
        return logits
    return logits[: int(inputs["attention_mask"].sum()) // loaded.model.config.stride]


def _join(logits: np.ndarray, phone_logits: np.ndarray | None) -> np.ndarray:
    return logits if phone_logits is None else np.concatenate((logits, phone_logits), axis=1)


def _stream_logits(stream: ExportedStream, samples: np.ndarray) -> np.ndarray:
    """Returns the logits of a recording in pieces of uneven lengths, some shorter than a frame."""
    pieces = np.split(samples, [7, 1000, 1001, len(samples) // 2])
    return np.concatenate([stream.accept(piece) for piece in pieces] + [stream.finish()])


def _write_description(
    path: Path,
    whole: Description,
    stream: tuple[Maker, Description] | None,
    files: list[ExportedFile],
    extras: dict[str, Any],
) -> None:
    from importlib.metadata import version

    content = json.loads(whole.to_json())
    del content["precision"], content["digest"]
    if stream is not None:
        description = stream[1]
        content |= {name: getattr(description, name) for name in ("states", "latency", "first_samples")}
    content["files"] = {
        file.path.name: {
            "precision": file.precision,
            "bytes": file.size,
            "sha256": digest_file(path.with_name(file.path.name)),
            "max_difference": float(f"{file.max_difference:.3g}"),
            "largest_logit": float(f"{file.largest_logit:.3g}"),
        }
        for file in files
    }
    content |= extras
    content["versions"] = {name: version(name) for name in ("hf_speech", "torch", "onnx", "onnxruntime")}
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
