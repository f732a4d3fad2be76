"""Rows: where corpora come from, how sound is read, inspected, augmented and batched.

The names are imported when they are asked for: who only reads sound need not wait for the libraries of corpora.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hf_speech.data.audio import AudioInfo, AudioSource, audio_info, read_audio, resample
    from hf_speech.data.corpora import CORPORA, Corpus, make_corpus
    from hf_speech.data.inspection import InspectionReport, inspect_corpus, inspect_split, survey_corpus

_MODULES = {
    "AudioInfo": "audio",
    "AudioSource": "audio",
    "CORPORA": "corpora",
    "Corpus": "corpora",
    "InspectionReport": "inspection",
    "audio_info": "audio",
    "inspect_corpus": "inspection",
    "inspect_split": "inspection",
    "make_corpus": "corpora",
    "read_audio": "audio",
    "resample": "audio",
    "survey_corpus": "inspection",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


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
