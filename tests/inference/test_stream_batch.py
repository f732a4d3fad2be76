"""Batches of streams, with both back ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hf_speech.errors import AudioError, ModelError
from hf_speech.inference import StreamBatch, open_model, open_stream
from hf_speech.inference.onnx_stream import ExportedStream

TEXTS = ("abc a", "ca ab", "b cab", "aab c")


@pytest.fixture(params=["pytorch", "stream.onnx", "stream_int8.onnx"])
def source(request: pytest.FixtureRequest, exported_beeps: Path, beeps_run: Path) -> Path:
    return beeps_run if request.param == "pytorch" else exported_beeps / request.param


def pieces_of(samples: np.ndarray, size: int) -> list[np.ndarray]:
    return [samples[start : start + size] for start in range(0, len(samples), size)]


def test_batched_streams_equal_separate_streams(source: Path, make_beeps: Callable[..., np.ndarray]) -> None:
    """Streams start one after the other, get pieces of different sizes, end at different times, and one restarts."""
    batch = StreamBatch(source, device="cpu")
    sounds = [make_beeps(text, seed=7) for text in TEXTS]
    sizes = [300, 300, 77, 1000]
    expected, texts = [], []
    for samples, size in zip(sounds, sizes, strict=True):
        alone = batch.stream()
        expected.append(np.concatenate([*map(alone.accept, pieces_of(samples, size)), alone.finish()]))
        texts.append(alone.text)
    assert texts == list(TEXTS)

    streams = [batch.stream() for _ in sounds]
    waiting = [pieces_of(samples, size) for samples, size in zip(sounds, sizes, strict=True)]
    waiting[0] += [
        np.zeros(0, np.float32),
        *pieces_of(sounds[1], 300),
    ]  # Then the sound of the second one.
    found: list[list[np.ndarray]] = [[] for _ in sounds]
    tick = 0
    while any(waiting):
        fed = [index for index, pieces in enumerate(waiting) if pieces and tick >= 3 * index]
        for index in fed:
            piece = waiting[index].pop(0)
            if not len(piece):
                streams[index].reset()
                found[index] = []
            streams[index].feed(piece, final=not waiting[index])
        for index, logits in zip(fed, batch.advance([streams[index] for index in fed]), strict=True):
            found[index].append(logits)
        tick += 1
    for index, same in enumerate([1, 1, 2, 3]):
        np.testing.assert_allclose(np.concatenate(found[index]), expected[same], atol=1e-4)
        assert streams[index].text == texts[same]
    assert [len(logits) for logits in batch.advance(streams)] == [0, 0, 0, 0]  # All have ended.


def test_streams_at_the_same_position_share_a_call(exported_beeps: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    run = ExportedStream._run

    def count(stream: ExportedStream, pieces: np.ndarray, states: dict[str, np.ndarray]) -> list[np.ndarray]:
        calls.append(pieces.shape)
        return run(stream, pieces, states)

    monkeypatch.setattr(ExportedStream, "_run", count)
    batch = StreamBatch(exported_beeps / "stream.onnx")
    streams = [batch.stream() for _ in range(5)]
    rng = np.random.default_rng(0)
    step = streams[0].samples_per_frame // 4
    for _ in range(40):  # Pieces of a quarter of a frame: the model is called once a frame.
        for stream in streams:
            stream.feed(rng.normal(0, 0.1, step).astype("f"))
        batch.advance(streams)
    assert {streams for streams, _ in calls} == {5}
    assert 9 <= len(calls) <= 10
    assert {samples for _, samples in calls[1:]} == {4 * step}
    late = batch.stream()
    for stream in (late, *streams):
        stream.feed(rng.normal(0, 0.1, 4 * step).astype("f"))
    batch.advance([late, *streams])
    assert calls[-1] == (5, 4 * step)  # The late stream has no frame yet.


def test_a_rejected_piece_affects_only_its_stream(source: Path, make_beeps: Callable[..., np.ndarray]) -> None:
    batch = StreamBatch(source, device="cpu")
    streams = [batch.stream(), batch.stream()]
    samples = make_beeps("abc a", seed=7)
    buffer = np.empty(500, np.float32)
    for piece in pieces_of(samples, 500):
        buffer[: len(piece)] = piece
        for stream in streams:
            stream.feed(buffer[: len(piece)])
        buffer[:] = 9  # The caller's array is not kept.
        with pytest.raises(AudioError, match=r"finite|NaN"):
            streams[0].feed(np.array([np.nan], np.float32))
        batch.advance(streams)
    streams[1].feed(np.zeros(0, np.float32), final=True)
    batch.advance(streams)
    assert streams[1].text == "abc a"
    with pytest.raises(AudioError, match=r"call reset\(\)"):
        streams[1].feed(samples)
    streams[0].finish()
    assert streams[0].text == "abc a"


@pytest.mark.parametrize("file", ["stream.onnx", "stream_int8.onnx"])
def test_int8_streams_do_not_depend_on_the_pieces(
    exported_beeps: Path, make_beeps: Callable[..., np.ndarray], file: str
) -> None:
    stream = open_stream(exported_beeps / file)
    samples = make_beeps("abc a", seed=7)
    found = []
    for size in (80, 333, len(samples)):
        stream.reset()
        logits = [stream.accept(piece) for piece in pieces_of(samples, size)]
        found.append(np.concatenate([*logits, stream.finish()]))
        np.testing.assert_allclose(found[-1], found[0], atol=1e-4)


def test_int8_file_streams_with_int8(exported_beeps: Path) -> None:
    streams = [open_model(exported_beeps / name).stream() for name in ("model.onnx", "model_int8.onnx")]
    assert [stream.description.precision for stream in streams] == ["float32", "int8"]
    assert streams[1].name.endswith("stream_int8.onnx")


def test_rejects_models_that_cannot_stream(tones_run: Path) -> None:
    with pytest.raises(ModelError, match="needs the whole recording"):
        StreamBatch(tones_run, device="cpu")


def test_streams_files_without_first_samples(exported_beeps: Path, make_beeps: Any) -> None:
    """Files of earlier versions."""
    stream, samples = ExportedStream(exported_beeps), make_beeps("abc a", seed=7)
    expected = np.concatenate([*(stream.accept(piece) for piece in pieces_of(samples, 500)), stream.finish()])
    object.__setattr__(stream.description, "first_samples", 0)
    stream.reset()
    found = np.concatenate([*(stream.accept(piece) for piece in pieces_of(samples, 500)), stream.finish()])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert stream.text == "abc a"
