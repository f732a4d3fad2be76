"""The description of the model on the page, read from the model's card and recipe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hf_speech.common.text import escape_markdown
from settings import Settings


@dataclass(frozen=True)
class About:
    """The name and origin of a model.

    Attributes:
        name: Its name.
        address: Its page on the Hub, None for a local model.
        corpus: The corpus that it was trained on, if known.
        languages: The languages of the corpus, as written in the card.
    """

    name: str
    address: str | None = None
    corpus: str | None = None
    languages: tuple[str, ...] = ()

    @classmethod
    def read(cls, folder: Path, settings: Settings) -> About:
        """Reads the card and the recipe of a model; missing or unreadable values are left out."""
        card, corpus = _card(folder), _corpus(folder)
        languages = card.get("language") or corpus.get("languages") or ()
        languages = tuple(map(str, languages if isinstance(languages, list | tuple) else [languages]))
        name = settings.corpus or corpus.get("title") or _measured_on(card)
        address = None if settings.is_local else f"https://huggingface.co/{settings.model_id}"
        return cls(settings.model_name, address, str(name) if name else None, languages)

    def heading(self, title: str | None, predicate: str) -> str:
        """Returns the heading of the page, in Markdown.

        Args:
            title: The title; None for the name of the model.
            predicate: A sentence about the model without its subject and full stop.
        """
        name = escape_markdown(self.name)
        subject = f"[{name}]({self.address})" if self.address else f"**{name}**" if title else "This model"
        languages = f" ({escape_markdown(', '.join(self.languages))})" if self.languages else ""
        corpus = f" It was trained on {escape_markdown(self.corpus)}{languages}." if self.corpus else ""
        return f"# {escape_markdown(title or self.name)}\n{subject} {predicate}.{corpus}"


def _card(folder: Path) -> dict[str, Any]:
    """Returns the metadata at the top of README.md."""
    text = _text(folder / "README.md")
    return _yaml(text.split("\n---", 1)[0]) if text.startswith("---\n") else {}


def _corpus(folder: Path) -> dict[str, Any]:
    corpus = _yaml(_text(folder / "recipe.yaml")).get("corpus")
    return corpus if isinstance(corpus, dict) else {}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _yaml(text: str) -> dict[str, Any]:
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _measured_on(card: dict[str, Any]) -> str | None:
    """Returns the name of the first dataset in the card's model-index."""
    try:
        return str(card["model-index"][0]["results"][0]["dataset"]["name"])
    except (LookupError, TypeError):
        return None
