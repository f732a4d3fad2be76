"""Text and metadata entered on the Hub are kept, or their removal is reported."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard

from hf_speech.publishing import check_card, render_card, stage
from hf_speech.publishing.card.corpora import corpus_facts

DIGITS = Path(__file__).resolve().parents[3] / "pretrained" / "fsdd-digits"


@pytest.fixture(scope="module")
def card() -> str:
    return render_card(DIGITS, repo_id="anna/x", revision="v1")


def test_keeps_metadata_entered_by_hand(card: str) -> None:
    previous = ModelCard(card)
    entered = {"base_model": "anna/base", "widget": [{"src": "x.wav"}], "co2_eq_emissions": 3.5}
    for key, value in entered.items():
        setattr(previous.data, key, value)
    previous.data.datasets = ["anna/words", "fsdd"]
    previous.data.language = ["en", "de"]
    previous.data.tags.append("kitchen")
    after = ModelCard(render_card(DIGITS, repo_id="anna/x", previous=str(previous))).data
    assert {key: getattr(after, key) for key in entered} == entered
    assert after.datasets == ["fsdd", "anna/words"]
    assert after.language == ["en", "de"]
    assert after.tags[-1] == "kitchen"


def test_keeps_sections_outside_the_comments(card: str) -> None:
    mine = "## Safety\n\nDo not play it to dogs.\n\n### Cats\n\nThey do not mind.\n\n```\n## no heading\n```"
    edited = card.replace("## Results", f"{mine}\n\n## Results", 1)
    again = render_card(DIGITS, repo_id="anna/x", revision="v2", previous=edited)
    assert f"<!-- hand-written: safety -->\n{mine}\n<!-- /hand-written: safety -->" in again
    assert again.count("## Safety") == again.count("## Results") == 1
    check_card(again, DIGITS)
    assert render_card(DIGITS, repo_id="anna/x", revision="v2", previous=again) == again


def test_does_not_overwrite_a_foreign_card() -> None:
    previous = (
        "---\nlicense: apache-2.0\nthumbnail: x.png\n---\n# Digits\n\nHello.\n\n## Ours\n\nText.\n\n## Use\n\nOld.\n"
    )
    card = render_card(DIGITS, repo_id="anna/x", previous=previous)
    assert "<!-- hand-written: ours -->\n## Ours\n\nText.\n<!-- /hand-written: ours -->" in card
    assert "Old." not in card
    assert ModelCard(card).data.thumbnail == "x.png"


def test_reports_removed_text(card: str, tmp_path: Path) -> None:
    edited = card.replace("## Results", "It was fun to train.\n\n## Results", 1)
    notes = stage(DIGITS, tmp_path / "edited", repo_id="anna/x", previous=edited).notes
    assert any("'It was fun to train.'" in note and "will be lost" in note for note in notes), notes
    notes = stage(DIGITS, tmp_path / "same", repo_id="anna/x", previous=card).notes
    assert not any("will be lost" in note for note in notes)


def test_headings_of_earlier_versions_are_rendered_under_their_new_names(card: str, tmp_path: Path) -> None:
    old = card.replace("## Intended use", "## What it is for, and what not").replace(
        "## Provenance", "## How it was made"
    )
    assert old.count("## What it is for") == old.count("## How it was made") == 1
    again = render_card(DIGITS, repo_id="anna/x", revision="v1", previous=old)
    assert again == card
    assert not any("What it is for" in note for note in stage(DIGITS, tmp_path, repo_id="anna/x", previous=old).notes)


def test_describes_a_custom_corpus_by_options(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(DIGITS, tmp_path / "run"))
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    own = {"title": "Kitchen words", "language": "de", "license": "cc-by-4.0", "dataset": "anna/kitchen"}
    recipe["corpus"] = {"name": "folder", "data_dir": "x", **own}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    for path in (folder / "evaluation").glob("*.json"):
        path.write_text(path.read_text().replace('"corpus": "fsdd"', '"corpus": "folder"'))
    card = render_card(folder, repo_id="anna/x")
    check_card(card, folder)
    assert "was trained from scratch on Kitchen words" in card
    assert "| corpus | [Kitchen words](https://huggingface.co/datasets/anna/kitchen) |" in card
    assert "| license | cc-by-4.0 |" in card
    data = ModelCard(card).data
    assert (data.language, data.datasets) == (["de"], ["anna/kitchen"])


def test_describes_a_hub_dataset_from_its_card() -> None:
    metadata = {"pretty_name": "Kitchen words", "language": ["de", "en"], "license": "mit"}
    facts = corpus_facts("hub", {"repo": "anna/kitchen"}, metadata)
    assert (facts.title, facts.languages, facts.license) == ("Kitchen words", ["de", "en"], "mit")
    assert facts.homepage == "https://huggingface.co/datasets/anna/kitchen"
    mine = corpus_facts("hub", {"repo": "anna/kitchen", "title": "Mine", "license": "cc0-1.0"}, metadata)
    assert (mine.title, mine.license, mine.languages) == ("Mine", "cc0-1.0", ["de", "en"])
