"""The recognizer of the Space: equal to hf_speech, and live equal to the whole recording."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import soxr

from hf_speech import load_model
from hf_speech.data.audio import read_audio
from hf_speech.inference import BeamOptions, beam_decoder, transcribe_files
from hf_speech.inference.chunks import CHUNK_SECONDS

REPOSITORY = Path(__file__).resolve().parents[2]
AN4 = REPOSITORY / "pretrained" / "an4"

TEXT = "abc cab bba ca b ac"


@pytest.fixture
def module(space_module: Callable[[str, str], Any]) -> ModuleType:
    return space_module("transcribe", "recognizer")


@pytest.fixture
def recognizer(module: ModuleType, beeps_run: Path) -> Any:
    return module.SpaceRecognizer(beeps_run)


def test_words_equal_those_of_hf_speech(recognizer: Any, module: ModuleType, beeps_run: Path, make_beeps) -> None:
    long = np.concatenate([make_beeps(TEXT, seed=seed) for seed in range(30)])
    assert len(long) / recognizer.sampling_rate > 2 * CHUNK_SECONDS
    for sound in (make_beeps(TEXT), long):
        assert_same(recognizer.words(sound, False), load_model(beeps_run, "cpu"), sound, 8000)
    assert " ".join(word.text for word in recognizer.words(make_beeps(TEXT), False)) == TEXT


@pytest.mark.parametrize("language_model", [False, True])
def test_long_recordings_equal_those_of_hf_speech(module: ModuleType, language_model: bool) -> None:
    """For two minutes with pauses, and a model that normalizes by utterance."""
    recognizer, loaded, decoder = module.SpaceRecognizer(AN4), load_model(AN4, "cpu"), None
    if language_model:
        decoder = beam_decoder(loaded, BeamOptions.beside(AN4 / "language_model.arpa"))
    rng = np.random.default_rng(0)
    pieces = []
    for _ in range(9):
        for example in sorted((REPOSITORY / "spaces" / "transcribe" / "examples").iterdir()):
            pieces += [read_audio(example, 16_000), np.zeros(round(rng.uniform(0, 5) * 16_000), np.float32)]
    sound = np.concatenate(pieces) + rng.normal(0, 1e-3, sum(map(len, pieces))).astype(np.float32)
    assert len(sound) > 2 * CHUNK_SECONDS * 16_000
    assert_same(recognizer.words(sound, language_model), loaded, sound, 16_000, decoder)


def assert_same(words: list[Any], loaded: Any, sound: np.ndarray, rate: int, decoder: Any = None) -> None:
    """Checks that words equal those of hf_speech, with their times and confidences."""
    source = {"array": sound, "sampling_rate": rate}
    (transcript,) = transcribe_files(loaded, [source], decoder=decoder, progress=False)
    assert [word.text for word in words] == [word.text for word in transcript.hypothesis.words]
    for word, expected in zip(words, transcript.hypothesis.words, strict=True):
        assert word.start == pytest.approx(expected.start)
        assert word.end == pytest.approx(expected.end)
        assert word.confidence == pytest.approx(expected.confidence, abs=1e-4)


def test_recognizes_nothing_in_silence(recognizer: Any) -> None:
    assert recognizer.words(np.zeros(8000, np.float32), False) == []
    assert recognizer.words(np.zeros(0, np.float32), False) == []


def test_one_sentence_error_for_a_short_sound(recognizer: Any) -> None:
    sound = np.full(20, 0.5, np.float32)
    assert recognizer.words(sound, False) == []
    with pytest.raises(ValueError, match=r"only 0\.00\d seconds: upload a longer one\."):
        recognizer.features(sound)


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
@pytest.mark.parametrize("piece_seconds", [0.05, 0.37, 10.0])
def test_live_text_equals_that_of_the_recording(recognizer: Any, make_beeps, rate: int, piece_seconds: float) -> None:
    """In the format of live.js: int16, at the browser's rate, in pieces."""
    sound = make_beeps(TEXT, rate)
    samples = np.round(32767 * sound).astype(np.int16)
    listener, texts = recognizer.listen(), []
    size = round(piece_seconds * rate)
    for first in range(0, len(samples), size):
        texts.append(listener.accept(samples[first : first + size], rate))
    assert listener.finish() == TEXT
    assert listener.seconds == pytest.approx(len(sound) / rate, abs=1e-6)
    if piece_seconds < 1:
        assert texts[len(texts) // 2]  # words appear before the end
        assert all(later.startswith(earlier) for earlier, later in pairwise(texts))


def test_session_state_does_not_grow(recognizer: Any) -> None:
    listener = recognizer.listen()
    rng, sizes = np.random.default_rng(0), []
    for _ in range(60):
        listener.accept(rng.normal(0, 3000, 24_000).astype(np.int16), 48_000)
        stream = listener._stream
        sizes.append(stream._samples.nbytes + stream._features.nbytes)
    assert max(sizes[30:]) <= max(sizes[:30])
    assert max(sizes) < 100_000


def test_resampling_in_pieces_equals_resampling_the_whole(make_tone) -> None:
    """The reason for keeping the resampler: otherwise every boundary would click."""
    tone = make_tone(1.0, 440.0, 48_000)
    stream = soxr.ResampleStream(48_000, 8_000, 1, dtype="float32")
    pieces = [stream.resample_chunk(tone[first : first + 4_799]) for first in range(0, len(tone), 4_799)]
    joined = np.concatenate([*pieces, stream.resample_chunk(tone[:0], last=True)])
    np.testing.assert_allclose(joined, soxr.resample(tone, 48_000, 8_000), atol=1e-3)


def test_a_bidirectional_model_cannot_stream(module: ModuleType) -> None:
    assert not module.SpaceRecognizer(AN4).can_stream


@pytest.mark.parametrize(
    "rate",
    [
        *(0, -5, 7, 7999, 192_001, 800_000, 10**9, 10**15, 10**30, 1e300, 16_000.5),
        *(True, None, "16000", [16_000], {}, float("nan"), float("inf"), float("-inf")),
    ],
)
def test_checks_rates_first(recognizer: Any, module: ModuleType, rate: Any) -> None:
    listener = recognizer.listen()
    with pytest.raises(ValueError, match="rate of the recording must be between"):
        listener.accept(np.zeros(100, np.int16), rate)
    assert listener.seconds == 0
    listener.accept(np.zeros(100, np.int16), 16_000.0)
    with pytest.raises(ValueError, match="rate of the recording has changed"):
        listener.accept(np.zeros(100, np.int16), 48_000)
