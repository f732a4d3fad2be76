"""Cutting long recordings at pauses before labeling."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from hf_speech.cli.app import main
from hf_speech.inference.cutting import cut_long, find_cuts


def speech_with_pauses(rate: int, *words: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    pieces = [np.concatenate([rng.normal(0, 0.3, int(w * rate)), np.zeros(int(0.3 * rate))]) for w in words]
    return np.concatenate(pieces).astype(np.float32)


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100])
def test_long_recordings_are_cut_at_pauses(rate: int) -> None:
    samples = speech_with_pauses(rate, 1.0, 0.9, 1.2, 0.7, 1.1)
    cuts = find_cuts(samples, rate, 3.0)
    assert cuts[0][0] == 0
    assert cuts[-1][1] == len(samples)
    assert all(one[1] == other[0] for one, other in itertools.pairwise(cuts))
    assert all(last - first <= 3 * rate for first, last in cuts)
    for _, last in cuts[:-1]:
        assert np.abs(samples[last - rate // 50 : last + rate // 50]).max() == 0, "in a pause"


@pytest.mark.parametrize(
    "make", [lambda n: np.zeros(n), lambda n: np.ones(n), lambda n: np.random.default_rng(0).normal(size=n)]
)
def test_cuts_sound_without_a_pause(make: Any) -> None:
    cuts = find_cuts(make(80_000).astype(np.float32), 8000, 3.0)
    assert sum(last - first for first, last in cuts) == 80_000
    assert all(1.5 * 8000 <= last - first <= 3 * 8000 for first, last in cuts[:-1])


def test_labels_pieces_of_recordings_that_are_too_long(
    beeps_run: Path, tmp_path: Path, make_beeps: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    silence = np.zeros(4000, np.float32)
    sound = np.concatenate([make_beeps("ab", seed=1), silence, make_beeps("ca", seed=2)])
    soundfile.write(tmp_path / "long.wav", sound, 8000)
    soundfile.write(tmp_path / "short.wav", make_beeps("aa", seed=4), 8000)
    (tmp_path / "broken.wav").write_text("no sound", encoding="utf-8")
    longest = len(sound) / 8000 * 0.75
    files = [tmp_path / name for name in ("long.wav", "short.wav", "broken.wav")]
    pieces = cut_long(files, tmp_path / "pieces", longest)
    assert [file.name for file in pieces] == ["00000.flac", "00001.flac", "short.wav", "broken.wav"]
    assert np.allclose(np.concatenate([soundfile.read(file)[0] for file in pieces[:2]]), sound, atol=1e-4)
    words = ["label", str(beeps_run), *map(str, files[:2]), "--output", str(tmp_path / "t.csv"), "--cut"]
    with pytest.raises(SystemExit, match="0"):
        main([*words, "--max_seconds", str(longest)])
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["text"] for row in rows] == ["ab", "ca", "aa"]
    assert rows[0]["path"].startswith("t.pieces/long-")
