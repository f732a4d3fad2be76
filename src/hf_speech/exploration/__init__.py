"""Charts and audio examples of a corpus, raw and as a recipe processes it, before training."""

from __future__ import annotations

from hf_speech.exploration.explore import explore
from hf_speech.exploration.page import Exploration

__all__ = ["Exploration", "explore"]
