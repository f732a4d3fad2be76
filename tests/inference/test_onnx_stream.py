"""Streams of exported models give the results of whole files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hf_speech.decoding.greedy import greedy_decode
from hf_speech.errors import AudioError, ModelError
from hf_speech.inference import (
    open_model,
    open_stream,
)
from hf_speech.inference.onnx_stream import ExportedStream
from hf_speech.inference.recognizer import log_softmax


@pytest.mark.parametrize("file", ["stream.onnx", "stream_int8.onnx"])
def test_streams_give_the_text_of_whole_files(exported_beeps: Path, make_beeps: Any, file: str) -> None:
    stream = ExportedStream(exported_beeps / file)
    assert 0.1 < stream.latency < 0.5
    for text in ("abc a", "b", "ca ab c"):
        stream.reset()
        seen = []
        for piece in np.array_split(make_beeps(text, seed=7), 9):
            stream.accept(piece)
            seen.append(stream.text)
        stream.finish()
        assert stream.text == text
        assert all(text.startswith(part) for part in seen)
        assert seen[-2] != ""
    with pytest.raises(AudioError, match="give mono samples"):
        stream.accept(np.zeros((2, 100)))


@pytest.fixture
def stream(exported_beeps: Path) -> ExportedStream:
    return ExportedStream(exported_beeps)


def test_streams_keep_unknown_tokens_like_whole_files(stream: ExportedStream) -> None:
    labels = stream.description.labels
    path = [labels.index(token) for token in ("a", "<unk>", "a", "|", "<pad>", "|", "<unk>", "<unk>", "b")]
    logits = np.log(np.full((len(path), len(labels)), 1e-3) + np.eye(len(labels))[path]).astype(np.float32)
    for piece in np.split(logits, [1, 3, 4]):
        stream._append_text(piece)
    whole = greedy_decode(log_softmax(logits), labels, seconds_per_frame=0.02, blank=stream.description.blank)
    assert stream.text == whole.text == "a<unk>a <unk>b"


def test_streams_accept_the_formats_of_whole_files(stream: ExportedStream, make_beeps: Any) -> None:
    """Integers are scaled, rejected pieces have no effect, and nothing is accepted after the end."""
    samples = (make_beeps("abc a", seed=7) * 2**15).astype(np.int16)
    heard = []
    for piece in (samples, samples / np.float32(2**15)):
        stream.reset()
        logits = [stream.accept(piece[:2000])]
        for bad in (np.nan, 1e20):
            with pytest.raises(AudioError, match="not finite"):
                stream.accept(np.array([0.1, bad], np.float32))
        logits += [stream.accept(piece[2000:]), stream.finish()]
        assert stream.text == "abc a"
        heard.append(np.concatenate(logits))
    np.testing.assert_allclose(*heard, atol=1e-4)
    with pytest.raises(AudioError, match=r"call reset\(\)"):
        stream.accept(samples)


@pytest.mark.parametrize("exported", [False, True])
def test_streams_of_one_model_are_independent(
    exported_beeps: Path, beeps_run: Path, exported_tones: Path, tones_run: Path, make_beeps: Any, exported: bool
) -> None:
    """Two streams of a model share only its file; a piece may be a whole recording."""
    model = open_model(exported_beeps if exported else beeps_run, device="cpu")
    first, second = model.stream(), open_stream(model, verb="transcribe")
    samples = {text: make_beeps(text, seed=7) for text in ("abc a", "ca ab")}
    pieces = zip(*(np.array_split(samples[text], 5) for text in samples), strict=True)
    for number, (one, other) in enumerate(pieces):
        first.accept(one)
        second.accept(other, final=number == 4)
    first.finish()
    assert [first.text, second.text] == list(samples)
    again = open_stream(exported_beeps / "stream.onnx" if exported else str(beeps_run))
    assert len(again.accept(samples["abc a"], final=True)) == len(samples["abc a"]) // again.samples_per_frame
    assert again.text == "abc a"
    assert (again.latency, again.labels, again.task.name) == (first.latency, first.labels, first.task.name)
    if exported:
        assert first._session is second._session
    with pytest.raises(AudioError, match=r"call reset\(\)"):
        first.accept(samples["ca ab"])
    with pytest.raises(ModelError, match="automatic-speech-recognition, not for audio-classification"):
        open_stream(model, verb="classify")
    with pytest.raises(ModelError, match="There is no exported model" if exported else "needs the whole recording"):
        open_model(exported_tones if exported else tones_run, device="cpu").stream()
