"""Sounds and features for tests of feature extraction."""

from __future__ import annotations

import numpy as np

from hf_speech.models.feature_extraction_speech import SpeechFeatureExtractor

RATE = 16_000


def noise(num_samples: int, seed: int = 0) -> np.ndarray:
    """Returns noise whose loudness varies over time, so that utterance statistics and top_db have an effect."""
    rng = np.random.default_rng(seed)
    envelope = 10 ** (-2 + 1.5 * np.sin(np.arange(num_samples) / 1500))
    return (0.3 * envelope * rng.standard_normal(num_samples)).astype(np.float32)


def extract(extractor: SpeechFeatureExtractor, samples: object) -> np.ndarray:
    """Returns the features of one utterance, `(frames, features)`."""
    return extractor(samples, sampling_rate=extractor.sampling_rate)["input_features"][0].numpy()
