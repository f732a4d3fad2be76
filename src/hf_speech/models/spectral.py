"""The signal mathematics of the feature extractor: framing, spectra, mel filters, cepstra, deltas, CMVN.

Decided here:

* Utterances are *packed*: laid one behind the other in one buffer, each beginning on a multiple of the hop, so that a
  single strided view holds every frame of the batch. Ragged batches cost no padding, and one loop serves CPU and GPU.
* That loop runs over blocks of frames small enough to stay in the processor's cache; a block is windowed, transformed,
  squared, projected and logged before the next one is touched.
* Whatever looks at a whole utterance (top_db, deltas, CMVN) takes `lengths` and sees its valid frames only; padded
  frames are set back to exactly 0.
* Windows and matrices are cached by their parameters, device included, and never belong to an object: extractors
  stay small, picklable and free of tensors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from transformers.audio_utils import mel_filter_bank

# Frames a block on the CPU: 256 × 400 floats are 400 kB, within the second-level cache of current processors.
CPU_BLOCK = 256
# On an accelerator large blocks keep it busy; 2¹⁶ frames of 400 samples are 100 MB.
ACCELERATOR_BLOCK = 2**16
# Below this variance a feature counts as constant; dividing by less would only amplify rounding errors.
VARIANCE_FLOOR = 1e-5


@lru_cache(maxsize=64)
def analysis_window(name: str, length: int, device: torch.device) -> torch.Tensor:
    """The periodic "hann" or "hamming" window of `length` samples."""
    make = {"hann": torch.hann_window, "hamming": torch.hamming_window}[name]
    return make(length, periodic=True, dtype=torch.float64).to(device, torch.float32)


@lru_cache(maxsize=64)
def mel_filters(
    num_mel_bins: int,
    n_fft: int,
    sampling_rate: int,
    min_frequency: float,
    max_frequency: float,
    mel_scale: str,
    mel_norm: str | None,
    device: torch.device,
) -> torch.Tensor:
    """Triangular mel filters as a matrix `(n_fft // 2 + 1, num_mel_bins)`, float32."""
    filters = mel_filter_bank(
        num_frequency_bins=n_fft // 2 + 1,
        num_mel_filters=num_mel_bins,
        min_frequency=min_frequency,
        max_frequency=max_frequency,
        sampling_rate=sampling_rate,
        norm=mel_norm,
        mel_scale=mel_scale,
    )
    return torch.from_numpy(filters).to(device, torch.float32)


@lru_cache(maxsize=64)
def cosine_transform(num_inputs: int, num_outputs: int, device: torch.device) -> torch.Tensor:
    """The orthonormal DCT-II as a matrix `(num_inputs, num_outputs)`, as scipy's `dct(type=2, norm="ortho")`."""
    inputs = torch.arange(num_inputs, dtype=torch.float64)
    outputs = torch.arange(num_outputs, dtype=torch.float64)
    matrix = torch.cos(math.pi / num_inputs * (inputs[:, None] + 0.5) * outputs) * math.sqrt(2 / num_inputs)
    matrix[:, 0] /= math.sqrt(2)
    return matrix.to(device, torch.float32)


def preemphasize(waveform: torch.Tensor, coefficient: float) -> torch.Tensor:
    """`y[t] = x[t] - coefficient · x[t-1]`, with silence before the first sample; `(samples,)` in and out."""
    return torch.cat([waveform[:1], waveform[1:] - coefficient * waveform[:-1]])


