"""Charts and audio examples of a corpus, raw and as a recipe processes it, before training."""

from __future__ import annotations

from hf_speech.exploration.explore import Exploration, explore

__all__ = ["Exploration", "explore"]
