"""The model card: facts of the run folder, the words for them, and the page."""

from __future__ import annotations

from hf_speech.publishing.card.page import check_card, render_card

__all__ = ["check_card", "render_card"]
