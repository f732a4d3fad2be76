"""Aliases of names that moved from this module to `hf_speech.inference` after version 0.1."""

from hf_speech.inference.chunks import log_probabilities
from hf_speech.inference.recordings import Recording, fit_extractor

__all__ = ["Recording", "fit_extractor", "log_probabilities"]
