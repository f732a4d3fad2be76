"""The picture of an utterance: its waveform above its features.

Both share a time axis in seconds. The feature axis shows Hz on the mel scale, Hz on a linear scale, or the index of the
coefficient; deltas have panels of their own because their range differs. The colormap viridis is also readable in gray
and by color-blind readers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from transformers.audio_utils import hertz_to_mel

from hf_speech.common.plots import BLUE, FAINT, INK, new_figure, plain_label, save_figure
from hf_speech.models import SpeechFeatureExtractor

WIDTH, MAX_TITLE = 3.6, 38
COLORS = "viridis"
# Candidate ticks of a mel axis in Hz; those that fit are used.
TICK_FREQUENCIES = (100, 500, 1000, 2000, 3000, 4000, 6000, 8000, 12000, 16000, 20000)


@dataclass(frozen=True)
class Scale:
    """The axis limits shared by pictures that are compared.

    Attributes:
        seconds: The end of the time axis.
        amplitude: The amplitude axis runs from minus this value to this value.
        ranges: The lowest and highest color value of the features and of each order of deltas.
    """

    seconds: float
    amplitude: float
    ranges: tuple[tuple[float, float], ...]

    @classmethod
    def of(cls, waveforms: list[np.ndarray], features: list[np.ndarray], extractor: SpeechFeatureExtractor) -> Scale:
        """Returns limits that fit all of the given utterances."""
        # Percentiles, because a few extreme values would leave little contrast for the others.
        orders = [
            np.concatenate([_select_order(values, index, extractor).ravel() for values in features])
            for index in range(1 + extractor.num_deltas)
        ]
        ranges = []
        for values in orders:
            low, high = (float(value) for value in np.percentile(values, (0.5, 99.5)))
            ranges.append((low, high if high > low else low + 1))
        return cls(
            seconds=max(len(samples) for samples in waveforms) / extractor.sampling_rate,
            amplitude=max(float(np.abs(samples).max()) for samples in waveforms) or 1.0,
            ranges=tuple(ranges),
        )


def draw_utterance(
    samples: np.ndarray,
    features: np.ndarray,
    extractor: SpeechFeatureExtractor,
    scale: Scale,
    path: str | Path,
    title: str,
) -> None:
    """Draws the picture of an utterance and saves it."""
    panels = 1 + extractor.num_deltas
    heights = [1.05, *[1.9] * panels]
    figure = new_figure(WIDTH, 0.6 + sum(heights))
    first, *others = figure.subplots(1 + panels, 1, height_ratios=heights)
    figure.suptitle(plain_label(title, MAX_TITLE), x=0.02, ha="left", color=INK, fontsize=10, fontweight="bold")
    _draw_waveform(first, samples, extractor, scale)
    for index, axes in enumerate(others):
        values = _select_order(features, index, extractor)
        if extractor.time_average:
            _draw_average(axes, values[0], index, extractor)
            continue
        axes.sharex(first)
        low, high = scale.ranges[index]
        hop, rate = extractor.hop_length, extractor.sampling_rate
        # Frames are centered on their time, except for raw samples, which start there.
        start = -hop / 2 / rate if extractor.kind.windowed else 0.0
        extent = (start, start + len(values) * hop / rate, -0.5, values.shape[1] - 0.5)
        image = axes.imshow(values.T, origin="lower", aspect="auto", extent=extent, cmap=COLORS, vmin=low, vmax=high)
        axes.set_xlim(0, scale.seconds)
        _label_features(axes, values.shape[1], extractor)
        bar = figure.colorbar(image, ax=axes, location="bottom", pad=0.02, aspect=36, extend="both")
        bar.set_label(feature_unit(extractor, index), color=INK, fontsize=8.5)
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=8, color=FAINT, labelcolor=INK)
        bar.ax.xaxis.set_major_locator(MaxNLocator(nbins=6))
    for axes in others[:-1] if not extractor.time_average else []:
        axes.tick_params(labelbottom=False)
        axes.set_xlabel("")
    for axes in (first, *others):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8.5)
        axes.xaxis.label.set_fontsize(9)
        axes.yaxis.label.set_fontsize(9)
    figure.align_ylabels([first, *others])
    save_figure(figure, path)


def feature_unit(extractor: SpeechFeatureExtractor, order: int = 0) -> str:
    """Returns the unit of the feature values, for a color bar.

    Args:
        extractor: The feature extractor.
        order: 0 for the features, 1 for their deltas, 2 for the delta-deltas.
    """
    quantity = "power" if extractor.power == 2 else "amplitude" if extractor.power == 1 else "spectrum"
    unit = {"ln": f"ln {quantity}", "db": "dB", "none": quantity}[extractor.log]
    if not extractor.kind.windowed:
        unit = "amplitude"
    if extractor.normalization in ("utterance", "global"):
        mean = f"the mean of the {'utterance' if extractor.normalization == 'utterance' else 'corpus'}"
        unit = f"standard deviations from {mean}" if extractor.normalize_variance else f"{unit}, less {mean}"
    elif order:
        unit += " per frame" * order
    return ("", "delta: ", "delta-delta: ")[order] + unit


def mel_positions(extractor: SpeechFeatureExtractor) -> tuple[list[float], list[int]]:
    """Returns the ticks of an axis of mel filters.

    Returns:
        Positions in filters (0 is the center of the first), and frequencies in Hz.
    """
    low = extractor.min_frequency
    high = extractor.sampling_rate / 2 if extractor.max_frequency is None else extractor.max_frequency
    # On the mel scale, filter centers are equally spaced, with the same distance between the first and the lower end.
    edges = hertz_to_mel(np.array([low, high, *TICK_FREQUENCIES], dtype=float), mel_scale=extractor.mel_scale)
    step = (edges[1] - edges[0]) / (extractor.num_mel_bins + 1)
    positions = (edges[2:] - edges[0]) / step - 1
    min_distance = extractor.num_mel_bins / 9  # space for a label
    ticks: list[tuple[float, int]] = []
    for position, frequency in zip(positions.tolist(), TICK_FREQUENCIES, strict=True):
        inside = -0.5 <= position <= extractor.num_mel_bins - 0.5
        if inside and (not ticks or position - ticks[-1][0] >= min_distance):
            ticks.append((position, frequency))
    return [position for position, _ in ticks], [frequency for _, frequency in ticks]


def _draw_waveform(axes: Axes, samples: np.ndarray, extractor: SpeechFeatureExtractor, scale: Scale) -> None:
    time = np.arange(len(samples)) / extractor.sampling_rate
    axes.plot(time, samples, color=BLUE, linewidth=0.6)
    axes.axhline(0, color=FAINT, linewidth=0.4)
    axes.set_ylim(-1.05 * scale.amplitude, 1.05 * scale.amplitude)
    axes.set_xlim(0, scale.seconds)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=3, symmetric=True))
    axes.set_ylabel("Amplitude\n(1 = full)")
    if extractor.time_average:
        axes.set_xlabel("Time (s)")
    else:  # The features below share the axis.
        axes.tick_params(labelbottom=False)
    limit = extractor.max_duration
    if limit is not None and scale.seconds > limit:
        axes.axvspan(limit, scale.seconds, color=FAINT, alpha=0.2, linewidth=0)
        axes.annotate(
            "not used",
            (limit, 1),
            xycoords=("data", "axes fraction"),
            xytext=(3, -3),
            textcoords="offset points",
            va="top",
            color=INK,
            fontsize=8,
        )


def _label_features(axes: Axes, count: int, extractor: SpeechFeatureExtractor) -> None:
    """Labels the axes of a feature panel."""
    axes.set_xlabel("Time (s)")
    axes.set_ylim(-0.5, count - 0.5)
    if extractor.kind.scale == "mel":
        positions, frequencies = mel_positions(extractor)
        axes.set_yticks(positions, [f"{frequency:,}" for frequency in frequencies])
        axes.set_ylabel("Frequency\n(Hz, mel scale)")
    elif extractor.kind.scale == "linear":
        per_bin = extractor.sampling_rate / 2 / (count - 1)
        locator = MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10])
        ticks = np.asarray(locator.tick_values(0, extractor.sampling_rate / 2))
        ticks = ticks[ticks <= extractor.sampling_rate / 2]
        axes.set_yticks(ticks / per_bin, [f"{tick:,.0f}" for tick in ticks])
        axes.set_ylabel("Frequency (Hz)")
    else:
        axes.yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        axes.set_ylabel(extractor.kind.axis)


def _draw_average(axes: Axes, values: np.ndarray, order: int, extractor: SpeechFeatureExtractor) -> None:
    """Draws the time average of the features as a line."""
    axes.plot(values, color=BLUE, marker="o", markersize=2.5, linewidth=1)
    axes.set_ylabel(f"Mean over time\n({feature_unit(extractor, order)})")
    axes.grid(color="#E5E7EB", linewidth=0.8)
    if extractor.kind.scale == "mel":
        positions, frequencies = mel_positions(extractor)
        axes.set_xticks(positions, [f"{frequency:,}" for frequency in frequencies])
        axes.set_xlabel("Frequency (Hz, mel scale)")
    else:
        axes.set_xlabel(extractor.kind.axis)


def _select_order(features: np.ndarray, index: int, extractor: SpeechFeatureExtractor) -> np.ndarray:
    """Returns the features (0), their deltas (1) or their delta-deltas (2), `(frames, features)`."""
    return np.split(features, 1 + extractor.num_deltas, axis=1)[index]
