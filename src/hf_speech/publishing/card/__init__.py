"""The model card: facts of the run folder, the words for them, the page, and its review."""

from __future__ import annotations

from hf_speech.publishing.card.page import render_card
from hf_speech.publishing.card.review import check_card

__all__ = ["check_card", "render_card"]
