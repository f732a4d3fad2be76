"""Arbitrary names of classes, speakers and corpora are never interpreted as metrics or markup."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

from hf_speech.errors import PublishError
from hf_speech.publishing import check_card, render_card
from hf_speech.publishing.card.commands import repeatable
from hf_speech.publishing.checks.markup import problems

DIGITS = Path(__file__).resolve().parents[3] / "pretrained" / "fsdd-digits"
NAMES = (
    *("train", "recall", "95 %", "rock|pop", "accuracy 12.5 %", "f1", "<unk>", "<script>alert(1)</script>", "**b**"),
    *(
        "| a | 50 % |",
        "[x](javascript:alert(1))",
        "--- ",
        "# heading",
        "1. one",
        "`code`",
        "{{ x }}",
        "real-time factor 3",
    ),
    *("wer: 0.5", "x\ny", "&lt;", "100 %", "test", "\u202e evil", "日本語", "${HOME}", "<!-- hand-written: use -->"),
)


def with_names(folder: Path, name: str) -> None:
    """Renames the first class, the first speaker and the corpus of a run in all of its files."""
    config = json.loads((folder / "config.json").read_text())
    config["id2label"]["0"] = name
    config["label2id"] = {label: int(index) for index, label in config["id2label"].items()}
    (folder / "config.json").write_text(json.dumps(config))
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    recipe["corpus"] = {"name": "folder", "title": name, "license": name, "language": "en"}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    for path in (folder / "evaluation").glob("*.json"):
        report = json.loads(path.read_text())
        report["corpus"] = "folder"
        report.pop("model_fingerprint")
        for table in ("per_class", "per_speaker"):
            first, *others = report[table].items()
            # Not the figures of anything else, so that they cannot be mistaken.
            changed = {key: 0.4321 for key in ("f1", "accuracy") if key in first[1]}
            report[table] = {name: first[1] | changed, **dict(others)}
        path.write_text(json.dumps(report))


@pytest.mark.parametrize("name", NAMES)
def test_shows_and_checks_any_name(tmp_path: Path, name: str) -> None:
    folder = Path(shutil.copytree(DIGITS, tmp_path / "run"))
    with_names(folder, name)
    card = render_card(folder, repo_id="anna/x", revision="v1.0")
    check_card(card, folder)
    body = ModelCard(card).text
    assert list(problems(body)) == []
    tables = MarkdownIt("commonmark").enable("table").parse(body)
    rows = [token.children for token in tables if token.type == "inline"]
    shown = ["".join(child.content for child in children or []) for children in rows]
    expected = " ".join(name.replace("\u202e", "\\u202e").split())
    assert shown.count(expected) >= 2, [text for text in shown if expected[:3] in text]


def test_rejects_a_changed_metric_next_to_an_unusual_name(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(DIGITS, tmp_path / "run"))
    with_names(folder, "train")
    card = render_card(folder, repo_id="anna/x")
    assert "| 43.2% |" in card
    with pytest.raises(PublishError, match=r"no evaluation file|the files"):
        check_card(card.replace("| 43.2% |", "| 93.2% |", 1), folder)


@pytest.mark.parametrize("tag", ["v1.0", "1.2.3", "v2", "release-0.9", "2024.1"])
def test_tags_with_dots(tag: str) -> None:
    card = render_card(DIGITS, repo_id="anna/x", revision=tag)
    check_card(card, DIGITS)
    assert f'revision="{tag}"' in card
    assert f"hf-speech evaluate anna/x@{tag} --corpus fsdd --split test --data_dir DIR" in card
    assert render_card(DIGITS, repo_id="anna/x", revision=tag, previous=card) == card


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("hf-speech train recipes/an4.yaml --data_dir ../corpora/an4", "hf-speech train an4.yaml --data_dir DIR"),
        ("hf-speech train fsdd --data_dir=/home/anna/x --seed 1", "hf-speech train fsdd --data_dir=DIR --seed 1"),
        ("hf-speech train csv --train_file ../x/t.csv --x 0.5", "hf-speech train csv --train_file FILE --x 0.5"),
        ("hf-speech train t --repo google/fleurs", "hf-speech train t --repo google/fleurs"),
        ("hf-speech train t --init ~/runs/a", "hf-speech train t --init DIR"),
        ("hf-speech train 'not closed", "hf-speech train ''\"'\"'not' closed"),
    ],
)
def test_commands_contain_no_local_path(command: str, shown: str) -> None:
    assert repeatable(command) == shown


def test_commands_name_the_published_language_model() -> None:
    card = render_card(DIGITS.parent / "an4", repo_id="anna/an4", revision="v1.0")
    commands = re.findall(r"^    (hf-speech evaluate .*)$", card, re.MULTILINE)
    assert "--split test --data_dir DIR --language_model language_model.arpa" in commands[1]
    assert not any("/" in command.replace("anna/an4@v1.0", "") for command in commands)
