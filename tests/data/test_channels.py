"""Rooms, telephone lines and codecs change the sound but not its length or timing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from hf_speech.data.augmentation import Augmentation
from hf_speech.data.channels import opus, reverberate, simulate_room, telephone
from hf_speech.errors import RecipeError

RATE = 16_000


def noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, count).astype(np.float32)


def energy(samples: np.ndarray, low: float, high: float, rate: int = RATE) -> float:
    """Returns the energy between two frequencies in Hz."""
    frequencies = np.fft.rfftfreq(len(samples), 1 / rate)
    spectrum = np.abs(np.fft.rfft(samples)) ** 2
    return float(spectrum[(frequencies >= low) & (frequencies < high)].sum())


@pytest.fixture
def rooms(tmp_path: Path) -> Path:
    """Two recorded rooms: one with an echo after 0.1 s (stereo, another rate, preceded by silence), one without."""
    echo = np.zeros((4410, 2))
    echo[441], echo[441 + 2205] = 1.0, 0.5
    (tmp_path / "rooms").mkdir()
    soundfile.write(tmp_path / "rooms" / "echo.wav", echo, 22_050)
    soundfile.write(tmp_path / "rooms" / "dry.wav", np.array([1.0] + [0.0] * 99), RATE)
    return tmp_path / "rooms"


@pytest.mark.parametrize("seconds", [0.2, 0.5, 1.5])
def test_a_simulated_room_decays_by_60_db_in_its_reverberation_time(seconds: float) -> None:
    responses = [
        simulate_room(RATE, seconds, np.random.default_rng(seed))[-round(seconds * RATE) :] for seed in range(9)
    ]
    level = 10 * np.log10(np.mean([response**2 for response in responses], axis=0))
    smooth = np.convolve(level, np.ones(400) / 400, "valid")
    assert (smooth[0] - smooth[-1]) / (len(smooth) / len(level)) == pytest.approx(60, abs=3)


def test_a_room_preserves_timing_length_and_loudness() -> None:
    samples = np.zeros(RATE, dtype=np.float32)
    samples[3000] = 1.0
    wet = reverberate(samples, np.concatenate((np.full(500, 0.01), simulate_room(RATE, 0.3, np.random.default_rng(0)))))
    assert len(wet) == len(samples)
    assert np.argmax(np.abs(wet)) == 3000
    assert np.sqrt(np.mean(wet**2)) == pytest.approx(np.sqrt(np.mean(samples**2)))
    assert not reverberate(np.zeros(100), simulate_room(RATE, 0.3, np.random.default_rng(0))).any(), "silence stays"


def test_a_telephone_passes_its_band() -> None:
    samples = noise(RATE)
    sent = telephone(samples, RATE)
    assert energy(sent, 600, 3000) == pytest.approx(energy(samples, 600, 3000), rel=0.2)
    for low, high in ((10, 150), (4000, 8000)):
        assert energy(sent, low, high) < 0.05 * energy(samples, low, high)
    values = np.unique(np.round(telephone(np.linspace(-1, 1, 8000, dtype=np.float32), 8000), 9))
    assert len(values) <= 255, "8 bits"


@pytest.mark.parametrize("rate", [8000, 11_025, 16_000, 22_050, 48_000])
@pytest.mark.parametrize("count", [1, 50, 7777])
def test_channels_preserve_the_length(rate: int, count: int) -> None:
    samples = noise(count)
    for changed in (
        telephone(samples, rate),
        opus(samples, rate, 12.0),
        reverberate(samples, simulate_room(rate, 0.4, np.random.default_rng(1))),
    ):
        assert changed.shape == samples.shape
        assert np.isfinite(changed).all()


def test_opus_loses_more_at_lower_rates(make_tone: Any) -> None:
    samples = make_tone(1.0, 440.0) + noise(RATE) / 3
    errors = [float(np.mean((opus(samples, RATE, rate) - samples) ** 2)) for rate in (6, 24, 128)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.1 * float(np.mean(samples**2)), "in its place in time"


def test_steps_are_reproducible_and_preserve_the_length(rooms: Path) -> None:
    augmentation = Augmentation(
        probability=0.7, rooms=str(rooms), reverberation=(0.2, 0.6), telephone=0.5, opus=(6.0, 24.0)
    )
    assert augmentation.is_active
    assert len(augmentation.files) == 2
    samples = noise(5000)
    done: set[str] = set()
    for seed in range(12):
        applied: dict[str, tuple[float, ...]] = {}
        one, two = (augmentation(samples, RATE, np.random.default_rng(seed), each) for each in (applied, {}))
        np.testing.assert_array_equal(one, two)
        assert one.shape == samples.shape
        assert one.dtype == np.float32
        done |= set(applied)
    assert done == {"rooms", "reverberation", "telephone", "opus"}


def test_a_recorded_room_starts_at_its_direct_sound(rooms: Path) -> None:
    (rooms / "dry.wav").unlink()
    samples = np.zeros(8000, dtype=np.float32)
    samples[1000] = 0.5
    wet = Augmentation(probability=1, rooms=str(rooms))(samples, RATE, np.random.default_rng(0))
    assert np.argmax(np.abs(wet)) == pytest.approx(1000, abs=1)
    assert np.argmax(np.abs(wet[1500:])) + 1500 == pytest.approx(2600, abs=2)


def test_telephone_alone_is_active_augmentation() -> None:
    assert Augmentation(telephone=0.1).is_active
    assert not Augmentation(probability=0, reverberation=(0.2, 0.3)).is_active
    changed = [
        bool(np.any(Augmentation(telephone=0.25)(noise(400), RATE, np.random.default_rng(seed)) != noise(400)))
        for seed in range(200)
    ]
    assert 0.15 < np.mean(changed) < 0.35


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rooms": "."}, "augmentation.rooms: there are no recordings"),
        ({"reverberation": (0.5, 0.2)}, "range"),
        ({"opus": (2.0, 24.0)}, "opus"),
        ({"telephone": 1.5}, "telephone"),
    ],
)
def test_rejects_invalid_values(
    options: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError, match=message):
        Augmentation(**options).check_folders()
