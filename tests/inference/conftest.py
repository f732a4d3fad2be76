"""The fixtures that inference shares with evaluation and with the export."""

from exported_models import *  # noqa: F403
from saved_models import model_copy, saved_model, tones

__all__ = ["model_copy", "saved_model", "tones"]
