"""The JavaScript module in `web/` equals this package: logits, words, resampled sound, subtitles.

It runs in Node with the packages of `web/package-lock.json`; the tests are skipped unless `npm ci` was run.
"""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr
from exported_models import sound as synthesize

from hf_speech.decoding import make_cues, to_json, to_srt, to_vtt
from hf_speech.decoding.hypothesis import Word
from hf_speech.export.exporting import export_model
from hf_speech.inference import load_model, transcribe_files
from hf_speech.inference.chunks import log_probabilities
from hf_speech.inference.onnx import ExportedModel
from hf_speech.inference.recognizer import log_softmax
from hf_speech.publishing.web_page import served
from hf_speech.tasks import TextOptions
from hf_speech.tasks.transcripts import build_tokenizer

WEB = Path(__file__).resolve().parents[2] / "web"
RATE = 8000


def test_types_are_valid() -> None:
    command = [str(WEB / "node_modules" / ".bin" / "tsc"), "--project", str(WEB)]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0, finished.stdout


def test_a_causal_recognizer_equals_pytorch(run: Any, beeps_run: Path, exported_beeps: Path, make_beeps: Any) -> None:
    loaded = load_model(beeps_run, "cpu")
    sound = make_beeps("abc cab bba")
    expected = loaded.run([sound])[0].logits
    (transcript,) = transcribe_files(loaded, [{"array": sound, "sampling_rate": RATE}], progress=False)
    with served(exported_beeps) as url:
        answer = run("recognize", url=url, precision="float32", samples=sound.tolist(), rate=RATE)
        texts = run("stream", url=url, pieces=[piece.tolist() for piece in np.split(sound, [3, 4000, 9000])])
    assert answer["streams"]
    np.testing.assert_allclose(np.reshape(answer["logits"], expected.shape), expected, atol=1e-3)
    assert answer["text"] == texts[-1] == transcript.hypothesis.text == "abc cab bba"
    assert all(text.startswith(before) for before, text in itertools.pairwise(texts))
    for word, same in zip(answer["words"], transcript.hypothesis.words, strict=True):
        assert (word["text"], word["start"], word["end"]) == (
            same.text,
            pytest.approx(same.start),
            pytest.approx(same.end),
        )
        assert word["confidence"] == pytest.approx(same.confidence, abs=1e-3)


def test_chunks_of_a_long_recording_equal_python(
    run: Any, make_extractor: Any, make_recognizer: Any, tmp_path: Path
) -> None:
    """For a minute and a half of sound, and a model that needs whole recordings."""
    extractor, tokenizer = make_extractor(normalization="none"), build_tokenizer(["ab", "c"], TextOptions("lower"))
    for part in (make_recognizer(extractor, vocab_size=len(tokenizer)), extractor, tokenizer):
        part.save_pretrained(tmp_path / "model")
    export_model(load_model(tmp_path / "model", "cpu"), tmp_path / "onnx", int8=False)
    sound = np.concatenate([synthesize(8.5, seed) for seed in range(10)])[:-123]
    expected = log_probabilities(ExportedModel(tmp_path / "onnx"), sound)
    with served(tmp_path / "onnx") as url:
        answer = run("recognize", url=url, precision="float32", samples=sound.tolist(), rate=RATE)
    assert not answer["streams"]
    logits = np.reshape(answer["logits"], expected.shape).astype("f")
    np.testing.assert_allclose(log_softmax(logits), expected, atol=1e-3)


@pytest.mark.parametrize("precision", ["float32", "packed"])
def test_a_classifier_equals_pytorch(run: Any, tones_run: Path, make_tone: Any, tmp_path: Path, precision: str) -> None:
    loaded = load_model(tones_run, "cpu")
    export_model(loaded, tmp_path, int8=False, packed=True)
    clip = make_tone(0.5, 300.0, RATE, 0.3)
    (expected,) = loaded.run([clip])
    with served(tmp_path) as url:
        answer = run("classify", url=url, precision=precision, samples=clip.tolist(), rate=RATE)
    np.testing.assert_allclose(answer["logits"], expected.logits, atol=1e-3 if precision == "float32" else 0.1)
    probabilities = [item["probability"] for item in answer["classes"]]
    assert sum(probabilities) == pytest.approx(1)
    assert probabilities == sorted(probabilities, reverse=True)
    assert answer["classes"][0]["label"] == loaded.labels[int(expected.logits.argmax())]


def test_reports_invalid_models(run: Any, exported_beeps: Path, exported_tones: Path, tmp_path: Path) -> None:
    def error(folder: Path, **options: Any) -> str:
        with served(folder) as url:
            return str(run("load", url=url, options=options)["error"])

    assert "cannot be loaded" in error(tmp_path)
    assert "does audio-classification, not automatic-speech-recognition" in error(exported_tones)
    assert "no files of precision packed" in error(exported_beeps, precision="packed")
    damaged = Path(shutil.copytree(exported_beeps, tmp_path / "damaged"))
    content = bytearray((damaged / "stream.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (damaged / "stream.onnx").write_bytes(content)
    assert "arrived damaged" in error(damaged)


@pytest.mark.parametrize(
    ("rate", "to"), [(48_000, 16_000), (44_100, 16_000), (16_000, 8000), (8000, 16_000), (11_025, 8000)]
)
def test_resampling_equals_python(run: Any, rate: int, to: int) -> None:
    """Tones below the band's edge equal soxr's, tones above it are removed, and pieces do not matter."""
    time = np.arange(rate) / rate
    edge = min(rate, to) / 2
    low = sum(np.sin(2 * np.pi * share * edge * time + share) for share in (0.05, 0.4, 0.85))
    high = np.sin(2 * np.pi * 1.1 * edge * time) if rate > to else np.zeros(rate)
    sound = (0.2 * (low + high) * np.hanning(rate)).astype("f")
    output = np.array(run("whole", samples=sound.tolist(), **{"from": rate, "to": to}), "f")
    expected = soxr.resample((0.2 * low * np.hanning(rate)).astype("f"), rate, to, quality="VHQ")
    assert len(output) == round(rate * to / rate)
    np.testing.assert_allclose(output, expected[: len(output)], atol=2e-4)
    pieces = [piece.tolist() for piece in np.split(sound, [1, 130, 131, 5000])]
    in_pieces = run("resample", pieces=pieces, **{"from": rate, "to": to})
    np.testing.assert_array_equal(np.array(in_pieces, "f"), output)


def test_rejects_invalid_rates(run: Any) -> None:
    assert "whole numbers" in run("whole", samples=[0], **{"from": 0, "to": 16_000})["error"]


def test_subtitles_equal_python(run: Any) -> None:
    rng = np.random.default_rng(3)
    start, words = 0.0, []
    for index in range(60):
        text = ["ONE", "<b>&", "twenty", "Größe", "x" * 30][index % 5]
        end = start + float(rng.uniform(0.05, 1.2))
        words.append(Word(text, start, end, float(rng.uniform())))
        start = end + float(rng.choice([0.02, 0.3, 2.0], p=[0.6, 0.3, 0.1]))
    rows = [{"text": w.text, "start": w.start, "end": w.end, "confidence": w.confidence} for w in words]
    cues = make_cues(words)
    srt, vtt, content = run("subtitles", words=rows, file="a.wav")
    assert srt == to_srt(cues)
    assert vtt == to_vtt(cues)
    assert json.loads(content) == json.loads(to_json(words, file="a.wav"))
    assert run("subtitles", words=[], file="a.wav")[:2] == [to_srt([]), to_vtt([])]
