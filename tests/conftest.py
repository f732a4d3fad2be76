"""Fixtures every room shares: real recordings, small sounds, and a machine without a network."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

# Set before transformers and huggingface_hub are imported: the tests never reach for the internet, and small
# recurrences crawl when several OpenMP threads spin on a busy machine.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def corpora_dir() -> Path:
    """The folder of real recordings beside the checkout; tests that need it skip where it is missing."""
    folder = REPOSITORY.parent / "shared" / "corpora"
    if not folder.is_dir():
        pytest.skip("real recordings (../shared/corpora) are not on this machine")
    return folder


@pytest.fixture(scope="session")
def fsdd_dir(corpora_dir: Path) -> Path:
    """The real Free Spoken Digit Dataset."""
    return corpora_dir / "free-spoken-digit-dataset"


def tone(seconds: float, frequency: float = 440.0, sampling_rate: int = 16_000, amplitude: float = 0.5) -> np.ndarray:
    """A sine of `frequency` Hz as float32 samples."""
    time = np.arange(round(seconds * sampling_rate)) / sampling_rate
    return (amplitude * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


@pytest.fixture
def make_tone():
    """The function `tone(seconds, frequency, sampling_rate, amplitude)`."""
    return tone


@pytest.fixture
def digit_folder(tmp_path: Path) -> Path:
    """A corpus of one sub-folder per class: 'low' and 'high' tones of three speakers, ten clips a speaker."""
    rng = np.random.default_rng(0)
    for label, base in (("low", 300.0), ("high", 1200.0)):
        (tmp_path / "tones" / label).mkdir(parents=True)
        for speaker in range(3):
            for index in range(10):
                seconds = rng.uniform(0.3, 0.6)
                samples = tone(seconds, base * rng.uniform(0.9, 1.1), sampling_rate=8000, amplitude=0.3)
                noisy = samples + rng.normal(0, 0.01, samples.shape).astype(np.float32)
                soundfile.write(tmp_path / "tones" / label / f"speaker{speaker}_{index}.wav", noisy, 8000)
    return tmp_path / "tones"
