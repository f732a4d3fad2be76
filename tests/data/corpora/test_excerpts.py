"""Segments cut from recordings: bit-identical samples, cut once, and unreadable recordings."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from hf_speech.data.corpora import excerpts
from hf_speech.data.corpora.excerpts import Excerpt, cut

pytestmark = pytest.mark.usefixtures("cache")

RATE = 8000


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Two seconds of loud 16-bit noise."""
    samples = np.random.default_rng(0).integers(-32768, 32768, 2 * RATE).astype(np.int16)
    soundfile.write(tmp_path / "long.flac", samples, RATE)
    return tmp_path / "long.flac"


def test_samples_are_bit_identical(recording):
    samples, _ = soundfile.read(recording, dtype="int16")
    files = cut([Excerpt("a", recording, 0.25, 1.0), Excerpt("b/c d", recording, 1.5, None)])
    for file, expected in zip(files, (samples[2000:8000], samples[12000:]), strict=True):
        cut_samples, rate = soundfile.read(file, dtype="int16")
        assert rate == RATE
        np.testing.assert_array_equal(cut_samples, expected)
    assert [file.name for file in files] == ["000000_a.wav", "000001_b_c_d.wav"]


def test_clips_the_end_to_the_recording(recording):
    (file,) = cut([Excerpt("a", recording, 1.5, 2.4)])
    assert soundfile.info(file).frames == RATE // 2


def test_cuts_once_and_again_after_changes(recording, monkeypatch):
    wanted = [Excerpt("a", recording, 0.0, 0.5)]
    (first,) = cut(wanted)
    with monkeypatch.context() as context:
        context.setattr(excerpts, "read_audio", lambda *_: pytest.fail("read again"))
        assert cut(wanted) == [first]
    assert cut([Excerpt("a", recording, 0.0, 0.6)]) != [first]
    os.utime(recording, ns=(0, 0))
    assert cut(wanted) != [first]


def test_an_unreadable_recording_is_returned_uncut(tmp_path, recording):
    (tmp_path / "text.wav").write_text("no sound")
    bad = [tmp_path / "gone.wav", tmp_path / "text.wav"]
    files = cut([Excerpt(path.stem, path, 0.0, 0.5) for path in (*bad, recording)])
    assert files[:2] == bad
    assert soundfile.info(files[2]).frames == RATE // 2
