"""Sizes that a model folder declares are checked against its files before memory is allocated."""

from __future__ import annotations

import json
import os
import shutil
import struct
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from hf_speech.errors import ModelError
from hf_speech.inference import load_model
from hf_speech.inference.declarations import MAX_JSON_BYTES
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
    assert "asks for num_hidden_layers=1000000000: at most 1,000 is allowed" in refused_at_once(model_copy)


def test_a_billion_labels_are_refused_at_once(model_copy: Path):
    assert "asks for num_labels=1000000000" in refused_at_once(edit(model_copy, num_labels=10**9))


@pytest.mark.parametrize("changes", [{"hidden_size": 60_000}, {"num_hidden_layers": 200}, {"input_size": 65_000}])
def test_a_model_much_larger_than_its_weights_is_refused_at_once(model_copy: Path, changes: dict[str, int]):
    if "input_size" in changes:
        edit(model_copy, "preprocessor_config.json", feature_type="waveform", hop_length=65_000)
    text = refused_at_once(edit(model_copy, **changes))
    assert "parameters and its configuration asks for " in text


def test_a_large_vocabulary_is_refused_at_once(recognizer: Path):
    assert load_model(recognizer, device="cpu").tokens[3:] == ["A", "B", "C"]
    assert "parameters and its configuration asks for " in refused_at_once(edit(recognizer, vocab_size=65_000))


@pytest.mark.parametrize("file", ["config.json", "preprocessor_config.json", "tokenizer_config.json", "vocab.json"])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[" * 100_000 + "]" * 100_000, "is damaged (maximum recursion depth"),
        ('{"a": 1, ', "is damaged (Expecting property name"),
        ("[1, 2]", "is not a JSON object"),
        ("{" + " " * MAX_JSON_BYTES + "}", "is larger than 16 MiB"),
    ],
)
def test_reports_damaged_json(recognizer: Path, file: str, content: str, reason: str):
    (recognizer / file).write_text(content)
    assert f"{file} of {recognizer} {reason}" in refused_at_once(recognizer)


def test_rejects_a_header_longer_than_its_file(model_copy: Path):
    weights = model_copy / "model.safetensors"
    for length in (10**9, 2**63):
        weights.write_bytes(struct.pack("<Q", length) + weights.read_bytes()[8:])
        assert "model.safetensors of " in refused_at_once(model_copy)


@pytest.mark.parametrize("architectures", ["ConvGRUForCTC", 7, [7], [["ConvGRUForCTC"]]])
def test_rejects_architectures_that_are_not_a_list_of_names(model_copy: Path, architectures: object):
    assert "has no list of architectures" in refused_at_once(edit(model_copy, architectures=architectures))


def test_rejects_another_models_extractor(model_copy: Path, recognizer: Path):
    edit(model_copy, "preprocessor_config.json", num_mel_bins=24)
    assert "has feature_size=24 and its model input_size=20" in refused_at_once(model_copy)
    edit(recognizer, "preprocessor_config.json", hop_length=80)
    assert "has hop_length=80 and its model hop_length=160" in refused_at_once(recognizer)


def test_rejects_another_models_tokenizer(recognizer: Path, tmp_path: Path):
    build_tokenizer(["AB"], TextOptions()).save_pretrained(tmp_path / "smaller")
    for file in ("vocab.json", "tokenizer_config.json"):
        shutil.copy(tmp_path / "smaller" / file, recognizer / file)
    assert "lacks some of the 6 tokens" in refused_at_once(recognizer)


def test_rejects_a_tokenizer_that_crashes_transformers(recognizer: Path):
    (recognizer / "vocab.json").write_text('{"<pad>": {"A": 1}}')
    assert "tokenizer" in refused_at_once(recognizer)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json", "notes.txt"])
def test_does_not_wait_for_a_pipe(model_copy: Path, file: str):
    (model_copy / file).unlink(missing_ok=True)
    os.mkfifo(model_copy / file)
    text = refused_at_once(model_copy)
    assert f"{file} of {model_copy} is not a regular file" in text or "has no config.json" in text


