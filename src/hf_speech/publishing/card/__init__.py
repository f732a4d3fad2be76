"""The model card: reads the facts of a run folder, renders the page, and checks its claims."""

from __future__ import annotations

from hf_speech.publishing.card.page import render_card
from hf_speech.publishing.card.review import check_card

__all__ = ["check_card", "render_card"]
