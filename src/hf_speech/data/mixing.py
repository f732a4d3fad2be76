"""Mixing channels down to mono; refuses channels that cancel, unscaled floats and values that are not finite."""

from __future__ import annotations

import numpy as np

from hf_speech.data.headers import BadAudio

# Full scale is 1. Processing overshoots a little; integers that became floats without scaling reach hundreds.
MAX_AMPLITUDE = 64.0
# The spectrum of more could be infinite.
MAX_SAMPLE = 1e10

# Channels without relation have an average of 1 / channels of their power; this share of that is cancellation.
_CANCELED_SHARE = 0.02


class Mixer:
    """Averages the channels of a sound block by block, and detects whether they cancel each other out."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._power = self._mono_power = 0.0

    def mix(self, channels: np.ndarray) -> np.ndarray:
        """The average `(samples,)` of `(samples, channels)`."""
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
        """Refuse a sound whose channels have canceled each other out."""
        if self._mono_power < _CANCELED_SHARE * self._power:
            raise BadAudio(
                f"{self.name} has channels that cancel each other out, as one is inverted: keep one of them, or invert "
                "it.",
                "canceled",
            )


def _check_samples(samples: np.ndarray, name: str) -> None:
    """Refuse samples `(samples,)` that are not sound: NaN, infinite, or far above full scale."""
    if not samples.size:
        return
    # NaN is not smaller than anything, and whatever is compared with it becomes NaN.
    peak = max(samples.max(), -samples.min())
    if not peak < MAX_SAMPLE:
        bad = int(np.count_nonzero(~(np.abs(samples) < MAX_SAMPLE)))
        raise BadAudio(
            f"{name} is not finite: {bad} of its {samples.size} samples are NaN, infinite or absurdly large; "
            "write it again.",
            "not finite",
        )
    if peak > MAX_AMPLITUDE:
        raise BadAudio(
            f"{name} is not scaled: its samples reach {peak:g}, where full scale is 1; divide them by the full scale "
            "of the integers that they were, such as 32768.",
            "not scaled",
        )
