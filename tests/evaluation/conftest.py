"""Fixtures shared by inference and evaluation."""

from saved_models import model_copy, saved_model, tones

__all__ = ["model_copy", "saved_model", "tones"]
