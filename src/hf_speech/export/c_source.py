"""Exports a keyword spotter as C source: features, model and detector in `spotter.c`, with `spotter.h`.

The code suits microcontrollers and programs without a runtime: it needs only the standard library, static memory and
float arithmetic. The templates contain the functions; this module writes the weights and the calls of the layers. Each
convolution keeps the past frames that it needs, as in `StreamingTranscriber`, so the logits equal PyTorch's except for
rounding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import torch
from torch import nn

from hf_speech import __version__
from hf_speech.common.files import write_text
from hf_speech.errors import ModelError
from hf_speech.export.features import SMALLEST_DEVIATION, FeatureGraph, filter_matrix
from hf_speech.inference.listening import DetectorOptions
from hf_speech.inference.pytorch import LoadedModel
from hf_speech.models.frontends import SpectralStem
from hf_speech.models.spectral import analysis_window
from hf_speech.tasks import check_verb


@dataclass
class _Past:
    """The buffer of past frames of a convolution."""

    kernel: int
    size: int
    stride: int


class _Encoder:
    """Writes the layers of a model as tables of weights and calls of C functions.

    Attributes:
        tables: Definitions of constant arrays.
        pasts: The past frames of each convolution.
        states: The number of units of each recurrent layer.
        lines: The calls.
        largest: The number of values of the largest layer.
    """

    def __init__(self, model: Any) -> None:
        self.tables: list[str] = []
        self.pasts: list[_Past] = []
        self.states: list[int] = []
        self.lines: list[str] = []
        self.largest = model.config.input_size
        self._front_end(model.frontend, model.config.input_size)
        size = model.frontend.output_size
        for layer in model.layers:
            self._recurrent(layer, size)
            size = layer.output_size
        self._norm(model.norm)
        self._linear(model.classifier, "x", "logits")

    def table(self, values: np.ndarray | torch.Tensor, name: str = "") -> str:
        """Defines a constant array and returns its name."""
        name = name or f"table_{len(self.tables)}"
        self.tables.append(table_of(name, values.detach().numpy() if isinstance(values, torch.Tensor) else values))
        return name

    def _front_end(self, frontend: Any, frequencies: int) -> None:
        layers = zip(frontend.strides, frontend.convolutions, frontend.pointwise, frontend.norms, strict=True)
        for stride, convolution, pointwise, norm in layers:
            if stride == 1:
                self.lines.append(f"memcpy(skipped, x, {convolution.convolution.in_channels} * sizeof(float));")
            if isinstance(convolution, SpectralStem):
                self._stem(convolution, frequencies)
            else:
                self._convolution(convolution)
            if isinstance(pointwise, nn.Linear):
                self._linear(pointwise, "y", "x")
            else:
                self.lines.append(f"memcpy(x, y, {frontend.output_size} * sizeof(float));")
            self._norm(norm)
            self.lines.append(f"silu(x, {frontend.output_size});")
            if stride == 1:
                self.lines.append(f"for (int i = 0; i < {frontend.output_size}; i++) x[i] += skipped[i];")

    def _stem(self, stem: SpectralStem, frequencies: int) -> None:
        for layer in stem.convolutions:
            convolution: Any = layer.convolution
            channels, outputs = convolution.in_channels, convolution.out_channels
            past = self._past(convolution.kernel_size[0], frequencies * channels, convolution.stride[0])
            weights = self.table(convolution.weight.permute(0, 2, 3, 1))
            frequencies = (frequencies + 1) // 2
            size = frequencies * outputs
            self.largest = max(self.largest, size)
            self.lines += [
                f"convolve({past}, {weights}, {self.table(convolution.bias)}, {channels}, {outputs}, y);",
                f"memcpy(x, y, {size} * sizeof(float));",
                f"silu(x, {size});",
            ]
        self._linear(stem.projection, "x", "y")

    def _convolution(self, layer: Any) -> None:
        convolution = layer.convolution
        kernel, channels, outputs = convolution.kernel_size[0], convolution.in_channels, convolution.out_channels
        past = self._past(kernel, channels, convolution.stride[0])
        biases = self.table(convolution.bias)
        if convolution.groups > 1:
            self.lines.append(f"depthwise({past}, {self.table(convolution.weight[:, 0].T)}, {biases}, y);")
        else:
            weights = self.table(convolution.weight.permute(0, 2, 1))
            self.lines.append(f"dense({past[1:]}.frames, {weights}, {biases}, {kernel * channels}, {outputs}, y);")
        self.largest = max(self.largest, outputs)

    def _past(self, kernel: int, size: int, stride: int) -> str:
        self.pasts.append(_Past(kernel, size, stride))
        name = f"&pasts[{len(self.pasts) - 1}]"
        self.lines.append(f"if (!shift_in({name}, x)) return 0;")
        return name

    def _linear(self, linear: nn.Linear, source: str, target: str) -> None:
        tables = f"{self.table(linear.weight)}, {self.table(linear.bias)}"
        self.lines.append(f"dense({source}, {tables}, {linear.in_features}, {linear.out_features}, {target});")
        self.largest = max(self.largest, linear.in_features, linear.out_features)

    def _norm(self, norm: Any) -> None:
        size = norm.normalized_shape[0]
        tables = f"{self.table(norm.weight)}, {self.table(norm.bias)}"
        self.lines.append(f"normalize(x, {tables}, {size}, {norm.eps:.9e}f);")

    def _recurrent(self, layer: Any, inputs: int) -> None:
        self._norm(layer.norm)
        rnn = layer.recurrence.forward_rnn
        names = ("weight_ih_l0", "bias_ih_l0", "weight_hh_l0", "bias_hh_l0")
        tables = ", ".join(self.table(getattr(rnn, name)) for name in names)
        state, units = f"state_{len(self.states)}", rnn.hidden_size
        self.states.append(units)
        self.largest = max(self.largest, 3 * units)
        self.lines += [
            f"gru(x, {tables}, {inputs}, {units}, {state});",
            f"memcpy(x, {state}, {units} * sizeof(float));",
        ]


def table_of(name: str, values: np.ndarray) -> str:
    """Returns the definition of a C array of `int` or `float`."""
    is_integer = np.issubdtype(values.dtype, np.integer)
    numbers = [str(value) if is_integer else f"{value:.9g}" for value in values.ravel().tolist()]
    lines = [", ".join(numbers[start : start + 12]) for start in range(0, len(numbers), 12)]
    body = ",\n    ".join(lines)
    return f"{'int' if is_integer else 'float'} {name}[{values.size}] = {{\n    {body}}}"


@torch.no_grad()
def export_c(loaded: LoadedModel, output: str | Path) -> list[Path]:
    """Writes a keyword spotter as C source, with the thresholds of `tune-detector`, if the model has any.

    Args:
        loaded: A keyword spotter on the CPU.
        output: The folder, which is created if missing.

    Returns:
        The files `spotter.c` and `spotter.h`.

    Raises:
        ModelError: If the model is for another task, cannot stream, or has parts without C code.
    """
    check_verb(loaded.task, loaded.name, "listen")
    features = _check_supported(loaded)
    extractor, keywords = loaded.feature_extractor, loaded.labels[1:]
    options = DetectorOptions.load(loaded.find_file(DetectorOptions.FILE))
    model = loaded.model.float().eval()
    encoder = _Encoder(model)
    _feature_tables(encoder, features)
    thresholds = [f"{options.thresholds.get(keyword, 0.0):.9g}" for keyword in keywords]
    content = {
        "title": " ".join(f"{Path(loaded.name).name}: a keyword spotter.".replace("*/", "").split()),
        "version": __version__,
        "rate": loaded.sampling_rate,
        "samples_per_frame": loaded.samples_per_frame,
        "keywords": keywords,
        "refractory_frames": options.refractory_frames,
        "smoothing_frames": options.smoothing_frames,
        "hop": features.hop,
        "window": features.window,
        "lead": features.lead,
        "buffered": max(features.window, features.lead + features.hop),
        "n_fft": features.n_fft,
        "features": extractor.feature_size,
        "amplitude": extractor.power == 1,
        "log_floor": f"{extractor.log_floor:.9e}f",
        "preemphasis": f"{extractor.preemphasis:.9e}f",
        "names": ", ".join(_string(keyword) for keyword in keywords),
        "thresholds": ", ".join(thresholds),
        "tables": encoder.tables,
        "pasts": encoder.pasts,
        "states": encoder.states,
        "largest": encoder.largest,
        "encoder": "\n".join(f"    {line}" for line in encoder.lines),
    }
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    folder = Path(output).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / "spotter.c", folder / "spotter.h"]
    for path in paths:
        write_text(path, environment.get_template(f"{path.name}.j2").render(content))
    return paths


def _check_supported(loaded: LoadedModel) -> FeatureGraph:
    """Returns the features of a model.

    Raises:
        ModelError: If there is no C code for the model.
    """
    extractor, config = loaded.feature_extractor, loaded.model.config
    try:
        loaded.model.stream(extractor)
    except ValueError as error:
        raise ModelError(f"{loaded.name} cannot listen: {error}") from error
    features = FeatureGraph(extractor, loaded.name)
    requirements = {
        "feature_type log_mel": extractor.feature_type == "log_mel",
        "power 1 or 2": extractor.power in (1, 2),
        "an n_fft that is a power of two": features.n_fft & (features.n_fft - 1) == 0,
        "the front end subsampling": config.frontend == "subsampling",
        "recurrent_norm layer": config.recurrent_norm == "layer",
        "no lookahead": not config.lookahead,
    }
    missing = [requirement for requirement, is_met in requirements.items() if not is_met]
    if missing:
        raise ModelError(f"{loaded.name} cannot be exported as C: train a keyword spotter with {missing[0]}.")
    return features


def _feature_tables(encoder: _Encoder, features: FeatureGraph) -> None:
    """Writes the tables of the features: window, Fourier transform, mel filters, normalization."""
    extractor = features.extractor
    angles = 2 * np.pi * np.arange(features.n_fft // 2) / features.n_fft
    encoder.table(np.cos(angles), "cosines")
    encoder.table(np.sin(angles), "sines")
    encoder.table(analysis_window(extractor.window_type, features.window, torch.device("cpu")), "analysis_window")
    filters = filter_matrix(features).T
    used = [np.flatnonzero(row) for row in filters]
    starts = np.array([int(row[0]) if len(row) else 0 for row in used])
    ends = np.array([int(row[-1]) + 1 if len(row) else 0 for row in used])
    encoder.table(starts, "filter_starts")
    encoder.table(ends, "filter_ends")
    weights = [row[start:end] for row, start, end in zip(filters, starts, ends, strict=True)]
    encoder.table(np.concatenate(weights), "filter_weights")
    # Decibels are a multiple of the natural logarithm; the factor is included in mean and deviation.
    unit = 20 / extractor.power / math.log(10) if extractor.log == "db" else 1.0
    means, scales = np.zeros(len(filters)), np.full(len(filters), unit)
    if extractor.normalization == "global":
        means = np.array(extractor.feature_mean) / unit
        if extractor.normalize_variance:
            scales = unit / np.maximum(np.array(extractor.feature_std), float(SMALLEST_DEVIATION))
    encoder.table(means, "feature_means")
    encoder.table(scales, "feature_scales")


def _string(text: str) -> str:
    """Returns a C string literal, with octal escapes, which end after three digits, for bytes beyond ASCII."""
    escaped = "".join(
        chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\?' else f"\\{byte:03o}" for byte in text.encode()
    )
    return f'"{escaped}"'
