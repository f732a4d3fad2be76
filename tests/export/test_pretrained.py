"""Exports of the pretrained models: the same text for real speech, and similar accuracy with int8."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hf_speech.data import read_audio
from hf_speech.export.exporting import export_model
from hf_speech.inference import load_model, predict
from hf_speech.inference.decoders import greedy_decoder, seconds_per_frame
from hf_speech.inference.onnx import ExportedModel
from hf_speech.inference.onnx_stream import ExportedStream
from hf_speech.inference.recognizer import log_softmax
from hf_speech.tasks.metrics import count_errors
from hf_speech.training import load_recipe

PRETRAINED = Path(__file__).resolve().parents[2] / "pretrained"
POINT = 0.01

pytestmark = [pytest.mark.corpora, pytest.mark.slow]


def test_an4(corpora_dir: Path, tmp_path: Path) -> None:
    loaded = load_model(PRETRAINED / "an4", device="cpu")
    export_model(loaded, tmp_path)
    recipe = load_recipe(PRETRAINED / "an4" / "recipe.yaml", ["--data_dir", str(corpora_dir / "an4")])
    rows = recipe.corpus.load()["test"]
    references = loaded.task.references(rows, loaded.model.config, loaded.tokenizer)
    sounds = [read_audio(row["audio"], loaded.sampling_rate) for row in rows]
    decode, frame = greedy_decoder(loaded), seconds_per_frame(loaded)

    expected = [prediction.logits for prediction in predict(loaded, rows["audio"], batch_size=1, progress=False)]
    texts = [decode(log_softmax(logits), frame)[0].text for logits in expected if logits is not None]
    exported = ExportedModel(tmp_path)
    found = [exported([samples])[0][0] for samples in sounds]
    assert len(sounds) > 100
    for got, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-4)
    assert [decode(log_softmax(logits), frame)[0].text for logits in found] == texts

    quantized = ExportedModel(tmp_path / "model_int8.onnx")
    heard = [decode(log_softmax(quantized([samples])[0][0]), frame)[0].text for samples in sounds]
    words = sum(len(reference.split()) for reference in references)
    errors, errors_int8 = (count_errors(references, written)[:, :3].sum() for written in (texts, heard))
    assert errors / words < 0.2
    assert errors_int8 / words == pytest.approx(errors / words, abs=POINT)


def test_fsdd(fsdd_dir: Path, tmp_path: Path) -> None:
    loaded = load_model(PRETRAINED / "fsdd-digits", device="cpu")
    export_model(loaded, tmp_path)
    rows = load_recipe(PRETRAINED / "fsdd-digits" / "recipe.yaml", ["--data_dir", str(fsdd_dir)]).corpus.load()["test"]
    sounds = [read_audio(row["audio"], loaded.sampling_rate) for row in rows]
    labels = np.array(rows["label"])
    expected = [prediction.logits for prediction in predict(loaded, rows["audio"], progress=False)]
    exported = ExportedModel(tmp_path)
    found = [exported([samples])[0][0] for samples in sounds]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    quantized = ExportedModel(tmp_path / "model_int8.onnx")
    heard = np.array([quantized([samples])[0][0].argmax() for samples in sounds])
    accuracy = np.mean(np.argmax(expected, axis=1) == labels)
    assert np.mean(heard == labels) == pytest.approx(accuracy, abs=POINT)


def test_an4_streamed_in_pieces(corpora_dir: Path, tmp_path: Path) -> None:
    loaded = load_model(PRETRAINED / "an4-streaming", device="cpu")
    export_model(loaded, tmp_path)
    recipe = load_recipe(PRETRAINED / "an4-streaming" / "recipe.yaml", ["--data_dir", str(corpora_dir / "an4")])
    rows = recipe.corpus.load()["test"]
    exported = ExportedModel(tmp_path)
    decode, frame = greedy_decoder(exported), seconds_per_frame(exported)
    stream, quantized = ExportedStream(tmp_path), ExportedStream(tmp_path / "stream_int8.onnx")
    edits, words = 0, 0
    for row in rows.select(range(40)):
        samples = read_audio(row["audio"], exported.sampling_rate)
        logits = exported([samples])[0][0]
        pieces = np.split(samples, range(1600, len(samples), 1600))
        for live in (stream, quantized):
            live.reset()
            heard = np.concatenate([live.accept(piece) for piece in pieces] + [live.finish()])
            assert heard.shape == logits.shape
            if live is stream:
                np.testing.assert_allclose(heard, logits, atol=1e-4)
        text = decode(log_softmax(logits), frame)[0].text
        assert stream.text == text
        edits += count_errors([text], [quantized.text])[0, :3].sum()
        words += len(text.split())
    assert edits / words < 0.05  # int8 gives a few different words than float32.
