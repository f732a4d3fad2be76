"""Aliases of names that moved from `hf_speech.evaluation` to `hf_speech.inference` after version 0.1."""

from hf_speech.inference import (
    BeamOptions,
    LoadedModel,
    classify_files,
    load_model,
    predict,
    transcribe_files,
    tune_beam,
)

__all__ = ["BeamOptions", "LoadedModel", "classify_files", "load_model", "predict", "transcribe_files", "tune_beam"]
