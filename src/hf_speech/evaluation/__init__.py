"""Honest evaluation: a saved model on a split, figures with intervals, and the origin of every one of them."""

from __future__ import annotations

from hf_speech.evaluation.decoders import BeamOptions, beam_decoder, choose_decoder, find_language_model, tune_beam
from hf_speech.evaluation.evaluate import evaluate_model
from hf_speech.evaluation.inference import Prediction, classify_files, predict
from hf_speech.evaluation.intervals import bootstrap_intervals, wilson_interval
from hf_speech.evaluation.loading import LoadedModel, load_model
from hf_speech.evaluation.plots import plot_confusion_matrix, plot_training_curves
from hf_speech.evaluation.recordings import Recording, fit_extractor, log_probabilities
from hf_speech.evaluation.report import EvaluationReport, format_report
from hf_speech.evaluation.transcription import Transcript, transcribe_files

__all__ = [
    "BeamOptions",
    "EvaluationReport",
    "LoadedModel",
    "Prediction",
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
