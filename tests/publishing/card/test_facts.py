"""The facts of a card, from files with provenance."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from cards import DIGITS, figures
from huggingface_hub import ModelCard

from hf_speech.errors import PublishError
from hf_speech.publishing import render_card


def spoil(folder: Path, **changes: Any) -> None:
    report = figures(folder) | changes
    (folder / "evaluation" / "test.json").write_text(json.dumps(report))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_revision": "sha256:" + "0" * 64}, "measured other weights"),
        ({"command": None}, "lacks command"),
        ({"corpus_fingerprint": ""}, "lacks corpus_fingerprint"),
        ({"split": None}, "lacks split"),
        ({"metrics": {}}, "lacks metrics"),
        ({"metrics": {"accuracy": "high"}}, "which is not a finite number"),
        ({"task": "automatic-speech-recognition"}, "are of several tasks"),
        ({"task": "text-to-speech"}, "are of several tasks"),
    ],
)
def test_rejects_metrics_without_provenance(digits: Path, changes: dict[str, Any], message: str) -> None:
    spoil(digits, **changes)
    with pytest.raises(PublishError, match=message):
        render_card(digits, repo_id="anna/digits")


def test_no_card_without_metrics(digits: Path) -> None:
    shutil.rmtree(digits / "evaluation")
    with pytest.raises(PublishError, match=r"has no evaluation, .* run `hf-speech evaluate"):
        render_card(digits, repo_id="anna/digits")


def test_rejects_metrics_of_other_weights(digits: Path) -> None:
    content = bytearray((digits / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (digits / "model.safetensors").write_bytes(content)
    with pytest.raises(PublishError, match="measured other weights"):
        render_card(digits, repo_id="anna/digits")


@pytest.mark.parametrize("name", ["digits", "a/b/c", "anna/", "anna/dig its"])
def test_checks_names_of_repositories(name: str) -> None:
    with pytest.raises(PublishError, match="is not the name of a repository"):
        render_card(DIGITS, repo_id=name)


def test_checks_licenses(digits: Path) -> None:
    with pytest.raises(PublishError, match="no license 'apache2'"):
        render_card(digits, repo_id="anna/x", license="apache2")
    with pytest.raises(PublishError, match=r"text of the license mit is missing"):
        render_card(digits, repo_id="anna/x", license="mit")
    (digits / "LICENSE").write_text("MIT License\n\nPermission is hereby granted, free of charge, to any person")
    card = render_card(digits, repo_id="anna/x")
    assert ModelCard(card).data.license == "mit"
    assert "The Python files are under apache-2.0, see [LICENSE-CODE](LICENSE-CODE)." in card
    with pytest.raises(PublishError, match=r"text of mit, not of cc-by-4\.0"):
        render_card(digits, repo_id="anna/x", license="cc-by-4.0")
    (digits / "LICENSE").write_text("The Kitchen License\n\nFor kitchens only.")
    data = ModelCard(render_card(digits, repo_id="anna/x")).data
    assert (data.license, data.license_name, data.license_link) == ("other", "the-kitchen-license", "LICENSE")
    (digits / "LICENSE").write_text(" \n")
    with pytest.raises(PublishError, match="LICENSE is empty"):
        render_card(digits, repo_id="anna/x")
