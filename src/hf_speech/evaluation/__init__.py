"""Honest evaluation: a saved model on a split, figures with intervals, and the origin of every one of them.

The names are imported when they are asked for: who transcribes with an exported model needs neither PyTorch nor plots.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hf_speech.evaluation.decoders import BeamOptions, beam_decoder, choose_decoder, find_language_model, tune_beam
    from hf_speech.evaluation.evaluate import evaluate_model
    from hf_speech.evaluation.inference import Prediction, classify_files, predict
    from hf_speech.evaluation.intervals import bootstrap_intervals, wilson_interval
    from hf_speech.evaluation.loading import LoadedModel, load_model
    from hf_speech.evaluation.plots import plot_confusion_matrix, plot_training_curves
    from hf_speech.evaluation.recogniser import Recogniser
    from hf_speech.evaluation.recordings import Recording, fit_extractor, log_probabilities
    from hf_speech.evaluation.report import EvaluationReport, format_report
    from hf_speech.evaluation.transcription import Transcript, transcribe_files

_MODULES = {
    "BeamOptions": "decoders",
    "EvaluationReport": "report",
    "LoadedModel": "loading",
    "Prediction": "inference",
    "Recogniser": "recogniser",
    "Recording": "recordings",
    "Transcript": "transcription",
    "beam_decoder": "decoders",
    "bootstrap_intervals": "intervals",
    "choose_decoder": "decoders",
    "classify_files": "inference",
    "evaluate_model": "evaluate",
    "find_language_model": "decoders",
    "fit_extractor": "recordings",
    "format_report": "report",
    "load_model": "loading",
    "log_probabilities": "recordings",
    "plot_confusion_matrix": "plots",
    "plot_training_curves": "plots",
    "predict": "inference",
    "transcribe_files": "transcription",
    "tune_beam": "decoders",
    "wilson_interval": "intervals",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


__all__ = [
    "BeamOptions",
    "EvaluationReport",
    "LoadedModel",
    "Prediction",
    "Recogniser",
    "Recording",
    "Transcript",
    "beam_decoder",
    "bootstrap_intervals",
    "choose_decoder",
    "classify_files",
    "evaluate_model",
    "find_language_model",
    "fit_extractor",
    "format_report",
    "load_model",
    "log_probabilities",
    "plot_confusion_matrix",
    "plot_training_curves",
    "predict",
    "transcribe_files",
    "tune_beam",
    "wilson_interval",
]
