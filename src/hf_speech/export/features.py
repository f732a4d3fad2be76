"""Writes `SpeechFeatureExtractor` into an ONNX graph, with the same results as `models/spectral.py`.

The writer of a feature type, named in the registry, is a function `(features, frames) -> features` from windows
`(batch, frames, window)` to `(batch, frames, features)`.

- The Fourier transform is a product with matrices of windowed cosines and sines, because ONNX's own DFT is slow or
  missing in many runtimes. Frequencies that no mel filter covers are left out. The graph contains the formula of these
  matrices, which would be larger than a small model; runtimes compute them once when they load the file.
- Frames are made of blocks of one hop: a window of 2.5 hops is cut out of three neighboring blocks. That takes three
  slices for any length, and no indexing of samples.
- The mean over an utterance is computed from differences to its first frame, so that it is exact for a constant feature
  (a band without sound) even in float32. The extractor uses float64.
- Padding has no effect: samples beyond the end of a clip are set to zero first, and frames beyond it last.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any

import numpy as np
import torch

from hf_speech.errors import ModelError
from hf_speech.export.graph import END, Graph, Value
from hf_speech.models.feature_types import FEATURE_TYPES
from hf_speech.models.spectral import VARIANCE_FLOOR, analysis_window, mel_bands

CPU = torch.device("cpu")
LOWEST = float(np.finfo(np.float32).min)
SMALLEST_DEVIATION = np.float32(math.sqrt(VARIANCE_FLOOR))


@dataclass(frozen=True)
class WholeFeatures:
    """The features of a batch of clips.

    Attributes:
        features: `(batch, frames, features)`, zero on padded frames.
        counts: The number of valid frames of each clip, `(batch,)`.
        longest: The number of frames of the longest clip, without the padding to a multiple, `(1,)`.
        raw: The features before normalization.
    """

    features: Value
    counts: Value
    longest: Value
    raw: Value


class FeatureGraph:
    """Writes a feature extractor into graphs.

    Args:
        extractor: A `SpeechFeatureExtractor`.
        name: The name of the model in error messages.

    Attributes:
        hop: The number of samples from one frame to the next.
        lead: The number of samples by which the window of frame `t` begins before `t * hop`.
        window: The number of samples of the window.
        blocks: The number of blocks of one hop that a window covers, at least in part.

    Raises:
        ModelError: If the extractor has another class, or lacks its statistics.
    """

    def __init__(self, extractor: Any, name: str) -> None:
        if type(extractor).__name__ != "SpeechFeatureExtractor":
            raise ModelError(
                f"{name} has a {type(extractor).__name__}, which cannot be exported to ONNX: export a model with a "
                "SpeechFeatureExtractor."
            )
        if extractor.normalization == "global" and (extractor.feature_mean is None or extractor.feature_std is None):
            raise ModelError(
                f"The feature extractor of {name} has normalization global without statistics: save it again after "
                "fit_global_statistics."
            )
        self.extractor = extractor
        self.kind = FEATURE_TYPES[extractor.feature_type]
        self.hop = int(extractor.hop_length)
        self.window, self.lead = extractor.frame_span
        self.n_fft = int(extractor.fft_length)
        self.blocks = -(-self.window // self.hop)

    def whole(self, waveform: Value, lengths: Value, multiple: int, statistics: Value | None = None) -> WholeFeatures:
        """Writes the features of whole clips.

        Args:
            waveform: `(batch, samples)`; samples beyond the end of a clip are ignored.
            lengths: The number of samples of each clip, `(batch,)`.
            multiple: Frames are padded to a multiple of this number, at least to the number itself.
            statistics: For normalization by utterance, the mean and standard deviation of each feature
                `(2, features)`, which replace those of the utterance if the deviation is above 0. For normalization by
                peak, the peak `(1, 1)`, which replaces that of the utterance if it is above 0.
        """
        graph = waveform.graph
        if first := self.extractor.first_sample:
            waveform, lengths = waveform.slice(1, first), lengths - first
        if (most := self.extractor.max_samples) is not None:
            waveform, lengths = waveform.slice(1, 0, most), lengths.clip(highest=most)
        num_samples = waveform.size(1)
        lengths = graph.minimum(lengths.clip(lowest=0), num_samples)
        valid = graph.arange(num_samples).unsqueeze(0) < lengths.unsqueeze(1)
        samples = graph.where(valid, waveform, np.float32(0))
        if self.extractor.normalization == "peak":
            peak = graph.op("Abs", samples).max(1)
            if statistics is not None:
                peak = graph.where(statistics > 0.0, statistics, peak)
            samples = samples / graph.where(peak > 0.0, peak, 1.0)
        if self.extractor.preemphasis:
            before = graph.op("Pad", samples, np.array([0, 1, 0, -1]))
            samples = graph.where(valid, samples - before * float(self.extractor.preemphasis), np.float32(0))
        counts = lengths // self.hop
        longest = num_samples // self.hop
        num_frames = ((longest + (multiple - 1)) // multiple).clip(lowest=1) * multiple
        padded = graph.op("Pad", samples, np.array([0, self.lead, 0, (self.blocks + multiple) * self.hop]))
        mask = (graph.arange(num_frames).unsqueeze(0) < counts.unsqueeze(1)).unsqueeze(2)
        raw = self._project(self._limit(self.spectra(padded, num_frames), mask))
        raw = self._with_deltas(raw, counts, mask)
        if self.extractor.normalization == "utterance":
            features = self._normalize_utterances(raw, counts, mask, statistics)
        else:
            features = self._normalize(raw) * mask.cast("float32")
        if self.extractor.time_average:
            count = counts.clip(lowest=1).cast("float32").unsqueeze(1, 2)
            features, counts, longest = features.sum(1) / count, counts.clip(highest=1), longest.clip(highest=1)
        return WholeFeatures(features, counts, longest, raw)

    def spectra(self, samples: Value, num_frames: Value) -> Value:
        """Writes the features before `top_db`, projection, deltas and normalization.

        Args:
            samples: `(batch, samples)`, beginning with the first window; at least `(num_frames + blocks - 1) * hop`.
            num_frames: The number of frames, `(1,)`.

        Returns:
            `(batch, num_frames, features)`.
        """
        writer: Any = resolve_name(self.kind.onnx_writer)
        written: Value = writer(self, self.frames(samples, num_frames))
        return written

    def stream(self, spectra: Value) -> Value:
        """Writes projection and normalization of the spectra of a stream, in which all frames are valid."""
        return self._normalize(self._project(spectra))

    def frames(self, samples: Value, num_frames: Value) -> Value:
        """Cuts `(batch, samples)` into windows `(batch, num_frames, window)`."""
        total = num_frames + (self.blocks - 1)
        blocks = samples.slice(1, 0, total * self.hop).reshape(0, -1, self.hop)
        parts = [blocks.slice(1, first, first + 1 - self.blocks or END) for first in range(self.blocks)]
        parts[-1] = parts[-1].slice(2, 0, self.window - (self.blocks - 1) * self.hop)
        return parts[0] if len(parts) == 1 else samples.graph.concat(2, *parts)

    def _limit(self, features: Value, mask: Value) -> Value:
        """Limits the dynamic range to `top_db`, if set, and sets padded frames to zero."""
        graph = features.graph
        if self.kind.windowed and self.extractor.top_db is not None:
            peak = graph.where(mask, features, np.float32(LOWEST)).max(1, 2)
            features = graph.maximum(features, peak - float(self.extractor.top_db))
        return graph.where(mask, features, np.float32(0))

    def _project(self, features: Value) -> Value:
        """Multiplies features by the projection of their type, if it has one."""
        projection = self.kind.projection
        return features if projection is None else features @ projection(self.extractor, CPU).numpy()

    def _with_deltas(self, features: Value, counts: Value, mask: Value) -> Value:
        """Appends the deltas of the features; see `deltas` in `spectral.py`."""
        graph, reach = features.graph, self.extractor.delta_window // 2
        positions = graph.arange(features.size(1)).unsqueeze(0)
        last = (counts - 1).clip(lowest=0).unsqueeze(1)
        orders = [features]
        for _ in range(self.extractor.num_deltas):
            delta: Value | None = None
            for n in range(1, reach + 1):
                later, earlier = (
                    self._frames_at(orders[-1], graph.minimum((positions + step).clip(lowest=0), last))
                    for step in (n, -n)
                )
                term = (later - earlier) * (n / sum(2 * m * m for m in range(1, reach + 1)))
                delta = term if delta is None else delta + term
            assert delta is not None
            orders.append(graph.where(mask, delta, np.float32(0)))
        return orders[0] if len(orders) == 1 else graph.concat(2, *orders)

    @staticmethod
    def _frames_at(features: Value, positions: Value) -> Value:
        """Returns the frames at `positions` `(batch, frames)`."""
        shape = features.graph.op("Shape", features)
        index = features.graph.op("Expand", positions.unsqueeze(2), shape)
        return features.graph.op("GatherElements", features, index, axis=1)

    def _normalize(self, features: Value) -> Value:
        """Normalizes by the statistics of the training data, if the extractor does."""
        extractor = self.extractor
        if extractor.normalization != "global":
            return features
        features = features - np.array(extractor.feature_mean, dtype=np.float32)
        if extractor.normalize_variance:
            features = features / np.maximum(np.array(extractor.feature_std, dtype=np.float32), SMALLEST_DEVIATION)
        return features

    def _normalize_utterances(self, features: Value, counts: Value, mask: Value, statistics: Value | None) -> Value:
        graph = features.graph
        valid, count = mask.cast("float32"), counts.clip(lowest=1).cast("float32").unsqueeze(1, 2)
        first = features.slice(1, 0, 1)
        differences = (features - first) * valid
        mean = differences.sum(1) / count  # Relative to the first frame.
        if statistics is not None:
            given_mean, given_deviation = statistics.split(0, [1, 1])
            mean = graph.where(given_deviation > 0.0, given_mean - first, mean)
        centered = (differences - mean) * valid
        if not self.extractor.normalize_variance:
            return centered
        deviation = graph.op("Sqrt", (centered * centered).sum(1) / count)
        if statistics is not None:
            deviation = graph.where(given_deviation > 0.0, given_deviation, deviation)
        return centered / deviation.clip(lowest=SMALLEST_DEVIATION)


def write_samples(features: FeatureGraph, frames: Value) -> Value:
    """Returns the samples of windows `(batch, frames, window)` unchanged."""
    return frames


def write_spectra(features: FeatureGraph, frames: Value, filters: np.ndarray | None = None) -> Value:
    """Writes spectra of windows `(batch, frames, window)`, with optional filters `(frequencies, filters)`."""
    graph, extractor = frames.graph, features.extractor
    first, end = 0, features.n_fft // 2 + 1
    if filters is not None:
        used = np.flatnonzero(filters.any(axis=1))
        first, end = int(used.min(initial=end)), int(used.max(initial=first)) + 1
    spectrum = _power(features, frames, first, end)
    if extractor.power == 1:
        spectrum = graph.op("Sqrt", spectrum)
    elif extractor.power != 2:
        spectrum = graph.op("Pow", spectrum, extractor.power / 2)
    if filters is not None:
        spectrum = spectrum @ sparse_filters(graph, filters[first:end])
    if extractor.log == "none":
        return spectrum
    spectrum = graph.op("Log", spectrum.clip(lowest=np.float32(extractor.log_floor)))
    return spectrum * (20 / extractor.power / math.log(10)) if extractor.log == "db" else spectrum


def write_mel_spectra(features: FeatureGraph, frames: Value) -> Value:
    """Writes mel spectra of windows `(batch, frames, window)`."""
    return write_spectra(features, frames, filter_matrix(features))


def _power(features: FeatureGraph, frames: Value, first: int, end: int) -> Value:
    """Writes the power of the frequencies from `first` to `end` of windows, `(batch, frames, frequencies)`."""
    graph, n_fft, size = frames.graph, features.n_fft, features.window
    window = analysis_window(features.extractor.window_type, size, CPU).numpy()
    # Cosines are even and sines odd, so sums and differences of the halves need half as many multiplications.
    halves = bool(window[0] == 0.0) and size % 2 == 0
    if halves:
        window = window[1 : size // 2 + 1].copy()
        window[-1] /= 2  # Both halves contain the center.
    # Power does not depend on the origin of time, which is the center of the window here. Phases are integers in
    # quarters of `2 pi / n_fft`, reduced to small angles, where float32 sines are accurate.
    start = 4 - 2 * size if halves else -2 * size
    times = graph.op("Range", np.int64(start), np.int64(start + 4 * len(window)), np.int64(4)).unsqueeze(1)
    phases = times * graph.op("Range", np.int64(first), np.int64(end), np.int64(1))

    def wave(phases: Value) -> Value:
        distances = graph.op("Abs", graph.op("Mod", phases + 2 * n_fft, 4 * n_fft) - 2 * n_fft)
        angles = (distances - n_fft).cast("float32") * (-math.pi / (2 * n_fft))
        return graph.op("Sin", angles) * window[:, None]

    cosines, sines = wave(phases), wave(phases - n_fft)
    if halves:
        before, after = frames.slice(2, 1, size // 2 + 1), frames.slice(2, -1, size // 2 - size - 1, step=-1)
        real, imaginary = (before + after) @ cosines, (before - after) @ sines
    else:
        real, imaginary = frames @ cosines, frames @ sines
    return real * real + imaginary * imaginary


def sparse_filters(graph: Graph, filters: np.ndarray) -> Value:
    """Writes filters `(frequencies, filters)`, storing only the few neighboring ones that are not zero."""
    columns = filters.shape[1]
    nonzero = filters != 0
    lowest = np.where(nonzero.any(axis=1), nonzero.argmax(axis=1), 0)
    width = int((columns - nonzero[:, ::-1].argmax(axis=1) - lowest)[nonzero.any(axis=1)].max(initial=1))
    lowest = np.minimum(lowest, columns - width)[:, None]
    weights = np.take_along_axis(filters, lowest + np.arange(width), axis=1)
    offsets = graph.op("Range", np.int32(0), np.int32(columns), np.int32(1)) - lowest.astype(np.int32)
    terms = [graph.op("Equal", offsets, np.int32(i)).cast("float32") * weights[:, i : i + 1] for i in range(width)]
    return terms[0] if width == 1 else graph.op("Sum", *terms)


def filter_matrix(features: FeatureGraph) -> np.ndarray:
    """Returns the mel filters of an extractor, `(frequencies, filters)`."""
    extractor, n_fft = features.extractor, features.n_fft
    filters = np.zeros((n_fft // 2 + 1, extractor.num_mel_bins), dtype=np.float32)
    span = (extractor.sampling_rate, extractor.min_frequency, extractor.upper_frequency)
    for band in mel_bands(extractor.num_mel_bins, n_fft, *span, extractor.mel_scale, extractor.mel_norm, CPU):
        rows, columns = band.filters.shape
        frequencies = slice(band.first_frequency, band.first_frequency + rows)
        filters[frequencies, band.first_filter : band.first_filter + columns] = band.filters.numpy()
    return filters
