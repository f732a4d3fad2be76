"""Recordings of any length: reading in blocks, normalization by loud seconds, and chunks."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from transformers import Wav2Vec2FeatureExtractor

from hf_speech.data.audio import read_audio
from hf_speech.errors import AudioError, ModelError
from hf_speech.inference import Recording, fit_extractor, load_model, log_probabilities, recordings, transcribe_files
from hf_speech.models import SpeechFeatureExtractor
from hf_speech.tasks.metrics import count_errors

RATE = 8000


def noise(seconds: float, rate: int = RATE, channels: int = 1, level: float = 0.1, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (level * rng.standard_normal((round(seconds * rate), channels))).clip(-1, 1).astype(np.float32)


@pytest.mark.parametrize(
    ("suffix", "rate", "channels"),
    [("wav", 8000, 1), ("wav", 16000, 1), ("flac", 44100, 2), ("ogg", 48000, 1), ("mp3", 44100, 2), ("wav", 11025, 3)],
)
def test_blocks_equal_the_whole_file(tmp_path: Path, suffix: str, rate: int, channels: int) -> None:
    file = tmp_path / f"long.{suffix}"
    soundfile.write(file, noise(32.7, rate, channels), rate)
    recording = Recording.open(str(file), RATE)
    assert recording.samples is None
    blocks = list(recording.blocks())
    assert max(map(len, blocks)) < 11 * RATE
    joined, whole = np.concatenate(blocks), read_audio(file, RATE)
    assert joined.dtype == np.float32
    assert len(joined) == len(whole)
    np.testing.assert_allclose(joined, whole, atol=1e-6)
    assert recording.seconds == pytest.approx(len(whole) / RATE, abs=0.2)
    assert len(list(recording.blocks())) == len(blocks)  # Again from the beginning.


def test_reads_short_sounds_and_arrays_at_once(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "short.wav", noise(3), RATE)
    for source, seconds in (
        (str(tmp_path / "short.wav"), 3),
        ({"array": noise(30)[:, 0], "sampling_rate": RATE}, 30),
        ((tmp_path / "short.wav").read_bytes(), 3),
    ):
        recording = Recording.open(source, RATE)
        assert recording.seconds == seconds
        assert [len(block) for block in recording.blocks()] == [seconds * RATE]


@pytest.mark.parametrize(("seconds", "suffix"), [(3, "wav"), (30, "wav"), (30, "flac")])
def test_reads_a_pipe_once(tmp_path: Path, seconds: int, suffix: str) -> None:
    soundfile.write(tmp_path / f"sound.{suffix}", noise(seconds), RATE)
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(f"cat sound.{suffix} > pipe", shell=True, cwd=tmp_path):
        recording = Recording.open(str(tmp_path / "pipe"), RATE)
    np.testing.assert_array_equal(
        np.concatenate(list(recording.blocks())), read_audio(tmp_path / f"sound.{suffix}", RATE)
    )


def test_reports_damaged_long_files(tmp_path: Path, beeps_run: Path) -> None:
    samples = noise(30)
    soundfile.write(tmp_path / "good.flac", samples, RATE)
    content = (tmp_path / "good.flac").read_bytes()
    (tmp_path / "half.flac").write_bytes(content[: len(content) // 2])
    samples[25 * RATE] = np.nan
    soundfile.write(tmp_path / "nan.wav", samples, RATE, subtype="FLOAT")
    loaded = load_model(beeps_run)
    files = [str(tmp_path / name) for name in ("half.flac", "nan.wav", "none.wav", "good.flac")]
    half, nan, missing, good = transcribe_files(loaded, files, progress=False)
    for bad, name, what in ((half, "half.flac", ""), (nan, "nan.wav", "not finite"), (missing, "none.wav", "exist")):
        assert bad.hypotheses == ()
        assert name in str(bad.error)
        assert what in str(bad.error)
    assert good.error is None
    with pytest.raises(AudioError):
        list(Recording.open(files[0], RATE).blocks())


def test_detects_a_long_file_by_its_header(tmp_path: Path) -> None:
    samples = noise(30)
    soundfile.write(tmp_path / "long.raw", samples, RATE, format="WAV", subtype="FLOAT")
    blocks = list(Recording.open(tmp_path / "long.raw", RATE).blocks())
    np.testing.assert_allclose(np.concatenate(blocks), samples.ravel(), atol=1e-6)


def test_reading_by_blocks_equals_chunks_of_the_waveform(
    beeps_run: Path, tmp_path: Path, make_beeps: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_model(beeps_run)
    samples = make_beeps(" ".join(["abc", "c", "ba"] * 15))
    soundfile.write(tmp_path / "long.wav", samples, RATE, subtype="FLOAT")
    expected = log_probabilities(loaded, samples, chunk_seconds=5, overlap_seconds=1)
    ratio = loaded.model.config.inputs_to_logits_ratio
    assert len(expected) == len(samples) // ratio
    for seconds in (1, 3, 10):
        monkeypatch.setattr(recordings, "_BLOCK_SECONDS", seconds)
        recording = Recording.open(str(tmp_path / "long.wav"), RATE)
        assert recording.samples is None
        found = log_probabilities(loaded, recording, chunk_seconds=5, overlap_seconds=1)
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("frames", range(496, 506))
def test_chunks_join_for_any_length(beeps_run: Path, frames: int) -> None:
    """Lengths of exactly one chunk, a frame more, and a few samples more."""
    loaded = load_model(beeps_run)
    ratio = loaded.model.config.inputs_to_logits_ratio
    samples = noise(frames * ratio / RATE + 1)[: frames * ratio + 57, 0]
    found = log_probabilities(loaded, samples, chunk_seconds=500 * ratio / RATE, overlap_seconds=5)
    whole = log_probabilities(loaded, samples, chunk_seconds=1000)
    assert found.shape == whole.shape == (frames, whole.shape[1])
    assert np.mean(found.argmax(1) == whole.argmax(1)) > 0.99


def test_normalization_ignores_silence() -> None:
    extractor = SpeechFeatureExtractor(sampling_rate=RATE, num_mel_bins=8, hop_length=80, win_length=200)
    assert extractor.normalization == "utterance"
    speech, click = noise(12, level=0.1)[:, 0], noise(1, level=0.9)[:, 0]
    quiet = noise(60, level=1e-4, seed=1)[:, 0]
    expected = SpeechFeatureExtractor.from_dict({**extractor.to_dict(), "normalization": "global"})
    expected.fit_global_statistics([*np.split(speech, 12), click])
    sound = np.concatenate((quiet, speech, quiet, click, quiet))
    fitted = fit_extractor(extractor, Recording("", RATE, len(sound) / RATE, sound))
    assert fitted.normalization == "global"
    np.testing.assert_allclose(fitted.feature_mean, expected.feature_mean, atol=1e-4)
    np.testing.assert_allclose(fitted.feature_std, expected.feature_std, atol=1e-4)
    assert extractor.normalization == "utterance"
    assert extractor.feature_mean is None


@pytest.mark.parametrize("seconds", [30, 30.5, 39.99, 40, 40.01])
def test_counts_seconds_across_blocks(tmp_path: Path, seconds: float) -> None:
    """Also if the last block is shorter than a second."""
    samples = noise(seconds)[:, 0]
    soundfile.write(tmp_path / "long.wav", samples, RATE, subtype="FLOAT")
    recording = Recording.open(str(tmp_path / "long.wav"), RATE)
    assert recording.samples is None
    found = list(recordings.loud_seconds(recording))
    assert len(found) == int(seconds)
    np.testing.assert_array_equal(np.concatenate(found), samples[: int(seconds) * RATE])


def seconds_at(*decibels: float) -> Recording:
    """Returns a recording with a second of noise for each level."""
    rng = np.random.default_rng(0)
    pieces = [10 ** (level / 20) * rng.choice([-1.0, 1.0], RATE).astype(np.float32) for level in decibels]
    return Recording("levels", RATE, len(pieces), np.concatenate(pieces))


@pytest.mark.parametrize(
    ("levels", "loud", "peak"),
    [
        # 20 dB below the fifth loudest second; louder ones are no speech, but belong to the recording.
        ([-10.0, -11, -12, -13, -14, -33.9, -34.1, *[-60] * 20], 6, -14),
        # A door slams.
        ([-3.0, *[-20] * 8, *[-60] * 20], 9, -20),
        # Only one second contains speech; the others are background or zero.
        ([-20.0, *[-60] * 25], 1, -20),
        ([-20.0, *[-300] * 25], 1, -20),
        # Only background.
        ([-70.0] * 25, 25, -70),
        ([-300.0] * 25, 25, -300),
    ],
)
def test_statistics_use_loud_seconds_and_their_peak(levels: list[float], loud: int, peak: float) -> None:
    recording = seconds_at(*levels)
    assert len(list(recordings.loud_seconds(recording))) == loud
    assert recordings.speech_peak(recording) == pytest.approx(10 ** (peak / 20), rel=1e-3, abs=1e-9)


def test_a_long_recording_has_one_peak() -> None:
    """Quiet and loud parts are scaled equally, whereas a single utterance is scaled to its own peak."""
    extractor = SpeechFeatureExtractor(sampling_rate=RATE, num_mel_bins=8, normalization="peak")
    recording = seconds_at(*[-12.0] * 6, *[-60.0] * 20)
    fitted = fit_extractor(extractor, recording)
    assert extractor.recording_peak is None
    assert recording.samples is not None
    for part in (recording.samples[: 2 * RATE], recording.samples[-2 * RATE :]):
        scaled = SpeechFeatureExtractor(sampling_rate=RATE, num_mel_bins=8, normalization="none")(
            part / 10 ** (-12 / 20), sampling_rate=RATE
        )
        np.testing.assert_allclose(
            fitted(part, sampling_rate=RATE)["input_features"], scaled["input_features"], atol=1e-4
        )
    assert fit_extractor(extractor, Recording("", RATE, 20, recording.samples[: 20 * RATE])) is extractor


class Context:
    """A recognizer that returns for each frame the number of frames before and after it in the chunk, and its index."""

    name, sampling_rate, samples_per_frame, tokens, num_phones = "context", 100, 10, ["a", "b", "c"], 0

    def log_probs_fn(self, recording: Recording) -> Any:
        """Samples are numbered, so that they identify the frame."""

        def log_probs(samples: np.ndarray) -> np.ndarray:
            before = np.arange(len(samples) // 10)
            return np.stack([before, before[::-1], samples[: 10 * len(before) : 10] // 10], axis=1).astype(np.float32)

        return log_probs


@pytest.mark.parametrize("frames", [0, 1, 29, 49, 50, 51, 52, 89, 90, 91, 333])
def test_every_frame_has_context_on_both_sides(frames: int) -> None:
    """With chunks of 50 frames and 10 frames of context, no frame is closer to an inner edge."""
    samples = np.arange(frames * 10 + 7, dtype=np.float32)
    found = log_probabilities(Context(), samples, chunk_seconds=5, overlap_seconds=1)  # type: ignore[arg-type]
    np.testing.assert_array_equal(found[:, 2], np.arange(frames))
    assert (found[:, 0] >= np.minimum(10, np.arange(frames))).all()
    assert (found[:, 1] >= np.minimum(10, np.arange(frames)[::-1])).all()
    assert found[:, :2].sum(axis=1).max(initial=0) < 51  # a chunk, and the frame that shows that it is the last


@pytest.mark.parametrize("chunk", [(2, 1), (0, 0), (0.05, 0), (5, -1), (float("nan"), 0), (5, float("nan"))])
def test_rejects_chunks_without_a_middle(chunk: tuple[float, float]) -> None:
    with pytest.raises(ModelError, match="are too short for an overlap"):
        log_probabilities(Context(), np.zeros(1000, np.float32), *chunk)  # type: ignore[arg-type]


def test_chunks_may_have_no_overlap() -> None:
    samples = np.arange(1234, dtype=np.float32)
    found = log_probabilities(Context(), samples, chunk_seconds=1, overlap_seconds=0)  # type: ignore[arg-type]
    np.testing.assert_array_equal(found[:, 2], np.arange(123))


def test_does_not_fit_extractors_that_need_no_statistics() -> None:
    options = {"sampling_rate": RATE, "num_mel_bins": 8, "hop_length": 80, "win_length": 200}
    sound = noise(30)[:, 0]
    for normalization, seconds in (("none", 30), ("utterance", 20), ("global", 30)):
        extractor = SpeechFeatureExtractor(normalization=normalization, **options)
        assert fit_extractor(extractor, Recording("", RATE, seconds, sound[: seconds * RATE])) is extractor
    extractor = SpeechFeatureExtractor(**options)
    for silence in (np.zeros(30 * RATE, np.float32), np.full(30 * RATE, 0.5, np.float32)):
        fitted = fit_extractor(extractor, Recording("", RATE, 30, silence))
        features = fitted(silence, sampling_rate=RATE)["input_features"]
        assert features.isfinite().all()


@pytest.mark.corpora
def test_no_words_in_long_silence(corpora_dir: Path) -> None:
    """A quarter of a minute of faint noise after each utterance gives no words, even in chunks of only noise."""
    loaded = load_model(Path(__file__).resolve().parents[2] / "pretrained" / "an4")
    lines = (corpora_dir / "an4" / "etc" / "an4_test.transcription").read_text().splitlines()[:3]
    pieces, said = [], []
    for index, line in enumerate(lines):
        text, _, name = line.rpartition(" (")
        said.append(text)
        (file,) = (corpora_dir / "an4" / "wav").rglob(f"{name.strip('()')}.sph")
        pieces += [read_audio(file, 16_000), noise(25, 16_000, level=3e-4, seed=index)[:, 0]]
    source = {"array": np.concatenate(pieces), "sampling_rate": 16_000}
    (transcript,) = transcribe_files(loaded, [source], chunk_seconds=20, overlap_seconds=3, progress=False)
    insertions = count_errors([" ".join(said).lower()], [transcript.hypothesis.text.lower()])[0][2]
    assert insertions <= 2
    assert len(transcript.hypothesis.words) > 5


def test_rejects_a_recognizer_that_leaves_out_sound(beeps_run: Path) -> None:
    loaded = load_model(beeps_run)
    loaded.feature_extractor.max_duration = 5.0
    with pytest.raises(ModelError, match="does not process all of a recording"):
        log_probabilities(loaded, np.zeros(80_000, dtype=np.float32))


def test_rejects_recognizers_of_other_packages(beeps_run: Path) -> None:
    loaded = dataclasses.replace(load_model(beeps_run), feature_extractor=Wav2Vec2FeatureExtractor(sampling_rate=RATE))
    with pytest.raises(ModelError, match="use transformers' pipeline"):
        log_probabilities(loaded, np.zeros(80_000, dtype=np.float32))
