"""Rows: where corpora come from, how sound is read, inspected, augmented and batched."""

from __future__ import annotations

from hf_speech.data.audio import AudioInfo, AudioSource, audio_info, read_audio, resample
from hf_speech.data.corpora import CORPORA, Corpus, make_corpus
from hf_speech.data.inspection import InspectionReport, inspect_corpus, inspect_split, survey_corpus

__all__ = [
    "CORPORA",
    "AudioInfo",
    "AudioSource",
    "Corpus",
    "InspectionReport",
    "audio_info",
    "inspect_corpus",
    "inspect_split",
    "make_corpus",
    "read_audio",
    "resample",
    "survey_corpus",
]
