"""The signal processing of the feature extractor: framing, spectra, mel filters, cepstra, deltas, CMVN.

Design decisions:

* Utterances are *packed* into one buffer, each starting at a multiple of the hop, so that one strided view holds every
  frame of the batch. Ragged batches need no padding, and one loop serves CPU and GPU.
* The loop processes blocks of frames that fit into the CPU's cache: a block is windowed, transformed, squared, filtered
  and logged before the next one. `benchmarks/features.py` measures this.
* Operations on whole utterances (top_db, deltas, CMVN) use only valid frames, and leave padded frames at 0.
* Windows and matrices are cached by their parameters and device, outside of any object, so that extractors stay small,
  picklable and free of tensors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from transformers.audio_utils import mel_filter_bank

# Frames per block. 256 frames of 400 samples are 400 kB, which fits into the L2 cache of a CPU core; an accelerator is
# faster with large blocks, of about 100 MB.
CPU_BLOCK = 256
ACCELERATOR_BLOCK = 2**16
# A feature with less variance counts as constant: dividing by its deviation would only amplify rounding errors.
VARIANCE_FLOOR = 1e-5
# Mel filters per matrix multiplication on a CPU. A mel matrix is mostly zeros: with 80 filters over 201 frequencies,
# groups of 16 need a quarter of the multiplications and half the time.
CPU_MEL_BAND = 16


class MelBand(NamedTuple):
    """Neighboring mel filters and their position in the mel matrix."""

    first_filter: int
    first_frequency: int
    filters: torch.Tensor
    """`(frequencies, filters)`"""


@lru_cache(maxsize=64)
def analysis_window(window_type: str, length: int, device: torch.device) -> torch.Tensor:
    """Returns the periodic "hann" or "hamming" window of `length` samples."""
    make = {"hann": torch.hann_window, "hamming": torch.hamming_window}[window_type]
    return make(length, periodic=True, dtype=torch.float64).to(device, torch.float32)


@lru_cache(maxsize=64)
def mel_bands(
    num_mel_bins: int,
    n_fft: int,
    sampling_rate: int,
    min_frequency: float,
    max_frequency: float,
    mel_scale: str,
    mel_norm: str | None,
    device: torch.device,
) -> list[MelBand]:
    """Returns triangular mel filters in groups of neighbors, with only the frequencies they cover; `n_fft` is even."""
    filters = torch.from_numpy(
        mel_filter_bank(
            num_frequency_bins=n_fft // 2 + 1,
            num_mel_filters=num_mel_bins,
            min_frequency=min_frequency,
            max_frequency=max_frequency,
            sampling_rate=sampling_rate,
            norm=mel_norm,
            mel_scale=mel_scale,
        )
    ).float()
    size = CPU_MEL_BAND if device.type == "cpu" else num_mel_bins
    bands = []
    for first_filter in range(0, num_mel_bins, size):
        band = filters[:, first_filter : first_filter + size]
        covered = band.any(1).nonzero().flatten().tolist() or [0]
        band = band[covered[0] : covered[-1] + 1].contiguous().to(device)
        bands.append(MelBand(first_filter, covered[0], band))
    return bands


@lru_cache(maxsize=64)
def cosine_transform(num_inputs: int, num_outputs: int, device: torch.device) -> torch.Tensor:
    """Returns the orthonormal DCT-II, scipy's `dct(type=2, norm="ortho")`, as a matrix `(num_inputs, num_outputs)`."""
    inputs = torch.arange(num_inputs, dtype=torch.float64)[:, None]
    outputs = torch.arange(num_outputs, dtype=torch.float64)
    matrix = math.sqrt(2 / num_inputs) * torch.cos(math.pi / num_inputs * (inputs + 0.5) * outputs)
    matrix[:, 0] /= math.sqrt(2)
    return matrix.to(device, torch.float32)


def preemphasize(samples: torch.Tensor, coefficient: float) -> torch.Tensor:
    """Returns `y[t] = x[t] - coefficient · x[t - 1]`, `(samples,)`, with silence before the first sample."""
    return torch.cat([samples[:1], samples[1:] - coefficient * samples[:-1]])


