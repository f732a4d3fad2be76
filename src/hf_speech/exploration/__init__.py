"""Looking at and listening to a corpus, and to what a recipe makes of it, before anything is trained."""

from __future__ import annotations

from hf_speech.exploration.explore import Exploration, explore

__all__ = ["Exploration", "explore"]
