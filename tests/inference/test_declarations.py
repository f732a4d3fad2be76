"""What a model folder declares is bounded by what lies in it, and refused before anything is made of it."""

from __future__ import annotations

import json
import shutil
import struct
import time
from pathlib import Path

import pytest

from hf_speech.errors import ModelError
from hf_speech.inference import load_model
from hf_speech.inference.declarations import MOST_JSON_BYTES
from hf_speech.models import ConvGRUConfig, ConvGRUForCTC, SpeechFeatureExtractor
from hf_speech.tasks import TextOptions
from hf_speech.tasks.transcripts import build_tokenizer


def refused_at_once(folder: Path) -> str:
    started = time.process_time()
    with pytest.raises(ModelError) as caught:
        load_model(folder, device="cpu")
    assert time.process_time() - started < 2
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


def edit(folder: Path, file: str = "config.json", **changes: object) -> Path:
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


@pytest.fixture
def recognizer(tmp_path: Path) -> Path:
    """A recognizer of the letters A, B and C with random weights."""
    folder = tmp_path / "recognizer"
    tokenizer = build_tokenizer(["ABC"], TextOptions())
    sizes = {"input_size": 16, "channels": 8, "hidden_size": 8, "num_hidden_layers": 1}
    ConvGRUForCTC(ConvGRUConfig(**sizes, vocab_size=len(tokenizer))).save_pretrained(folder)
    SpeechFeatureExtractor(num_mel_bins=16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("family", ["speech_lstm", "conv_gru", "wav2vec2", "hubert"])
def test_a_billion_layers_are_refused_at_once(model_copy: Path, family: str):
    edit(model_copy, model_type=family, num_hidden_layers=10**9)
    assert "asks for num_hidden_layers=1000000000, and 1,000 is the most" in refused_at_once(model_copy)


def test_a_billion_labels_are_refused_at_once(model_copy: Path):
    assert "asks for num_labels=1000000000" in refused_at_once(edit(model_copy, num_labels=10**9))


@pytest.mark.parametrize("changes", [{"hidden_size": 60_000}, {"num_hidden_layers": 200}, {"input_size": 65_000}])
def test_a_model_much_larger_than_its_weights_is_refused_at_once(model_copy: Path, changes: dict[str, int]):
    if "input_size" in changes:
        edit(model_copy, "preprocessor_config.json", feature_type="waveform", hop_length=65_000)
    text = refused_at_once(edit(model_copy, **changes))
    assert "do not fit its configuration, which asks for " in text


def test_a_large_vocabulary_is_refused_at_once(recognizer: Path):
    assert load_model(recognizer, device="cpu").tokens[3:] == ["A", "B", "C"]
    assert "do not fit its configuration, which asks for " in refused_at_once(edit(recognizer, vocab_size=65_000))


@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json", "tokenizer_config.json", "vocab.json"])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[" * 100_000 + "]" * 100_000, "is damaged (maximum recursion depth"),
        ('{"a": 1, ', "is damaged (Expecting property name"),
        ("[1, 2]", "is no JSON object"),
        ("{" + " " * MOST_JSON_BYTES + "}", "is larger than 16 MiB"),
    ],
)
def test_damaged_json_is_named(recognizer: Path, file: str, content: str, reason: str):
    (recognizer / file).write_text(content)
    assert f"{file} of {recognizer} {reason}" in refused_at_once(recognizer)


def test_a_header_longer_than_its_file_is_refused(model_copy: Path):
    weights = model_copy / "model.safetensors"
    for length in (10**9, 2**63):
        weights.write_bytes(struct.pack("<Q", length) + weights.read_bytes()[8:])
        assert "The model of " in refused_at_once(model_copy)


@pytest.mark.parametrize("architectures", ["ConvGRUForCTC", 7, [7], [["ConvGRUForCTC"]]])
def test_architectures_that_are_no_list_of_names_are_refused(model_copy: Path, architectures: object):
    assert "has no list of architectures" in refused_at_once(edit(model_copy, architectures=architectures))


def test_another_models_extractor_is_refused(model_copy: Path, recognizer: Path):
    edit(model_copy, "preprocessor_config.json", num_mel_bins=24)
    assert "has feature_size=24 and its model input_size=20" in refused_at_once(model_copy)
    edit(recognizer, "preprocessor_config.json", hop_length=80)
    assert "has hop_length=80 and its model hop_length=160" in refused_at_once(recognizer)


def test_another_models_tokenizer_is_refused(recognizer: Path, tmp_path: Path):
    build_tokenizer(["AB"], TextOptions()).save_pretrained(tmp_path / "smaller")
    for file in ("vocab.json", "tokenizer_config.json"):
        shutil.copy(tmp_path / "smaller" / file, recognizer / file)
    assert "lacks some of the 6 tokens" in refused_at_once(recognizer)


def test_a_tokenizer_that_transformers_stumbles_over_is_refused(recognizer: Path):
    (recognizer / "vocab.json").write_text('{"<pad>": {"A": 1}}')
    assert "tokenizer" in refused_at_once(recognizer)