def pack_utterances(
    waveforms: Sequence[torch.Tensor], win_length: int, hop_length: int, lead: int, device: torch.device
) -> tuple[torch.Tensor, list[int]]:
    """Lay utterances behind each other so that one strided view holds the frames of all.

    Args:
        waveforms: Samples of each utterance, `(samples,)`.
        win_length: Samples a frame.
        hop_length: Samples from one frame to the next.
        lead: How many samples before `t · hop_length` the frame `t` begins; zeros stand before the first sample.
        device: Where the frames shall be.

    Returns:
        A view `(rows, win_length)` of all frames, and the row at which each utterance begins. An utterance has
        `samples // hop_length` frames; the few rows between two utterances belong to none.
    """
    gap = -(-win_length // hop_length) - 1  # rows whose windows would reach into the next utterance
    starts, rows = [], 0
    for waveform in waveforms:
        starts.append(rows)
        rows += waveform.shape[0] // hop_length + gap
    buffer = torch.zeros((rows - 1) * hop_length + win_length, device=waveforms[0].device)
    for start, end, waveform in zip(starts, [*starts[1:], rows], waveforms, strict=True):
        # Samples behind the last window are no frame's business, and would stand in the next utterance's lead.
        region = buffer[start * hop_length + lead : end * hop_length]
        length = min(waveform.shape[0], region.shape[0])
        region[:length] = waveform[:length]
    return buffer.to(device).unfold(0, win_length, hop_length), starts


def spectral_features(
    frames: torch.Tensor,
    window: torch.Tensor,
    n_fft: int,
    power: float,
    filters: torch.Tensor | None,
    log_floor: float | None,
) -> torch.Tensor:
    """Windowed spectra of `frames`, optionally through mel filters and the natural logarithm.

    Args:
        frames: `(rows, win_length)`, any strides.
        window: `(win_length,)`.
        n_fft: Length of the Fourier transform, at least `win_length`. A frame is padded with zeros at its end, which
            changes phases only: the values equal those of a window centred in `n_fft` samples.
        power: Exponent of the magnitude: 2 for power, 1 for amplitude.
        filters: `(n_fft // 2 + 1, num_mel_bins)` or None for the spectrum itself.
        log_floor: Values below it are raised to it before the logarithm; None for no logarithm.

    Returns:
        `(rows, features)`, float32.
    """
    rows, win_length = frames.shape
    num_bins = n_fft // 2 + 1
    block = CPU_BLOCK if frames.device.type == "cpu" else ACCELERATOR_BLOCK
    output = frames.new_empty(rows, num_bins if filters is None else filters.shape[1])
    windowed = frames.new_zeros(min(rows, block), n_fft)
    for start in range(0, rows, block):
        part = frames[start : start + block]
        target = output[start : start + block]
        torch.mul(part, window, out=windowed[: len(part), :win_length])
        # Squaring the parts is several times faster than abs(), which takes a root only to be squared again.
        squares = torch.view_as_real(torch.fft.rfft(windowed[: len(part)])).square_()
        if filters is None:
            spectrum = torch.add(squares[..., 0], squares[..., 1], out=target)
        else:
            spectrum = squares[..., 0] + squares[..., 1]
        if power == 1:
            spectrum.sqrt_()
        elif power != 2:
            spectrum.pow_(power / 2)
        if filters is not None:
            torch.mm(spectrum, filters, out=target)
        if log_floor is not None:
            target.clamp_(min=log_floor).log_()
    return output


def limit_dynamic_range(features: torch.Tensor, mask: torch.Tensor, span: float) -> torch.Tensor:
    """Raise values more than `span` below the utterance's maximum over valid frames; `(batch, frames, features)`."""
    peak = features.masked_fill(~mask, -math.inf).amax(dim=(1, 2), keepdim=True)
    return torch.maximum(features, peak - span).masked_fill(~mask, 0.0)


def deltas(features: torch.Tensor, lengths: torch.Tensor, mask: torch.Tensor, window: int) -> torch.Tensor:
    """Slopes of a regression line through `window` frames around each frame.

    `d[t] = Σ n (x[t+n] - x[t-n]) / 2 Σ n²` for n = 1 … window // 2 (The HTK Book, 5.9); at both ends of each
    utterance its own first and last valid frame are repeated.

    Args:
        features: `(batch, frames, features)`.
        lengths: Valid frames of each utterance, `(batch,)`.
        mask: `(batch, frames, 1)`, true on valid frames.
        window: Frames the line is fitted to, odd and at least 3.
    """
    reach = window // 2
    num_frames = features.shape[1]
    index = torch.arange(-reach, num_frames + reach, device=features.device)
    index = torch.minimum(index.clamp(min=0), lengths[:, None] - 1)
    extended = features.gather(1, index[..., None].expand(-1, -1, features.shape[2]))
    slope = torch.zeros_like(features)
    for n in range(1, reach + 1):
        later = extended[:, reach + n : reach + n + num_frames]
        earlier = extended[:, reach - n : reach - n + num_frames]
        slope += n * (later - earlier)
    slope /= 2 * sum(n * n for n in range(1, reach + 1))
    return slope.masked_fill(~mask, 0.0)


def utterance_statistics(features: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance of each feature over the valid frames, `(batch, 1, features)`, of zero-padded features.

    Sums are taken in float64: the mean of a constant feature (a band without sound) is then that constant, and not
    a rounding error away from it which the division by a tiny deviation would blow up.
    """
    count = lengths[:, None, None]
    mean = features.sum(1, keepdim=True, dtype=torch.float64) / count
    square = features.double().square().sum(1, keepdim=True) / count
    return mean.float(), (square - mean.square()).float()


def standardize(features: torch.Tensor, mean: torch.Tensor, variance: torch.Tensor | None) -> torch.Tensor:
    """Subtract `mean` and, where given, divide by the root of `variance`."""
    centred = features - mean
    return centred if variance is None else centred * variance.clamp(min=VARIANCE_FLOOR).rsqrt()
