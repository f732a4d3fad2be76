"""Mixes channels down to mono, and rejects channels that cancel out, unscaled floats and non-finite values."""

from __future__ import annotations

import numpy as np

from hf_speech.data.headers import BadAudio

# Full scale is 1. Processing may overshoot a little, but integers cast to floats without scaling reach hundreds.
MAX_AMPLITUDE = 64.0
# The spectrum of larger samples could overflow.
MAX_SAMPLE = 1e10

# The average of uncorrelated channels has 1 / channels of their power. Less than this share of that is cancellation.
_CANCELED_SHARE = 0.02


class Mixer:
    """Averages the channels of a recording block by block, and detects channels that cancel each other out."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._power = self._mono_power = 0.0

    def mix(self, channels: np.ndarray) -> np.ndarray:
        """Returns the average `(samples,)` of `(samples, channels)`."""
        if channels.shape[1] == 1:
            mono = channels[:, 0]
            _check_samples(mono, self.name)
            return mono
        mono = channels.mean(axis=1)
        _check_samples(mono, self.name)
        if len(mono):
            self._mono_power += float(np.dot(mono, mono)) * channels.shape[1]
            self._power += float(np.einsum("ij,ij->", channels, channels)) / channels.shape[1]
        return mono

    def check_whole(self) -> None:
        """Raises `BadAudio` if the channels cancel each other out; call it after the last block."""
        if self._mono_power < _CANCELED_SHARE * self._power:
            raise BadAudio(
                f"{self.name} has channels that cancel each other out, since one is inverted: keep one of them, or "
                "invert it back.",
                "canceled",
            )


def _check_samples(samples: np.ndarray, name: str) -> None:
    """Raises `BadAudio` if samples `(samples,)` are NaN, infinite, or far above full scale."""
    if not samples.size:
        return
    # If a sample is NaN, the peak is NaN, and the comparison is false.
    peak = max(samples.max(), -samples.min())
    if not peak < MAX_SAMPLE:
        bad = int(np.count_nonzero(~(np.abs(samples) < MAX_SAMPLE)))
        raise BadAudio(
            f"{name} is not finite: {bad} of its {samples.size} samples are NaN, infinite or absurdly large; "
            "record or export it again.",
            "not finite",
        )
    if peak > MAX_AMPLITUDE:
        raise BadAudio(
            f"{name} is not scaled: its samples reach {peak:g}, where full scale is 1; divide them by the full scale "
            "of the original integers, such as 32768.",
            "not scaled",
        )
