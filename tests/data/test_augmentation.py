from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from hf_speech.data.augmentation import (
    Augmentation,
    add_noise,
    add_silence,
    change_speed,
    colored_noise,
    equalize,
    time_map,
)
from hf_speech.errors import RecipeError

RATE = 16_000


def peak_frequency(samples: np.ndarray) -> float:
    """Returns the strongest frequency in Hz."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * RATE / len(samples))


def test_does_nothing_without_options(make_tone: Any) -> None:
    augmentation = Augmentation()
    assert not augmentation.is_active
    samples = make_tone(0.5)
    np.testing.assert_array_equal(augmentation(samples, RATE, np.random.default_rng(0)), samples)


def test_depends_only_on_the_generator(make_tone: Any) -> None:
    augmentation = Augmentation(
        speed=(0.9, 1.1),
        tempo=(0.8, 1.2),
        pitch=(-2, 2),
        noise_snr=(5, 30),
        equalizer=6,
        gain=(-6, 6),
        silence=(0, 0.1),
    )
    assert augmentation.is_active
    samples = make_tone(0.5)
    one, two = (augmentation(samples, RATE, np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert one.dtype == np.float32
    assert np.isfinite(one).all()
    other = augmentation(samples, RATE, np.random.default_rng(8))
    assert len(other) != len(one) or np.abs(other - one).max() > 1e-3


def test_applies_steps_with_the_given_probability(make_tone: Any) -> None:
    samples = make_tone(0.1)
    changed = [
        bool(np.any(Augmentation(probability=0.3, gain=(6, 6))(samples, RATE, np.random.default_rng(seed)) != samples))
        for seed in range(400)
    ]
    assert 0.22 < np.mean(changed) < 0.38


def test_speed_changes_pitch_and_tempo(make_tone: Any) -> None:
    faster = change_speed(make_tone(1.0, 500.0), RATE, 1.25)
    assert abs(len(faster) - RATE / 1.25) <= 1
    assert peak_frequency(faster) == pytest.approx(625, abs=5)


def test_tempo_keeps_the_pitch_and_pitch_keeps_the_tempo(make_tone: Any) -> None:
    samples = make_tone(1.0, 500.0)
    rng = np.random.default_rng(0)
    slower = Augmentation(probability=1, tempo=(0.5, 0.5))(samples, RATE, rng)
    assert len(slower) == pytest.approx(2 * RATE, rel=0.01)
    assert peak_frequency(slower) == pytest.approx(500, abs=10)
    higher = Augmentation(probability=1, pitch=(12, 12))(samples, RATE, rng)
    assert len(higher) == len(samples)
    assert peak_frequency(higher) == pytest.approx(1000, abs=20)


def test_noise_has_the_given_snr_and_silence_stays_silent(make_tone: Any) -> None:
    rng = np.random.default_rng(0)
    samples = make_tone(1.0)
    noise = add_noise(samples, colored_noise(len(samples), rng), snr=10.0) - samples
    assert 10 * np.log10(np.mean(samples**2) / np.mean(noise**2)) == pytest.approx(10.0, abs=0.01)
    assert not add_noise(np.zeros(100), colored_noise(100, rng), snr=10.0).any()
    np.testing.assert_array_equal(add_noise(samples, np.zeros(len(samples)), snr=10.0), samples)


def test_traces_of_a_decoder_in_silence_are_not_amplified(make_tone: Any, tmp_path: Path) -> None:
    samples = make_tone(0.5)
    trace = np.full(len(samples), 1e-22, dtype=np.float32)  # Its square is a number without a finite reciprocal.
    trace[::2] = 0
    np.testing.assert_array_equal(add_noise(samples, trace, snr=10.0), samples)
    soundfile.write(tmp_path / "silence.wav", trace, RATE, subtype="FLOAT")
    augmentation = Augmentation(probability=1.0, context_folders=[str(tmp_path)], context_before=(0.5, 0.5))
    augmented = augmentation(samples, RATE, np.random.default_rng(0))
    assert len(augmented) > len(samples)
    assert np.abs(augmented).max() == np.abs(samples).max()


def test_equalizer_stays_within_its_gain(make_tone: Any) -> None:
    samples = np.random.default_rng(0).standard_normal(4096)
    gains = []
    for seed in range(20):
        filtered = equalize(samples, 6.0, np.random.default_rng(seed))
        assert len(filtered) == len(samples)
        ratio = np.abs(np.fft.rfft(filtered))[1:-1] / np.abs(np.fft.rfft(samples))[1:-1]
        gains.append(20 * np.log10(ratio))
    assert np.abs(gains).max() <= 6.001
    assert np.abs(gains).max() > 3


def test_silence_is_added_or_at_most_half_is_cut(make_tone: Any) -> None:
    samples = np.ones(100, dtype=np.float32)
    assert add_silence(samples, 10, 5).tolist() == [0.0] * 10 + [1.0] * 100 + [0.0] * 5
    assert len(add_silence(samples, -1000, -1000)) == 50
    assert len(add_silence(np.ones(1, dtype=np.float32), -5, -5)) == 1


def test_adds_noise_from_a_folder(tmp_path: Path, make_tone: Any) -> None:
    soundfile.write(tmp_path / "hum.wav", make_tone(0.2, 100.0), RATE)
    noisy = Augmentation(probability=1, noise_snr=(0, 0), noise_folder=str(tmp_path))
    samples = make_tone(1.0, 3000.0)
    added = noisy(samples, RATE, np.random.default_rng(0)) - samples
    assert peak_frequency(added) == pytest.approx(100, abs=5)


@pytest.mark.parametrize("samples", [np.zeros(1, np.float32), np.zeros(4000, np.float32), np.ones(3, np.float32)])
def test_handles_unusual_sounds(samples: np.ndarray) -> None:
    everything = Augmentation(
        probability=1,
        speed=(0.8, 1.2),
        tempo=(0.8, 1.2),
        pitch=(-2, 2),
        noise_snr=(5, 30),
        equalizer=6,
        silence=(-0.1, 0),
    )
    varied = everything(samples, RATE, np.random.default_rng(0))
    assert len(varied) > 0
    assert np.isfinite(varied).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"probability": 2}, "between 0 and 1"),
        ({"speed": (1.1, 0.9)}, "augmentation.speed must be a range"),
        ({"tempo": (0.0, 1.0)}, "augmentation.tempo"),
        ({"noise_folder": "nowhere"}, "no recordings in nowhere"),
        ({"variants": 0}, "augmentation.variants must be at least 1"),
    ],
)
def test_rejects_impossible_values(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Augmentation(**arguments).check_folders()


def test_cycles_through_variants() -> None:
    assert [Augmentation(variants=3).draw(epoch) for epoch in range(5)] == [0, 1, 2, 0, 1]
    assert [Augmentation().draw(epoch) for epoch in range(5)] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("low", "high"), [(0.5, 2.0), (0.8, 1.25), (0.25, 1.0)])
def test_speed_factors_are_drawn_evenly_on_a_logarithmic_scale(low: float, high: float) -> None:
    augmentation = Augmentation(probability=1, speed=(low, high))
    factors = []
    for seed in range(400):
        applied: dict[str, tuple[float, ...]] = {}
        augmentation(np.zeros(8, np.float32), 8000, np.random.default_rng(seed), applied)
        factors += applied["speed"]
    places = np.log(np.array(factors) / low) / np.log(high / low)
    assert 0 <= places.min() < 0.02
    assert 0.98 < places.max() <= 1
    assert np.histogram(places, 4, (0, 1))[0].min() > 75


def test_adds_context_around_a_trimmed_clip(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    soundfile.write(tmp_path / "noise.wav", rng.normal(0, 0.1, 16_000), 16_000)
    quiet = np.zeros(8000, dtype=np.float32)
    clip = np.concatenate((quiet, np.sin(np.arange(8000, dtype=np.float32) / 5), quiet))
    augmentation = Augmentation(
        probability=1, trim=30, context_folders=[str(tmp_path)], context_before=(0.2, 0.4), context_after=(0.1, 0.1)
    )
    applied: dict[str, tuple[float, ...]] = {}
    varied = augmentation(clip, 16_000, np.random.default_rng(0), applied)
    assert applied["trim"] == pytest.approx((0.5, 1.0), abs=0.03)
    before, after = applied["context"]
    assert 0.2 <= before <= 0.4
    assert after == pytest.approx(0.1)
    assert len(varied) / 16_000 == pytest.approx(before + after + applied["trim"][1] - applied["trim"][0], abs=1e-3)
    assert np.abs(varied[: round(before * 16_000)]).max() > 0
    with pytest.raises(RecipeError, match="context_folders: there are no recordings"):
        Augmentation(context_folders=[str(tmp_path / "nothing")]).check_folders()


@pytest.mark.parametrize(
    "steps",
    [
        {},
        {"speed": (0.8, 1.25), "gain": (-6, 6)},
        {"tempo": (0.8, 1.25)},
        {"silence": (-0.2, -0.2), "speed": (1.1, 1.3)},
        {"silence": (-9, -9)},  # More than available: a quarter is cut.
        {"silence": (0.1, 0.3), "speed": (0.8, 0.9), "tempo": (1.1, 1.2)},
        {"trim": 30, "speed": (1.1, 1.2), "silence": (0.1, 0.2)},
        {"trim": 30, "context_folders": ["NOISE"], "context_before": (0.2, 0.4)},
    ],
    ids=str,
)
def test_maps_every_time_to_the_recording(steps: dict[str, Any], tmp_path: Path) -> None:
    soundfile.write(tmp_path / "noise.wav", np.random.default_rng(3).normal(0, 0.01, RATE), RATE)
    if "context_folders" in steps:
        steps = {**steps, "context_folders": [str(tmp_path)]}
    clip = np.zeros(2 * RATE, np.float32)
    clip[12_000:12_100] = 0.9  # The moment is at 0.753 s; a quieter sound follows until 1.6 s.
    clip[12_100:25_600] = 0.1 * np.sin(np.arange(13_500) / 5)
    applied: dict[str, tuple[float, ...]] = {}
    varied = Augmentation(probability=1, **steps)(clip, RATE, np.random.default_rng(0), applied)
    begin, rate = time_map(applied)
    assert begin + rate * np.abs(varied).argmax() / RATE == pytest.approx(
        0.753, abs=0.03 if "tempo" in steps else 0.006
    )
