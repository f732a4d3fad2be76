"""Names that version 0.1 had in `hf_speech.evaluation`, and that moved to `hf_speech.inference`."""

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