def test_rejects_circular_links(model_copy: Path):
    (model_copy / "a.json").symlink_to("b.json")
    (model_copy / "b.json").symlink_to("a.json")
    assert f".json of {model_copy} cannot be read" in refused_at_once(model_copy)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"id2label": {"0": "a", "2": "b"}}, "from 0 without gaps: 1 has no label"),
        ({"id2label": {"0": "a", "01": "b"}}, "from 0 without gaps: 1 has no label"),
        ({"id2label": {"-1": "a", "0": "b"}}, "from 0 without gaps: 1 has no label"),
        ({"id2label": ["a", "b"]}, "has a list as id2label"),
        ({"label2id": [["a", 0]]}, "has a list as label2id"),
        ({"auto_map": ["AutoModel"]}, "has a list as auto_map"),
        ({"id2label": {"0": ["a"]}}, "that are not text"),
        ({"label2id": {"a": 0, "b": 0}}, "repeated or negative ids"),
        ({"label2id": {"a": -1}}, "repeated or negative ids"),
        ({"label2id": {"a": True}}, "that are not whole numbers"),
        ({"id2label": {str(index): "x" for index in range(70_000)}}, "has 70,000 labels: at most 65,536 are allowed"),
        ({"class_weights": [1.0] * 70_000}, "lists 70,000 values as class_weights"),
        ({"hidden_size": 10**15}, "asks for hidden_size=1000000000000000"),
        ({"dropout": float("nan")}, "asks for dropout=nan"),
        ({"dropout": float("-inf")}, "asks for dropout=-inf"),
        ({"problem_type": json.loads("[" * 40 + "]" * 40)}, "is nested more than 32 deep"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_odd_configurations_are_refused_at_once(model_copy: Path, changes: dict[str, object], reason: str):
    assert reason in refused_at_once(edit(model_copy, **changes))


def test_rejects_duplicate_keys(model_copy: Path):
    path = model_copy / "config.json"
    path.write_text('{"hidden_size": 8, ' + path.read_text().lstrip()[1:])
    assert "is damaged (the key 'hidden_size' occurs twice)" in refused_at_once(model_copy)


@pytest.mark.parametrize(
    ("vocabulary", "reason"),
    [
        ({"<pad>": 0, "|": 1, "<unk>": 2, "A": 3, "B": 3, "C": 4}, "gives several tokens the same id, such as 'A'"),
        ({"<pad>": 0, "|": 1, "<unk>": 2, "A": -3, "B": 4, "C": 5}, "a whole number as its id"),
        ({"<pad>": 0, "|": 1, "<unk>": 2, "A": 3.5, "B": 4, "C": 5}, "a whole number as its id"),
        ({"<pad>": 0, "|": 1, "<unk>": 2, "A": "3", "B": 4, "C": 5}, "a whole number as its id"),
        ({"<pad>": 0, "|": 1, "<unk>": 2, "A": 3, "B": 4, "C": 9}, "has a gap: no token has the id 5"),
        ({f"t{index}": index for index in range(600_000)}, "has 600,000 tokens: at most 262,144 are allowed"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_odd_vocabularies_are_refused_at_once(recognizer: Path, vocabulary: dict[str, object], reason: str):
    (recognizer / "vocab.json").write_text(json.dumps(vocabulary))
    assert reason in refused_at_once(recognizer)


@pytest.mark.parametrize("tokens", [["A"], {"-1": {"content": "A"}}, {"x": {"content": "A"}}])
def test_odd_added_tokens_are_refused_at_once(recognizer: Path, tokens: object):
    assert "must map ids to added tokens" in refused_at_once(
        edit(recognizer, "tokenizer_config.json", added_tokens_decoder=tokens)
    )


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.int8])
def test_rejects_and_names_weights_that_are_not_floating_point(model_copy: Path, dtype: torch.dtype):
    weights = load_file(model_copy / "model.safetensors")
    weights["classifier.weight"] = weights["classifier.weight"].to(dtype)
    save_file(weights, model_copy / "model.safetensors", {"format": "pt"})
    assert f"model.safetensors of {model_copy} holds classifier.weight as " in refused_at_once(model_copy)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_rejects_and_names_weights_that_are_not_finite(model_copy: Path, value: float):
    weights = load_file(model_copy / "model.safetensors")
    weights["classifier.bias"][0] = value
    save_file(weights, model_copy / "model.safetensors", {"format": "pt"})
    text = refused_at_once(model_copy)
    assert f"classifier.bias in the model.safetensors of {model_copy} is not finite" in text


@pytest.mark.parametrize("index", [{"weight_map": []}, {"weight_map": {"a": "../other.safetensors"}}])
def test_rejects_an_index_that_leaves_the_folder(model_copy: Path, index: dict[str, object]):
    (model_copy / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "must name a file of the folder for each weight" in refused_at_once(model_copy)
