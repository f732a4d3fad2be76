"""The corpora, by name."""

from __future__ import annotations

import dataclasses
from typing import Any

from hf_speech.data.corpora.an4 import AN4
from hf_speech.data.corpora.arabic_speech_commands import ArabicSpeechCommands
from hf_speech.data.corpora.base import Corpus, ListedCorpus, RowStream
from hf_speech.data.corpora.emotion_corpora import CREMAD, RAVDESS, SAVEE, TESS, EmoDB
from hf_speech.data.corpora.folder import Folder
from hf_speech.data.corpora.fsdd import FSDD
from hf_speech.data.corpora.hub import Hub
from hf_speech.data.corpora.kaldi import Kaldi
from hf_speech.data.corpora.keywords import Keywords
from hf_speech.data.corpora.librispeech import LibriSpeech
from hf_speech.data.corpora.ljspeech import LJSpeech
from hf_speech.data.corpora.manifest import Manifest
from hf_speech.data.corpora.mixture import Member, Mixture
from hf_speech.data.corpora.speech_commands import SpeechCommands
from hf_speech.data.corpora.synthetic import Synthetic
from hf_speech.data.corpora.utterance import Utterance
from hf_speech.data.corpora.voice_activity import VoiceActivity
from hf_speech.errors import CorpusError, nearest

CORPORA: dict[str, type[Corpus]] = {
    corpus.name: corpus
    for corpus in (
        *(Synthetic, FSDD, AN4, LJSpeech, LibriSpeech),
        *(SpeechCommands, ArabicSpeechCommands),
        *(RAVDESS, TESS, EmoDB, CREMAD, SAVEE),
        *(Folder, Keywords, VoiceActivity, Manifest, Kaldi, Hub, Mixture),
    )
}


def make_corpus(name: str, **options: Any) -> Corpus:
    """Creates a corpus by name.

    Args:
        name: A key of `CORPORA`.
        **options: Fields of the class.

    Raises:
        CorpusError: If there is no such corpus or option; the message suggests the most similar one.
    """
    if name not in CORPORA:
        raise CorpusError(f"There is no corpus {name!r}: {nearest(name, CORPORA)}")
    known = [field.name for field in dataclasses.fields(CORPORA[name]) if field.init]
    for option in options:
        if option not in known:
            raise CorpusError(f"The corpus {name!r} has no option {option!r}: {nearest(option, known)}")
    return CORPORA[name](**options)


__all__ = [
    "AN4",
    "CORPORA",
    "CREMAD",
    "FSDD",
    "RAVDESS",
    "SAVEE",
    "TESS",
    "ArabicSpeechCommands",
    "Corpus",
    "EmoDB",
    "Folder",
    "Hub",
    "Kaldi",
    "Keywords",
    "LJSpeech",
    "LibriSpeech",
    "ListedCorpus",
    "Manifest",
    "Member",
    "Mixture",
    "RowStream",
    "SpeechCommands",
    "Synthetic",
    "Utterance",
    "VoiceActivity",
    "make_corpus",
]
