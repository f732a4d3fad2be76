"""Training: recipes, the Trainer for short utterances, and the way from the one to a run folder."""

from __future__ import annotations

from hf_speech.training.options import TrainingOptions
from hf_speech.training.recipe import Recipe, find_recipe, load_recipe, load_rows
from hf_speech.training.run import TrainingResult, train

__all__ = [
    "Recipe",
    "TrainingOptions",
    "TrainingResult",
    "find_recipe",
    "load_recipe",
    "load_rows",
    "train",
]
