"""The feature types and their registry.

The extractor, the ONNX export, plots and texts look up everything about a feature type in `FEATURE_TYPES`. To add one,
write the function that computes it and its entry here, and the function that its `onnx_writer` names.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from .spectral import analysis_window, cosine_transform, mel_bands, pack_utterances, spectral_features


def compute_waveform(extractor: Any, utterances: Sequence[torch.Tensor], device: torch.device) -> list[torch.Tensor]:
    """Returns the samples themselves, one hop per frame."""
    hop = extractor.hop_length
    # A copy, so that masking features in place does not change the sound.
    return [samples[: len(samples) // hop * hop].view(-1, hop).to(device, copy=True) for samples in utterances]


def compute_spectrogram(
    extractor: Any, utterances: Sequence[torch.Tensor], device: torch.device, mel: bool = False
) -> list[torch.Tensor]:
    """Computes spectra, optionally mel-filtered, on the extractor's logarithmic scale."""
    window, lead = extractor.frame_span
    frames, starts = pack_utterances(utterances, window, extractor.hop_length, lead, device)
    n_fft, bands = extractor.fft_length, None
    if mel:
        span = (extractor.sampling_rate, extractor.min_frequency, extractor.upper_frequency)
        bands = mel_bands(extractor.num_mel_bins, n_fft, *span, extractor.mel_scale, extractor.mel_norm, device)
    shape = analysis_window(extractor.window_type, window, device)
    log_floor = None if extractor.log == "none" else extractor.log_floor
    rows = spectral_features(frames, shape, n_fft, extractor.power, bands, log_floor)
    if extractor.log == "db":
        rows *= 20 / extractor.power / math.log(10)  # 10 log10 of power, 20 log10 of amplitude
    counts = [len(samples) // extractor.hop_length for samples in utterances]
    return [rows[start : start + count] for start, count in zip(starts, counts, strict=True)]


def compute_log_mel(extractor: Any, utterances: Sequence[torch.Tensor], device: torch.device) -> list[torch.Tensor]:
    """Computes log-mel spectra."""
    return compute_spectrogram(extractor, utterances, device, mel=True)


def _check_mfcc(extractor: Any) -> None:
    if extractor.num_mfcc > extractor.num_mel_bins:
        raise ValueError(f"num_mfcc={extractor.num_mfcc} must be at most num_mel_bins={extractor.num_mel_bins}.")


@dataclass(frozen=True)
class FeatureType:
    """An entry of `FEATURE_TYPES`.

    Attributes:
        compute: Computes the features from an extractor, the samples of each utterance and a device; returns
            `(samples // hop_length, features)` for each utterance.
        num_features: Returns the number of features, after the `projection` if there is one, for an extractor.
        onnx_writer: The function that writes `compute` into an ONNX graph, as `module:function`.
        phrase: Describes the features after their number: "80 log-mel features".
        scale: Frequency scale by which the features of a frame are ordered, if they are.
        axis: Label of the feature axis in plots.
        windowed: Whether a frame is an analysis window rather than a hop of samples.
        needs_log: Whether the features require a logarithm.
        projection: Returns a matrix `(computed, features)` for an extractor and a device, which is applied after
            `top_db`.
        check: Raises a ValueError for an extractor's options that do not suit the features.
    """

    compute: Callable[[Any, Sequence[torch.Tensor], torch.device], list[torch.Tensor]]
    num_features: Callable[[Any], int]
    onnx_writer: str
    phrase: str
    scale: Literal["mel", "linear"] | None = None
    axis: str = "Feature"
    windowed: bool = True
    needs_log: bool = False
    projection: Callable[[Any, torch.device], torch.Tensor] | None = None
    check: Callable[[Any], None] | None = None


_WRITERS = "hf_speech.export.features"

FEATURE_TYPES: dict[str, FeatureType] = {
    "log_mel": FeatureType(
        compute_log_mel,
        num_features=lambda extractor: extractor.num_mel_bins,
        onnx_writer=f"{_WRITERS}:write_mel_spectra",
        phrase="log-mel features",
        scale="mel",
        axis="Mel filter",
        needs_log=True,
    ),
    "spectrogram": FeatureType(
        compute_spectrogram,
        num_features=lambda extractor: extractor.fft_length // 2 + 1,
        onnx_writer=f"{_WRITERS}:write_spectra",
        phrase="bins of a spectrum",
        scale="linear",
        axis="Bin of the spectrum",
    ),
    "mfcc": FeatureType(
        compute_log_mel,
        num_features=lambda extractor: extractor.num_mfcc,
        onnx_writer=f"{_WRITERS}:write_mel_spectra",
        phrase="cepstral coefficients (MFCC)",
        axis="Coefficient",
        needs_log=True,
        projection=lambda extractor, device: cosine_transform(extractor.num_mel_bins, extractor.num_mfcc, device),
        check=_check_mfcc,
    ),
    "waveform": FeatureType(
        compute_waveform,
        num_features=lambda extractor: extractor.hop_length,
        onnx_writer=f"{_WRITERS}:write_samples",
        phrase="raw samples",
        axis="Sample of the frame",
        windowed=False,
    ),
}

__all__ = ["FEATURE_TYPES", "FeatureType"]
