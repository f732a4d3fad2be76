"""Publishes models, Spaces and datasets on the Hub: card, staging, checks, upload and verification."""

from __future__ import annotations

from hf_speech.publishing.card import check_card, render_card
from hf_speech.publishing.staging import Staged, stage

__all__ = ["Staged", "check_card", "render_card", "stage"]
