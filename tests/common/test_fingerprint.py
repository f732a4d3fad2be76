"""A fingerprint changes with everything that affects the output, and with nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from hf_speech.common import fingerprint as module
from hf_speech.common.fingerprint import code_fingerprint, differences, fingerprint, fingerprint_of_answers


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "language_model.arpa").write_text("\\data\\")
    (tmp_path / "lexicon.txt").write_text("A\tAH")
    contents = {
        "config.json": {"model_type": "conv_gru", "id2label": {"0": "a", "1": "b"}, "auto_map": {"AutoModel": "x.Y"}},
        "preprocessor_config.json": {"normalization": "utterance", "feature_size": 80},
        "vocab.json": {"<pad>": 0, "a": 1},
        "tokenizer_config.json": {"text_normalizer": "english"},
    }
    for name, content in contents.items():
        (tmp_path / name).write_text(json.dumps(content))
    return tmp_path


def edit(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **values}), encoding="utf-8")


def test_fingerprint_covers_everything_that_affects_the_output(folder: Path) -> None:
    found = fingerprint(folder)
    assert set(found) == {"weights", "code", *module.FILES}
    assert all(len(digest) == 64 for digest in found.values())
    assert fingerprint(folder) == found


@pytest.mark.parametrize(
    ("name", "values", "key"),
    [
        ("config.json", {"id2label": {"0": "b", "1": "a"}}, "configuration"),
        ("preprocessor_config.json", {"normalization": "none"}, "feature_extractor"),
        ("vocab.json", {"a": 2}, "vocabulary"),
        ("tokenizer_config.json", {"text_normalizer": "none"}, "vocabulary"),
    ],
)
def test_an_edited_value_changes_only_its_key(folder: Path, name: str, values: dict[str, object], key: str) -> None:
    before = fingerprint(folder)
    edit(folder / name, **values)
    assert differences(before, fingerprint(folder)) == [key]


@pytest.mark.parametrize("name", ["language_model.arpa", "language_model.ngram"])
def test_a_language_model_has_the_same_fingerprint_in_any_folder(folder: Path, tmp_path: Path, name: str) -> None:
    used = tmp_path / "elsewhere.ngram"
    (folder / "language_model.arpa").rename(used)
    (folder / name).write_bytes(used.read_bytes())
    assert fingerprint_of_answers(folder, used)["language_model"] == fingerprint(folder)["language_model"]
    (folder / name).write_text("other")
    assert fingerprint_of_answers(folder, used)["language_model"] != fingerprint(folder)["language_model"]


def test_fingerprint_depends_on_weights_language_model_and_lexicon(folder: Path) -> None:
    before = fingerprint(folder)
    for name in ("model.safetensors", "language_model.arpa", "lexicon.txt"):
        (folder / name).write_bytes(b"other")
    (folder / "model-2.safetensors").write_bytes(b"more")
    assert differences(before, fingerprint(folder)) == ["weights", "language_model", "lexicon"]


def test_fingerprint_ignores_layout_and_metadata(folder: Path) -> None:
    before = fingerprint(folder)
    config = folder / "config.json"
    edit(config, auto_map={"AutoModel": "z.Z"}, transformers_version="9", dtype="float16", _name_or_path="/home/ann")
    config.write_text(json.dumps(json.loads(config.read_text()), indent=7, sort_keys=True))
    (folder / "README.md").write_text("a card")
    assert fingerprint(folder) == before


def test_a_missing_file_is_a_difference_and_a_new_one_is_not(folder: Path) -> None:
    before = fingerprint(folder)
    (folder / "vocab.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    assert differences(before, fingerprint(folder)) == ["vocabulary"]
    del before["vocabulary"], before["language_model"]  # as an evaluation without a language model records it
    assert differences(before, fingerprint(folder)) == []


def test_digests_damaged_json_as_bytes(folder: Path) -> None:
    (folder / "config.json").write_text("[" * 100_000)
    first = fingerprint(folder)
    (folder / "config.json").write_text("{")
    assert "configuration" in differences(first, fingerprint(folder))


def test_fingerprint_of_code_ignores_comments_and_unused_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CODE", tmp_path)
    (tmp_path / "feature_extraction_speech.py").write_text("x = 1\n")
    (tmp_path / "modeling_conv_gru.py").write_text('"""One."""\nfrom .layers import f\n\ndef g():\n    return f()\n')
    (tmp_path / "layers.py").write_text('def f():\n    """Two."""\n    return 1\n')
    (tmp_path / "unrelated.py").write_text("y = 1\n")
    before = code_fingerprint("conv_gru")
    (tmp_path / "layers.py").write_text('def f():\n    """Three."""\n    return  1  # the same\n')
    (tmp_path / "unrelated.py").write_text("y = 2\n")
    assert code_fingerprint("conv_gru") == before
    (tmp_path / "layers.py").write_text("def f():\n    return 2\n")
    assert code_fingerprint("conv_gru") != before
    assert code_fingerprint("../secret") == code_fingerprint(None)


@pytest.mark.parametrize(
    ("edited", "keywords", "recognizer"),
    [
        ("modeling_keyword_spotting", True, False),
        ("modeling_conv_gru", True, True),
        ("recurrent", True, True),
        ("modeling_speech_lstm", False, False),
    ],
)
def test_fingerprint_includes_the_module_of_the_model_class(
    folder: Path, monkeypatch: pytest.MonkeyPatch, edited: str, keywords: bool, recognizer: bool
) -> None:
    code = folder / "code"
    shutil.copytree(module._CODE, code)
    monkeypatch.setattr(module, "_CODE", code)

    def digests() -> list[str]:
        found = [code_fingerprint("conv_gru")]
        for name in ("ConvGRUForKeywordSpotting", "ConvGRUForCTC"):
            edit(folder / "config.json", architectures=[name])
            found.append(fingerprint(folder)["code"])
        return found

    before = digests()
    assert before[0] == before[2]
    with (code / f"{edited}.py").open("a", encoding="utf-8") as file:
        file.write("ANSWER = 42\n")
    changed = [one != other for one, other in zip(before, digests(), strict=True)]
    assert changed == [recognizer, keywords, recognizer]


@pytest.mark.parametrize("architectures", [None, "x", [], [3], ["../x"], {}])
def test_tolerates_invalid_architectures(folder: Path, architectures: object) -> None:
    edit(folder / "config.json", architectures=architectures)
    assert fingerprint(folder)["code"] == code_fingerprint("conv_gru")


def test_an_evaluation_records_what_it_used(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    plain = fingerprint_of_answers(folder, None)
    assert set(plain) == {"weights", "configuration", "feature_extractor", "vocabulary", "code"}
    elsewhere = tmp_path_factory.mktemp("models") / "small.arpa"
    elsewhere.write_text("\\data\\")
    searched = fingerprint_of_answers(folder, elsewhere, phones=True)
    assert searched == fingerprint(folder)
    elsewhere.write_text("other")
    assert differences(fingerprint_of_answers(folder, elsewhere), fingerprint(folder)) == ["language_model"]
