"""Converts the input of a feature extractor to float32 samples.

transformers' feature extractors accept numpy arrays, tensors and lists; one utterance or several; floats or the
integers of a WAV file. Here all of them become finite mono float32 tensors. Ambiguous input raises a `ValueError`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

# Full scale of the integer samples of sound files; files have no 64-bit integers, whose scale is unknown.
FULL_SCALES = {torch.uint8: 2.0**7, torch.int8: 2.0**7, torch.int16: 2.0**15, torch.int32: 2.0**31}

# Full scale is 1, or 2**31 for integers stored as floats. The spectrum of larger samples could be infinite.
MAX_SAMPLE = 1e10

# An array with more rows than this and at most this many columns is a recording with channels, not a batch.
MAX_CHANNELS = 8


def split_utterances(raw_speech: Any) -> Sequence[Any]:
    """Splits an input into utterances.

    A 1-D array, tensor or list of numbers is one utterance. A list of those, an array of objects, or a 2-D array or
    tensor `(batch, samples)` is a batch.

    Raises:
        ValueError: For an empty batch, several channels, or something that is not a sequence of samples.
    """
    if isinstance(raw_speech, (np.ndarray, torch.Tensor)):
        if raw_speech.ndim == 2 and 0 < raw_speech.shape[1] <= MAX_CHANNELS < raw_speech.shape[0]:
            raise ValueError(
                f"An array of shape {tuple(raw_speech.shape)} seems to be (samples, channels), and a batch is "
                "(batch, samples): average the channels to get mono sound."
            )
        if raw_speech.ndim == 2 or (raw_speech.ndim == 1 and raw_speech.dtype == np.dtype(object)):
            if len(raw_speech) == 0:
                raise ValueError("An empty batch has no utterance: give at least one.")
            return list(raw_speech)
        if raw_speech.ndim == 1:
            return [raw_speech]
        raise ValueError(
            f"An array of shape {tuple(raw_speech.shape)} is neither an utterance (samples,) nor a batch "
            "(batch, samples): average the channels to get mono sound."
        )
    if not isinstance(raw_speech, (list, tuple)):
        raise ValueError(
            f"Sound must be an array, a tensor or a list of samples, not {type(raw_speech).__name__}: decode it first."
        )
    if not raw_speech:
        raise ValueError("An empty list has no utterance: give at least one.")
    return [raw_speech] if np.ndim(raw_speech[0]) == 0 else raw_speech


def without_channel(samples: Any) -> Any:
    """Returns samples `(samples, 1)` as `(samples,)`, and other input unchanged."""
    is_column = isinstance(samples, np.ndarray | torch.Tensor) and samples.shape[1:] == (1,)
    return samples[:, 0] if is_column else samples


def to_samples(utterance: Any, name: str) -> torch.Tensor:
    """Converts an utterance to finite float32 samples `(samples,)`; integers are scaled to [-1, 1], floats are not.

    Args:
        utterance: 1-D array, tensor or sequence of numbers.
        name: Name of the utterance in error messages.

    Raises:
        ValueError: For more than one dimension, samples of a type without a known full scale, NaN, infinity, or samples
            so large that their spectrum would be infinite.
    """
    samples = utterance.detach() if isinstance(utterance, torch.Tensor) else _from_numpy(np.asarray(utterance), name)
    if samples.ndim != 1:
        raise ValueError(
            f"{name} has the shape {tuple(samples.shape)} and must be mono (samples,): average its channels."
        )
    if samples.is_floating_point():
        samples = samples.float()
    elif samples.dtype in FULL_SCALES:
        silence = 2.0**7 if samples.dtype == torch.uint8 else 0.0  # 8-bit wav files are unsigned
        samples = (samples.float() - silence) / FULL_SCALES[samples.dtype]
    else:
        raise ValueError(
            f"{name} has samples of type {samples.dtype}, of unknown full scale: give floats in [-1, 1], or integers "
            "of 8, 16 or 32 bits."
        )
    if samples.numel():
        # One pass for all checks: if a sample is NaN, so are the extremes, and comparisons with NaN are false.
        lowest, highest = samples.aminmax()
        if not torch.maximum(highest, -lowest).item() < MAX_SAMPLE:
            raise ValueError(f"{name} has samples that are NaN, infinite or absurdly large: repair it or leave it out.")
    return samples


def _from_numpy(array: np.ndarray, name: str) -> torch.Tensor:
    """Converts any numeric array to a tensor, including read-only, reversed and big-endian ones."""
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{name} must be numbers, and its type is {array.dtype}: give the array of its samples.")
    dtype = np.float32 if array.dtype.kind == "f" else array.dtype.newbyteorder("=")
    native = np.ascontiguousarray(array, dtype=dtype)
    return torch.from_numpy(native if native.flags.writeable else native.copy())


__all__ = ["split_utterances", "to_samples", "without_channel"]
