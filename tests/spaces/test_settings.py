"""Settings from the environment, and the description of the model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("gradio", reason="the Spaces need gradio: pip install 'hf_speech[demo]'")


@pytest.fixture
def module(space_module: Callable[[str, str], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    return space_module("transcribe", "settings")


def test_settings_have_defaults(module: ModuleType, tmp_path: Path) -> None:
    settings = module.Settings.from_environment({"MODEL_ID": f" {tmp_path} "})
    assert settings.model_folder() == tmp_path
    assert settings.model_name == tmp_path.name  # not its path
    assert (settings.max_seconds, settings.max_megabytes, settings.concurrency) == (300, 30, 2)


def test_reads_settings(module: ModuleType) -> None:
    settings = module.Settings.from_environment(
        {"MODEL_ID": "a/b", "MODEL_REVISION": "0" * 40, "MAX_SECONDS": "12.5", "KEEP_SECONDS": "7", "CONCURRENCY": "3"}
    )
    assert settings.revision == "0" * 40
    assert (settings.max_seconds, settings.keep_seconds, settings.concurrency) == (12.5, 7, 3)
    assert settings.model_name == "a/b"


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, "set MODEL_ID"),
        ({"MODEL_ID": "a/b", "MAX_SECONDS": "long"}, "MAX_SECONDS is 'long': give a number above 0"),
        ({"MODEL_ID": "a/b", "MAX_MEGABYTES": "-1"}, "MAX_MEGABYTES"),
        ({"MODEL_ID": "a/b", "CONCURRENCY": "0"}, "CONCURRENCY"),
        ({"MODEL_ID": "a/b", "KEEP_SECONDS": "nan"}, "KEEP_SECONDS"),
    ],
)
def test_one_sentence_error_for_wrong_settings(module: ModuleType, environment: dict[str, str], message: str) -> None:
    with pytest.raises(module.SettingsError, match=message):
        module.Settings.from_environment(environment)


@pytest.mark.parametrize("revision", ["", "main", "v1.0", "0" * 39, "0" * 7])
def test_runs_hub_code_only_of_a_pinned_commit(module: ModuleType, revision: str) -> None:
    settings = module.Settings.from_environment({"MODEL_ID": "owner/name", "MODEL_REVISION": revision})
    with pytest.raises(module.SettingsError, match="must be the commit of owner/name"):
        settings.model_folder()


def test_reports_an_unavailable_model(module: ModuleType) -> None:
    for model_id, message in (
        ("/nowhere/at/all", "no model folder"),
        ("owner/name", "cannot be downloaded from the Hub"),
    ):
        settings = module.Settings.from_environment({"MODEL_ID": model_id, "MODEL_REVISION": "0" * 40})
        with pytest.raises(module.SettingsError, match=message):
            settings.model_folder()


CARD = """---
language: en
model-index:
- name: x
  results:
  - dataset: {name: "Free Spoken Digit Dataset", type: fsdd}
---
# A card
"""


@pytest.mark.parametrize(
    ("card", "recipe", "corpus", "languages"),
    [
        (None, None, None, ()),
        (CARD, None, "Free Spoken Digit Dataset", ("en",)),
        (CARD, "corpus: {name: fsdd}", "Free Spoken Digit Dataset", ("en",)),
        (CARD, "corpus: {name: folder, title: My words}", "My words", ("en",)),
        (None, "corpus: {name: folder, title: My words, languages: [de, fr]}", "My words", ("de", "fr")),
        (None, "corpus: {name: synthetic}", None, ()),
        ("---\nlanguage: [\n---\n", "corpus: [", None, ()),
        ("no metadata", "just a text", None, ()),
        ("---\nmodel-index: 5\nlanguage: 7\n---\n", "corpus: 3", None, ()),
        (None, "[" * 3000, None, ()),
    ],
)
def test_the_page_names_the_training_corpus(
    space_module: Callable[[str, str], Any],
    module: ModuleType,
    tmp_path: Path,
    card: str | None,
    recipe: str | None,
    corpus: str | None,
    languages: tuple[str, ...],
) -> None:
    for name, text in (("README.md", card), ("recipe.yaml", recipe)):
        if text is not None:
            (tmp_path / name).write_text(text)
    about_module = space_module("classify", "about")
    about = about_module.About.read(tmp_path, module.Settings(str(tmp_path)))
    assert about.corpus == corpus
    assert about.languages == languages or card == "---\nmodel-index: 5\nlanguage: 7\n---\n"


def test_the_heading_links_a_model_on_the_hub_and_escapes_names(
    space_module: Callable[[str, str], Any], tmp_path: Path
) -> None:
    about_class = space_module("classify", "about").About
    here = about_class("a*b", None, "<script>alert(1)</script>", ("en", "de"))
    heading = here.heading(None, "names a label")
    assert heading.startswith("# a\\*b\nThis model names a label. It was trained on ")
    assert "<script>" not in heading
    assert heading.endswith("(en, de).")
    assert here.heading("Digits", "names a label").startswith("# Digits\n**a\\*b** names a label.")
    there = about_class("owner/name", "https://huggingface.co/owner/name")
    assert there.heading("Digits", "names a label") == (
        "# Digits\n[owner/name](https://huggingface.co/owner/name) names a label."
    )