def pack_utterances(
    utterances: Sequence[torch.Tensor], win_length: int, hop_length: int, lead: int, device: torch.device
) -> tuple[torch.Tensor, list[int]]:
    """Concatenate utterances so that one strided view holds all of their frames.

    Args:
        utterances: Samples of each, `(samples,)`, at least `hop_length`.
        win_length: Samples per frame.
        hop_length: Samples from one frame to the next.
        lead: Number of samples before `t · hop_length` at which frame `t` begins; the first frames begin with zeros.
        device: Device of the result.

    Returns:
        The frames as a view `(rows, win_length)`, and the first row of each utterance. An utterance has
        `samples // hop_length` frames; the few rows between two utterances belong to neither.
    """
    gap = math.ceil(win_length / hop_length) - 1  # rows that overlap two utterances
    starts = [0]
    for utterance in utterances:
        starts.append(starts[-1] + len(utterance) // hop_length + gap)
    rows = starts.pop()
    buffer = torch.zeros((rows - 1) * hop_length + win_length, device=utterances[0].device)
    for start, end, utterance in zip(starts, [*starts[1:], rows], utterances, strict=True):
        region = buffer[start * hop_length + lead : end * hop_length]
        # Samples beyond the last window are in no frame, and must not end up in the next utterance's lead.
        used = utterance[: len(region)]
        region[: len(used)] = used
    return buffer.to(device).unfold(0, win_length, hop_length), starts


def spectral_features(
    frames: torch.Tensor,
    window: torch.Tensor,
    n_fft: int,
    power: float,
    bands: Sequence[MelBand] | None,
    log_floor: float | None,
) -> torch.Tensor:
    """Computes windowed spectra, optionally with mel filters and the natural logarithm.

    Args:
        frames: `(rows, win_length)`, with any strides.
        window: `(win_length,)`.
        n_fft: Length of the Fourier transform, at least `win_length`. Frames are zero-padded at the end rather than on
            both sides, which changes phases but not magnitudes.
        power: Exponent of the magnitude: 2 for power, 1 for amplitude.
        bands: The mel filters; None for the spectrum itself.
        log_floor: Smaller values are raised to this before the logarithm; None for no logarithm.

    Returns:
        `(rows, features)`, float32.
    """
    rows, win_length = frames.shape
    block = CPU_BLOCK if frames.device.type == "cpu" else ACCELERATOR_BLOCK
    num_features = n_fft // 2 + 1 if bands is None else sum(band.filters.shape[1] for band in bands)
    output = frames.new_empty(rows, num_features)
    windowed = frames.new_zeros(min(rows, block), n_fft)
    for start in range(0, rows, block):
        target = output[start : start + block]
        count = len(target)
        torch.mul(frames[start : start + block], window, out=windowed[:count, :win_length])
        squares = torch.view_as_real(torch.fft.rfft(windowed[:count])).square_()
        spectrum = squares[..., 0] + squares[..., 1]
        if power == 1:
            spectrum.sqrt_()
        elif power != 2:
            spectrum.pow_(power / 2)
        if bands is None:
            target.copy_(spectrum)
        else:
            for column, frequency, filters in bands:
                covered = spectrum[:, frequency : frequency + filters.shape[0]]
                torch.mm(covered, filters, out=target[:, column : column + filters.shape[1]])
        if log_floor is not None:
            target.clamp_(min=log_floor).log_()
    return output


def limit_dynamic_range(features: torch.Tensor, mask: torch.Tensor, span: float) -> torch.Tensor:
    """Raise values more than `span` below their utterance's maximum, like `top_db` of librosa and torchaudio.

    Args:
        features: `(batch, frames, features)`.
        mask: `(batch, frames, 1)`, true on valid frames.
        span: The dynamic range, in the unit of the features.
    """
    peak = features.masked_fill(~mask, -math.inf).amax(dim=(1, 2), keepdim=True)
    return torch.maximum(features, peak - span).masked_fill_(~mask, 0.0)


def deltas(features: torch.Tensor, lengths: torch.Tensor, mask: torch.Tensor, window: int) -> torch.Tensor:
    """Computes the slope of a regression line through the `window` frames around each frame.

    `d[t] = Σ n · (x[t + n] - x[t - n]) / Σ 2 n²` for n = 1 … window // 2 (The HTK Book, section 5.9). Beyond
    its ends, an utterance is extended with its first and last valid frame.

    Args:
        features: `(batch, frames, features)`.
        lengths: Valid frames of each utterance, `(batch,)`.
        mask: `(batch, frames, 1)`, true on valid frames.
        window: Number of frames, odd and at least 3.
    """
    reach = window // 2
    num_frames = features.shape[1]
    positions = torch.arange(-reach, num_frames + reach, device=features.device).clamp_(min=0)
    positions = torch.minimum(positions, lengths[:, None] - 1)
    extended = features.gather(1, positions[..., None].expand(-1, -1, features.shape[2]))
    delta = torch.zeros_like(features)
    for n in range(1, reach + 1):
        later = extended[:, reach + n : reach + n + num_frames]
        earlier = extended[:, reach - n : reach - n + num_frames]
        delta.add_(later - earlier, alpha=n)
    delta /= sum(2 * n * n for n in range(1, reach + 1))
    return delta.masked_fill_(~mask, 0.0)


def normalize_utterances(
    features: torch.Tensor, lengths: torch.Tensor, mask: torch.Tensor, normalize_variance: bool
) -> torch.Tensor:
    """Normalizes each feature to mean 0 and, optionally, variance 1 over the valid frames of its utterance (CMVN).

    Sums are computed in float64, so that the mean of a constant feature (a band without sound) is exactly that
    constant. In float32, rounding errors would depend on the batch, and the division would amplify them.

    Args:
        features: `(batch, frames, features)`, 0 on padded frames.
        lengths: Valid frames of each utterance, `(batch,)`.
        mask: `(batch, frames, 1)`, true on valid frames.
        normalize_variance: Whether to divide by the deviation.
    """
    count = lengths[:, None, None]
    mean = features.sum(1, keepdim=True, dtype=torch.float64) / count
    centered = (features - mean.float()).mul_(mask)
    if normalize_variance:
        variance = centered.square().sum(1, keepdim=True, dtype=torch.float64) / count
        centered *= variance.float().clamp_(min=VARIANCE_FLOOR).rsqrt_()
    return centered
