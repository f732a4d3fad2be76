"""Transcription of files: formats, long recordings, streaming, pipeline modes, and sounds without speech."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from transformers import pipeline

from hf_speech.cli.app import main
from hf_speech.data.audio import read_audio
from hf_speech.errors import ModelError
from hf_speech.inference import LoadedModel, load_model, log_probabilities, transcribe_files
from hf_speech.inference.decoders import greedy_decoder, seconds_per_frame
from hf_speech.tasks.metrics import count_errors

RATE = 8000
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def recognizer(beeps_run: Path) -> LoadedModel:
    return load_model(beeps_run)


def test_returns_times_of_words(recognizer: LoadedModel, make_beeps: Any) -> None:
    samples = make_beeps("ab c")
    (transcript,) = transcribe_files(recognizer, [{"array": samples, "sampling_rate": RATE}], progress=False)
    assert transcript.hypothesis.text == "ab c"
    first, second = transcript.hypothesis.words
    # The tones of "ab" lie at 0.1 to 0.42 s, that of "c" at 0.75 to 0.87 s; CTC may spike anywhere near.
    assert 0.0 <= first.start < 0.3
    assert 0.6 < second.start < 1.1
    assert transcript.duration == pytest.approx(len(samples) / RATE)


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
@pytest.mark.parametrize("channels", [1, 2])
def test_accepts_any_rate_and_stereo(
    recognizer: LoadedModel, make_beeps: Any, tmp_path: Path, rate: int, channels: int
) -> None:
    samples = make_beeps("cab b", rate)
    soundfile.write(tmp_path / "clip.wav", np.stack([samples] * channels, axis=1), rate)
    (transcript,) = transcribe_files(recognizer, [tmp_path / "clip.wav"], progress=False)
    assert transcript.hypothesis.text == "cab b"


def test_chunks_of_a_long_recording_equal_the_whole(recognizer: LoadedModel, make_beeps: Any) -> None:
    rng = np.random.default_rng(3)
    text = " ".join("".join(rng.choice(list("abc"), 3)) for _ in range(30))
    samples = make_beeps(text)
    whole = log_probabilities(recognizer, samples, chunk_seconds=1000)
    assert len(whole) == len(samples) // recognizer.model.config.inputs_to_logits_ratio
    chunked = log_probabilities(recognizer, samples, chunk_seconds=6, overlap_seconds=1.5)
    assert chunked.shape == whole.shape
    # A recurrence forgets: after a second and a half of surroundings the chunks agree with the whole.
    assert np.mean(chunked.argmax(1) == whole.argmax(1)) > 0.99
    with pytest.raises(ModelError, match="are too short for an overlap"):
        log_probabilities(recognizer, samples, chunk_seconds=2, overlap_seconds=1)


@pytest.mark.parametrize(("more", "pieces"), [(-1, 1), (0, 1), (1, 2)])
def test_only_recordings_over_20_s_are_decoded_in_pieces(
    recognizer: LoadedModel, make_beeps: Any, more: int, pieces: int
) -> None:
    samples = np.random.default_rng(0).normal(0, 0.003, 20 * RATE + more).astype(np.float32)
    for start in (0, 10):
        beeps = make_beeps("abc")
        samples[start * RATE : start * RATE + len(beeps)] = beeps
    greedy, frames = greedy_decoder(recognizer), []

    def decode(log_probs: np.ndarray, frame: float, num_best: int) -> Any:
        frames.append(len(log_probs))
        return greedy(log_probs, frame, num_best)

    source = {"array": samples, "sampling_rate": RATE}
    (transcript,) = transcribe_files(recognizer, [source], decoder=decode, progress=False)
    assert transcript.hypothesis.text.replace(" ", "") == "abcabc"
    assert len(frames) == pieces
    assert sum(frames) == len(samples) // recognizer.model.config.inputs_to_logits_ratio


@pytest.mark.parametrize("chunks", [(20, 3), (30, (4, 1)), (7.5, 1.7)], ids=str)
def test_pipeline_chunks_of_a_causal_model_equal_the_whole(
    beeps_run: Path, make_beeps: Any, chunks: tuple[float, Any]
) -> None:
    """For five minutes of sound: a causal model needs some seconds of past context, and its lookahead."""
    rng = np.random.default_rng(7)
    text = " ".join("".join(rng.choice(list("abc"), rng.integers(1, 5))) for _ in range(420))
    samples = make_beeps(text)[: 300 * RATE]
    assert len(samples) == 300 * RATE
    recognize = pipeline("automatic-speech-recognition", model=str(beeps_run), device="cpu")
    whole = recognize({"raw": samples.copy(), "sampling_rate": RATE})["text"]
    seconds, stride = chunks
    found = recognize({"raw": samples.copy(), "sampling_rate": RATE}, chunk_length_s=seconds, stride_length_s=stride)
    assert found["text"] == whole
    errors = count_errors([" ".join(text.split()[: len(whole.split())])], [whole])[0]
    assert errors[:3].sum() < 0.05 * errors[3] > 10  # The text is correct, not a constant.


@pytest.mark.slow
@pytest.mark.corpora
def test_chunks_of_a_bidirectional_model_differ_in_under_1_percent_of_words(corpora_dir: Path) -> None:
    """Five minutes of AN4, in chunks of this package and of the pipeline."""
    recognizer = load_model(REPOSITORY / "pretrained" / "an4", device="cpu")
    assert recognizer.model.config.bidirectional
    lines = (corpora_dir / "an4" / "etc" / "an4_test.fileids").read_text().split()
    pieces = [read_audio(corpora_dir / "an4" / "wav" / f"{line}.sph", 16_000) for line in lines]
    samples = np.concatenate(pieces)[: 300 * 16_000]
    assert len(samples) == 300 * 16_000
    recognize = pipeline(
        "automatic-speech-recognition",
        model=recognizer.model,
        feature_extractor=recognizer.feature_extractor,
        tokenizer=recognizer.tokenizer,
        device="cpu",
    )

    def given() -> dict[str, Any]:
        return {"raw": samples.copy(), "sampling_rate": 16_000}

    whole = " ".join(recognize(given())["text"].split())
    assert len(whole.split()) > 500
    theirs = " ".join(recognize(given(), chunk_length_s=60, stride_length_s=10)["text"].split())
    # Best paths alike: not cut at pauses, as transcribing does.
    log_probs = log_probabilities(recognizer, samples)
    ours = greedy_decoder(recognizer)(log_probs, seconds_per_frame(recognizer))[0].text
    for chunked in (theirs, ours):
        errors = count_errors([whole], [chunked])[0]
        assert errors[:3].sum() < 0.01 * errors[3]


def test_streaming_gives_the_same_text(recognizer: LoadedModel, make_beeps: Any) -> None:
    samples = make_beeps("abc ca b")
    stream = recognizer.model.stream(recognizer.feature_extractor, recognizer.tokenizer)
    partial = [stream.accept(samples[start : start + 1000]).text for start in range(0, len(samples), 1000)]
    assert stream.finish().text == "abc ca b"
    assert "abc" in partial[len(partial) // 2 :][0]


@pytest.mark.parametrize(
    "samples",
    [np.zeros(8000), np.random.default_rng(0).normal(0, 0.3, 8000), np.zeros(80), np.ones(320)],
    ids=["silence", "noise", "one frame", "one logit"],
)
def test_returns_text_for_sounds_without_speech(recognizer: LoadedModel, samples: np.ndarray) -> None:
    source = {"array": samples.astype(np.float32), "sampling_rate": RATE}
    (transcript,) = transcribe_files(recognizer, [source], progress=False)
    assert isinstance(transcript.hypothesis.text, str)


def test_supports_every_mode_of_the_pipeline(beeps_run: Path, make_beeps: Any) -> None:
    recognize = pipeline("automatic-speech-recognition", model=str(beeps_run))
    clips = {text: make_beeps(text) for text in ("ab c", "a", "cc bb abc")}

    def given(text: str) -> dict[str, Any]:
        return {"raw": clips[text].copy(), "sampling_rate": RATE}

    for text in clips:
        assert recognize(given(text))["text"] == text
    assert [result["text"] for result in recognize([given(text) for text in clips], batch_size=3)] == list(clips)
    words = recognize(given("cc bb abc"), return_timestamps="word")["chunks"]
    assert [word["text"] for word in words] == ["cc", "bb", "abc"]
    frame = 4 * 80 / RATE
    (ours,) = transcribe_files(
        load_model(beeps_run), [{"array": clips["cc bb abc"], "sampling_rate": RATE}], progress=False
    )
    for theirs, word in zip(words, ours.hypothesis.words, strict=True):
        assert theirs["timestamp"][0] == pytest.approx(word.start, abs=frame + 1e-6)
        assert theirs["timestamp"][1] == pytest.approx(word.end, abs=frame + 1e-6)
    characters = recognize(given("ab c"), return_timestamps="char")["chunks"]
    assert [character["text"] for character in characters if character["text"].strip()] == ["a", "b", "c"]
    long = make_beeps(" ".join(["abc"] * 12))
    chunked = recognize({"raw": long, "sampling_rate": RATE}, chunk_length_s=6, stride_length_s=1.5)
    assert chunked["text"] == " ".join(["abc"] * 12)


def test_reports_bad_files_and_transcribes_the_others(
    beeps_run: Path, tmp_path: Path, make_beeps: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write(tmp_path / "good.wav", make_beeps("ab"), RATE)
    (tmp_path / "bad.wav").write_text("no sound")
    with pytest.raises(SystemExit) as exit_:
        main(["transcribe", str(beeps_run), str(tmp_path / "bad.wav"), str(tmp_path / "good.wav")])
    assert exit_.value.code == 1
    printed = capsys.readouterr()
    assert f"{tmp_path / 'good.wav'}: ab" in printed.out
    assert "bad.wav" in printed.err


def test_writes_all_formats(
    beeps_run: Path, tmp_path: Path, make_beeps: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write(tmp_path / "clip.wav", make_beeps("ab c"), RATE)
    for output_format in ("text", "srt", "vtt", "json"):
        with pytest.raises(SystemExit) as exit_:
            main(["transcribe", str(beeps_run), str(tmp_path / "clip.wav"), "--format", output_format])
        assert exit_.value.code == 0
        printed = capsys.readouterr().out
        if output_format == "json":
            assert [word["text"] for word in json.loads(printed)["words"]] == ["ab", "c"]
        else:
            assert "ab c" in printed
        assert ("-->" in printed) == (output_format in ("srt", "vtt"))
        assert printed.startswith("WEBVTT") == (output_format == "vtt")


def test_language_model_on_the_command_line(
    beeps_run: Path, tmp_path: Path, make_beeps: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.txt").write_text("ab c\nc ab\nab ab c\nc c\n" * 5)
    soundfile.write(tmp_path / "clip.wav", make_beeps("ab c"), RATE)
    arpa = str(tmp_path / "lm.arpa")
    for words in (
        ["build-lm", str(tmp_path / "text.txt"), "--order", "2", "--output", arpa],
        ["transcribe", str(beeps_run), str(tmp_path / "clip.wav"), "--language_model", arpa],
    ):
        with pytest.raises(SystemExit) as exit_:
            main(words)
        assert exit_.value.code == 0
    printed = capsys.readouterr().out
    assert "2-grams of" in printed
    assert printed.splitlines()[-1] == "ab c"


def test_tunes_and_evaluates_a_language_model_of_the_training_text(
    beeps_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arpa, report = tmp_path / "lm.arpa", tmp_path / "report.json"
    for words in (
        ["build-lm", str(beeps_run), "--order", "2", "--output", str(arpa)],
        ["tune-decoder", str(beeps_run), "--language_model", str(arpa), "--beam_size", "20"],
        ["evaluate", str(beeps_run), "--language_model", str(arpa), "--output", str(report)],
    ):
        with pytest.raises(SystemExit) as exit_:
            main(words)
        assert exit_.value.code == 0
    assert "lm_weight  word_score  error (%)" in capsys.readouterr().out
    tuned = json.loads((tmp_path / "lm.decoder.json").read_text())
    assert tuned["beam_size"] == 20
    assert tuned["command"]
    content = json.loads(report.read_text())
    assert content["decoder"]["lm_weight"] == tuned["lm_weight"]
    assert content["decoder"]["language_model"] == "lm.arpa"
    assert content["metrics"]["wer"] < 0.2


def test_one_sentence_error_for_a_missing_language_model(
    beeps_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["evaluate", str(beeps_run), "--language_model", str(tmp_path / "no.arpa")])
    assert exit_.value.code == 2
    assert "build one with hf-speech build-lm" in capsys.readouterr().err


def test_a_classifier_cannot_transcribe(tones_run: Path) -> None:
    with pytest.raises(ModelError, match="speech recognition"):
        next(transcribe_files(load_model(tones_run), [torch.zeros(5)]))
