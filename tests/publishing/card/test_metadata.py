"""The metadata of a card: under which names the figures stand on the Hub."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from cards import AN4, DIGITS

from hf_speech.publishing.card.facts import read_facts
from hf_speech.publishing.card.metadata import eval_results


@pytest.mark.parametrize(("folder", "name"), [(AN4, "espnet/an4"), (DIGITS, "fsdd")], ids=["on the Hub", "elsewhere"])
def test_figures_are_of_the_data_set_as_the_hub_names_it(folder: Path, name: str) -> None:
    assert {result.dataset_type for result in eval_results(read_facts(folder))} == {name}


@pytest.mark.parametrize(("own", "name"), [({}, "folder"), ({"dataset": "anna/kitchen"}, "anna/kitchen")])
def test_figures_of_ones_own_recordings_have_a_data_set_too(digits: Path, own: dict[str, str], name: str) -> None:
    """The Hub refuses a result without one; without a name of its own it is what recipes call it."""
    recipe = yaml.safe_load((digits / "recipe.yaml").read_text())
    recipe["corpus"] = {"name": "folder", "data_dir": "path/to/mine", **own}
    (digits / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    for path in (digits / "evaluation").glob("*.json"):
        path.write_text(path.read_text().replace('"corpus": "fsdd"', '"corpus": "folder"'))
    assert {result.dataset_type for result in eval_results(read_facts(digits))} == {name}
