"""Helpers for tests of cards: models with cards, their evaluation files, and hand-written text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PRETRAINED = Path(__file__).resolve().parents[1] / "pretrained"
DIGITS, AN4 = PRETRAINED / "fsdd-digits", PRETRAINED / "an4"


def figures(folder: Path, name: str = "test") -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "evaluation" / f"{name}.json").read_text())
    return content


def written(card: str, text: str, name: str = "notes") -> str:
    """Returns the card with a hand-written section."""
    begin, end = f"<!-- hand-written: {name} -->\n", f"<!-- /hand-written: {name} -->"
    assert begin + end in card
    return card.replace(begin + end, f"{begin}{text}\n{end}")
