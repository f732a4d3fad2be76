"""Copies with other tempos and pitches: their grid, durations, pitches, and caching."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from hf_speech.data import copies, make_corpus, read_audio
from hf_speech.data.copies import multiply
from hf_speech.errors import RecipeError
from hf_speech.training import load_recipe
from hf_speech.training.preparation import prepare

RATE = 8000
TEMPOS, PITCHES = [0.7, 1.0, 1.3], [-1.0, 0.0, 1.0]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_SPEECH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def rows(tmp_path, make_tone):
    """Two classes of three tones each."""
    for label, frequency in (("low", 300.0), ("high", 1200.0)):
        (tmp_path / "tones" / label).mkdir(parents=True)
        for index in range(3):
            samples = make_tone(0.5 + 0.01 * index, frequency, RATE, 0.5)
            soundfile.write(tmp_path / "tones" / label / f"{index}.wav", samples, RATE)
    options = {"validation_fraction": 0.0, "test_fraction": 0.0}
    return make_corpus("folder", data_dir=str(tmp_path / "tones"), **options).load()["train"]


def pitch_of(samples: np.ndarray) -> float:
    """Returns the strongest frequency of a tone, in Hz, from its middle."""
    middle = samples[len(samples) // 4 : -len(samples) // 4]
    middle = middle * np.hanning(len(middle))
    return float(np.argmax(np.abs(np.fft.rfft(middle, 1 << 16))) * RATE / (1 << 16))


def test_makes_nine_copies_of_each_recording(rows):
    multiplied = multiply(rows, RATE, TEMPOS, PITCHES)
    assert len(multiplied) == 9 * len(rows)
    assert multiplied.features == rows.features
    for index, original in enumerate(rows):
        own = [multiplied[9 * index + place] for place in range(9)]
        assert {row["label"] for row in own} == {original["label"]}
        assert own[4] == original, "pace 1 and pitch 0: the utterance itself"
        frequency = 300.0 if rows.features["label"].int2str(original["label"]) == "low" else 1200.0
        for row, (tempo, pitch) in zip(own, [(t, p) for t in TEMPOS for p in PITCHES], strict=True):
            samples = read_audio(row["audio"], RATE)
            assert row["duration"] == pytest.approx(len(samples) / RATE)
            assert row["duration"] == pytest.approx(original["duration"] / tempo, rel=0.02)
            assert pitch_of(samples) == pytest.approx(frequency * 2 ** (pitch / 12), rel=0.01)
            assert 0.2 < np.abs(samples).max() <= 1.0


def test_makes_copies_once_and_again_after_changes(rows, cache, monkeypatch, make_tone):
    first = multiply(rows, RATE, [0.7], [0.0])
    made = []
    write = copies._write_copies
    monkeypatch.setattr(copies, "_write_copies", lambda *arguments: (made.append(arguments[-1]), write(*arguments)))
    assert multiply(rows, RATE, [0.7], [0.0])["audio"][:] == first["audio"][:]
    assert made == []
    multiply(rows, RATE, [0.8], [0.0])
    assert made == list(range(6))
    soundfile.write(rows[0]["audio"]["path"], make_tone(0.9, 500.0, RATE), RATE)
    again = multiply(rows, RATE, [0.7], [0.0])
    assert again[0]["duration"] == pytest.approx(0.9 / 0.7, rel=0.02)
    assert not list(cache.rglob("*.part"))


def test_stores_copies_at_the_sampling_rate_of_the_features(rows, cache):
    multiplied = multiply(rows, 22_050, [0.7], [0.0])
    for row in multiplied:
        assert row["audio"]["bytes"] is None
        assert Path(row["audio"]["path"]).is_relative_to(cache)
        assert soundfile.info(row["audio"]["path"]).samplerate == 22_050
        assert soundfile.info(row["audio"]["path"]).subtype == "PCM_16"


def test_copies_only_the_training_split(tones_recipe):
    words = ["--augmentation.tempo_copies", "[0.7, 1.0, 1.3]", "--augmentation.pitch_copies", "[-1, 0, 1]"]
    parts, _ = prepare(load_recipe(tones_recipe, words))
    assert {split: len(dataset) for split, dataset in parts.datasets.items()} == {"train": 180, "validation": 20}
    parts, _ = prepare(load_recipe(tones_recipe, words[:2]))
    assert len(parts.datasets["train"]) == 60


@pytest.mark.parametrize(
    ("key", "values", "reason"),
    [
        ("tempo_copies", "[0.7, 0]", r"tempo_copies must be between 0\.1 and 10, and 0\.0 is not"),
        ("tempo_copies", "[]", "tempo_copies and pitch_copies must be null or list at least one value"),
        ("pitch_copies", "[]", "tempo_copies and pitch_copies must be null or list at least one value"),
    ],
)
def test_rejects_invalid_grids(tones_recipe, key, values, reason):
    with pytest.raises(RecipeError, match=reason):
        load_recipe(tones_recipe, [f"--augmentation.{key}", values])
