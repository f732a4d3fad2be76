"""The base model on the card."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from cards import DIGITS
from huggingface_hub import ModelCard

from hf_speech.errors import PublishError
from hf_speech.publishing import check_card, render_card

HUB = {"name": "ann/words", "repo_id": "ann/words", "revision": "a" * 40}
LOCAL = {"name": "mine", "repo_id": None, "revision": None}
BOTH = {"name": "mine", "repo_id": "ann/words", "revision": "a" * 40}
PARTS = {"weights": "sha256:0", "taken": "stem, layer 1", "new": "classifier (2 of 3 rows: a *b*)"}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DIGITS, tmp_path / "digits"))


def card_of(run: Path, base: dict[str, str | None]) -> ModelCard:
    (run / "base_model.json").write_text(json.dumps(base | PARTS))
    text = render_card(run, repo_id="anna/x")
    check_card(text, run)
    return ModelCard(text)


def test_a_base_model_on_the_hub_is_in_metadata_and_text(run: Path) -> None:
    card = card_of(run, HUB)
    assert (card.data.base_model, card.data.to_dict()["base_model_relation"]) == ("ann/words", "finetune")
    assert "was fine-tuned from ann/words on" in card.text
    assert f"Fine-tuned from [ann/words](https://huggingface.co/ann/words) (commit `{'a' * 40}`)." in card.text
    assert r"New weights: classifier (2 of 3 rows: a \*b\*)." in card.text
    assert "random weights" not in card.text
    assert "from scratch" not in card.text


def test_a_local_base_model_is_only_in_the_text(run: Path) -> None:
    card = card_of(run, LOCAL)
    assert card.data.base_model is None
    assert "Fine-tuned from mine. Weights taken from it: stem, layer 1." in card.text
    assert "by way of mine. Weights" in card_of(run, BOTH).text


def test_replaces_a_base_model_entered_on_the_hub(run: Path) -> None:
    before = ModelCard(render_card(run, repo_id="anna/x"))
    before.data.base_model = "someone/else"
    (run / "base_model.json").write_text(json.dumps(HUB | PARTS))
    assert ModelCard(render_card(run, repo_id="anna/x", previous=str(before))).data.base_model == "ann/words"


def test_rejects_a_damaged_record(run: Path) -> None:
    (run / "base_model.json").write_text('{"name": 3}')
    with pytest.raises(PublishError, match=r"base_model\.json"):
        render_card(run, repo_id="anna/x")
