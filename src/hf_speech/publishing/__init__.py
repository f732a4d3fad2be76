"""From a run folder to a repository of the Hub: the card, the staging folder, its checks, push and verification."""

from __future__ import annotations

from hf_speech.publishing.card import check_card, render_card
from hf_speech.publishing.staging import Staged, stage

__all__ = ["Staged", "check_card", "render_card", "stage"]
