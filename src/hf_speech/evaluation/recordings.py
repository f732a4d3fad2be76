"""Names that version 0.1 had here, and that moved to `hf_speech.inference`."""

from hf_speech.inference.chunks import log_probabilities
from hf_speech.inference.recordings import Recording, fit_extractor

__all__ = ["Recording", "fit_extractor", "log_probabilities"]
