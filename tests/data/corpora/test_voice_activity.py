"""The corpus of speech and noise: labels by loudness, and pieces of long recordings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from hf_speech.common.segments import overlap, parse_segments
from hf_speech.data.corpora import make_corpus
from hf_speech.data.corpora.voice_activity import is_loud
from hf_speech.errors import CorpusError

RATE = 16_000


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_SPEECH_CACHE", str(tmp_path / "cache"))


def spoken(segments: str, seconds: float, background: float = 1e-4, voice: float = 0.1, rate: int = RATE) -> np.ndarray:
    """Returns noise that is loud in the segments."""
    samples = np.random.default_rng(0).normal(0, 1, round(seconds * rate))
    level = np.full(len(samples), background)
    for segment in parse_segments(segments):
        level[round(segment.start * rate) : round(segment.end * rate)] = voice
    return samples * level


@pytest.mark.parametrize("voice", [0.003, 0.3])
@pytest.mark.parametrize("background", [1e-5, 1e-4])
def test_speech_is_detected_by_relative_loudness(voice: float, background: float) -> None:
    loud = is_loud(spoken("0.5-1.5 2-2.4", 3.0, background, voice))
    assert loud.shape == (300,)
    expected = np.zeros(300, dtype=bool)
    expected[50:150] = expected[200:240] = True
    assert (loud != expected).sum() <= 6


def test_a_clip_of_a_few_samples_is_not_speech() -> None:
    assert not is_loud(np.ones(200)).any()
    assert not is_loud(np.zeros(RATE)).any()


def test_combines_pieces_of_speech_and_noise(tmp_path: Path) -> None:
    for name, sound in (("talk", spoken("1-4 5-9", 10.0)), ("hum", spoken("none", 2.0))):
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / f"{name}.wav", sound, RATE)
    folders = {"train_speech": [str(tmp_path / "talk")], "train_noise": [str(tmp_path / "hum")]}
    splits = make_corpus("voice_activity", **folders, max_seconds=6.0).load()
    assert len(splits["validation"]) == len(splits["test"]) == 0
    assert list(splits["train"]["duration"]) == pytest.approx([5.0, 5.0, 2.0])
    texts = list(splits["train"]["text"])
    assert texts[2] == "none"
    for text, truth in zip(texts, ("1-4", "0.0-4"), strict=False):
        found, right = parse_segments(text), parse_segments(truth)
        assert overlap(found, right) > 0.98 * right[0].end - right[0].start
        assert sum(segment.end - segment.start for segment in found) < right[0].end - right[0].start + 0.15


def test_reports_missing_parts(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="set train_speech to folders of clean recordings"):
        make_corpus("voice_activity").load()
    with pytest.raises(CorpusError, match=r"no recordings in .*: correct train_speech"):
        make_corpus("voice_activity", train_speech=[str(tmp_path)]).load()
