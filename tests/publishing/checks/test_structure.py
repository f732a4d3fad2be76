"""One-sentence errors for invalid files and formats."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hf_speech.errors import PublishError
from hf_speech.publishing import render_card, stage
from hf_speech.publishing.checks.structure import check_regular, check_schema, read_mapping


def rewrite(name: str, change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    def damage(run: Path) -> None:
        content = json.loads((run / name).read_text())
        change(content)
        (run / name).write_text(json.dumps(content))

    return damage


def replace(name: str, text: str) -> Callable[[Path], object]:
    return lambda run: (run / name).write_text(text)


def loop(run: Path) -> None:
    (run / "training.json").unlink()
    (run / "training.json").symlink_to("training.json")


def pipe(name: str) -> Callable[[Path], object]:
    def make(run: Path) -> None:
        (run / name).unlink(missing_ok=True)
        os.mkfifo(run / name)

    return make


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a list for a mapping": (replace("preprocessor_config.json", "[]"), "is not a JSON object"),
    "text for a mapping": (replace("training.json", '"x"'), "is not a JSON object"),
    "lists without end": (replace("config.json", "[" * 100_000), "nested too deep"),
    "mappings without end": (replace("inspection.json", '{"a":' * 5000 + "1" + "}" * 5000), "nested"),
    "YAML without end": (replace("recipe.yaml", "a: " + "[" * 3000 + "]" * 3000), "nested"),
    "cut short": (replace("training.json", '{"seconds": 1'), "is not JSON"),
    "a loop of links": (loop, "broken or circular link"),
    "a pipe": (pipe("training.json"), "is a pipe, a socket or a device"),
    "a pipe that stays behind": (pipe("notes"), "notes is a pipe, a socket or a device"),
    "no hours": (
        rewrite("inspection.json", lambda content: content["splits"]["train"].pop("hours")),
        r"inspection\.json, splits, train lacks hours",
    ),
    "splits as a list": (rewrite("inspection.json", lambda content: content.update(splits=[1])), "is not a mapping"),
    "no conditions": (
        rewrite("evaluation/test.json", lambda content: content.update(real_time_factor_conditions={})),
        "lacks processor",
    ),
    "a metric as text": (
        rewrite("evaluation/test.json", lambda c: c["metrics"].update(accuracy="1")),
        "not a finite number",
    ),
    "an interval of one end": (
        rewrite("evaluation/test.json", lambda content: content["confidence"].update(accuracy=[0.5])),
        "gives 1 bounds for the interval",
    ),
    "classes by name": (
        rewrite("evaluation/test.json", lambda c: c.update(per_class=[1])),
        "per_class is not a mapping",
    ),
    "a table without figures": (
        rewrite("evaluation/test.json", lambda content: content["per_class"].update(zero={"f1": "high"})),
        "per_class, zero, f1 is not a whole number or a number",
    ),
    "a machine without a name": (
        rewrite("training.json", lambda c: c.update(machine={"device": "cpu"})),
        "lacks processor",
    ),
    "gaps in the labels": (
        rewrite("config.json", lambda c: c.update(id2label={str(7 * int(k)): v for k, v in c["id2label"].items()})),
        "differs from the one that|are not numbered",
    ),
    "auto_map as a list": (
        rewrite("config.json", lambda c: c.update(auto_map=["x"])),
        "auto_map of config.json is not",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_one_sentence_error_for_damaged_files(damage: str, digits: Path, tmp_path: Path) -> None:
    harm, message = DAMAGES[damage]
    harm(digits)
    with pytest.raises(PublishError, match=message) as error:
        stage(digits, tmp_path / "staged", repo_id="anna/x")
    assert "\n" not in str(error.value)
    assert str(error.value).endswith(".")


CHANGES: dict[str, tuple[str, Callable[[dict[str, Any]], object], str]] = {
    "labels exchanged": (
        "config.json",
        lambda c: c.update(id2label=dict(zip(c["id2label"], reversed(c["id2label"].values()), strict=True))),
        r"configuration .* differs from the one that evaluation/\w+\.json measured",
    ),
    "another normalization": (
        "preprocessor_config.json",
        lambda c: c.update(normalization="none"),
        r"feature extractor .* differs from the one that",
    ),
    "another window": ("preprocessor_config.json", lambda c: c.update(window_type="hamming"), "feature extractor"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_rejects_a_model_without_evaluation(change: str, digits: Path) -> None:
    name, edit, message = CHANGES[change]
    rewrite(name, edit)(digits)
    with pytest.raises(PublishError, match=message):
        render_card(digits, repo_id="anna/x")


@pytest.mark.parametrize("name", ["vocab.json", "tokenizer_config.json", "language_model.arpa"])
def test_rejects_another_vocabulary_or_language_model(name: str, an4: Path) -> None:
    text = (an4 / name).read_text()
    (an4 / name).write_text(text.replace('"A"', '"Z"', 1) if name == "vocab.json" else text.replace("1", "2", 1))
    with pytest.raises(PublishError, match="differs from the one that evaluation"):
        render_card(an4, repo_id="anna/x")
    (an4 / name).unlink()
    with pytest.raises(PublishError, match="differs from the one that evaluation"):
        render_card(an4, repo_id="anna/x")


def test_accepts_evaluations_of_version_0_1_without_fingerprint(digits: Path) -> None:
    for path in (digits / "evaluation").glob("*.json"):
        content = json.loads(path.read_text())
        del content["model_fingerprint"]
        path.write_text(json.dumps(content))
    assert render_card(digits, repo_id="anna/x")


def test_rejects_a_recipe_for_another_task(digits: Path, an4: Path) -> None:
    (digits / "recipe.yaml").write_bytes((an4 / "recipe.yaml").read_bytes())
    with pytest.raises(PublishError, match=r"recipe\.yaml is for the task automatic-speech-recognition"):
        render_card(digits, repo_id="anna/x")


def test_checks_label_mappings(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    assert read_mapping(path) == {}
    with pytest.raises(PublishError, match=r"has no a\.json"):
        read_mapping(path, required=True)
    path.write_text('{"a": {"b": 1}}')
    assert read_mapping(path) == {"a": {"b": 1}}
    path.unlink()
    path.mkdir()
    with pytest.raises(PublishError, match=r"is a folder, not a file"):
        check_regular(path, "a.json")


@pytest.mark.parametrize(
    ("content", "form", "message"),
    [
        ({"a": 1}, {"a": str}, "x, a is not text"),
        ({"a": True}, {"a": int}, "x, a is not a whole number"),
        ({}, {"a": int}, "x lacks a"),
        ({"a": [1, "b"]}, {"a": [int]}, "x, a, item 2 is not a whole number"),
        ({"a": {"b": None}}, {...: {...: (int, float)}}, "x, a, b is not a whole number or a number"),
    ],
)
def test_checks_file_formats(content: Any, form: Any, message: str) -> None:
    with pytest.raises(PublishError, match=message):
        check_schema(content, form, "x")
    check_schema({"a": None, "c": 3}, {"a?": int, "b?": str}, "x")
