"""The corpora of acted emotions, with their codes, sizes and sources.

All corpora use the same names of emotions, so that a model of one corpus can be evaluated on another.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from hf_speech.data.corpora.emotion_base import EmotionCorpus


class RAVDESS(EmotionCorpus):
    """The speech part of RAVDESS: eight emotions, 24 actors, two sentences, at 48 kHz (Livingstone & Russo 2018).

    The usual split trains on actors 01 to 20, validates on 21 and 22, and tests on 23 and 24. The five folds are those
    of Luna-Jiménez et al. (Sensors 2021), which later work uses as well.
    """

    name: ClassVar[str] = "ravdess"
    title: ClassVar[str] = "RAVDESS"
    homepage: ClassVar[str | None] = "https://zenodo.org/records/1188976"
    license: ClassVar[str | None] = "cc-by-nc-sa-4.0"
    language: ClassVar[str | None] = "en"

    # Modality 03 is audio without video, and channel 01 is speech without song.
    pattern = r"03-01-(?P<emotion>\d\d)-(\d\d)-(\d\d)-(\d\d)-(?P<speaker>\d\d)"
    emotions: ClassVar[Mapping[str, str]] = {
        "01": "neutral",
        "02": "calm",
        "03": "happy",
        "04": "sad",
        "05": "angry",
        "06": "fearful",
        "07": "disgust",
        "08": "surprised",
    }
    num_recordings = 1440
    validation_speakers = ("21", "22")
    test_speakers = ("23", "24")
    folds = (
        ("02", "05", "14", "15", "16"),
        ("03", "06", "07", "13", "18"),
        ("10", "11", "12", "19", "20"),
        ("08", "17", "21", "23", "24"),
        ("01", "04", "09", "22"),
    )
    urls = ("https://zenodo.org/records/1188976/files/Audio_Speech_Actors_01-24.zip",)
    md5 = "bc696df654c87fed845eb13823edef8a"


class TESS(EmotionCorpus):
    """The Toronto emotional speech set: seven emotions, 200 words, two women aged 26 and 64 (Dupuis 2010)."""

    name: ClassVar[str] = "tess"
    title: ClassVar[str] = "TESS"
    homepage: ClassVar[str | None] = "https://doi.org/10.5683/SP2/E8H2MF"
    license: ClassVar[str | None] = "cc-by-nc-nd-4.0"
    language: ClassVar[str | None] = "en"

    # One file is called OA_bite_neutral.wav instead of OAF_bite_neutral.wav.
    pattern = r"(?P<speaker>OA|YA)F?_([A-Za-z]+)_(?P<emotion>[a-z]+)"
    emotions: ClassVar[Mapping[str, str]] = {
        "neutral": "neutral",
        "happy": "happy",
        "sad": "sad",
        "angry": "angry",
        "fear": "fearful",
        "disgust": "disgust",
        "ps": "surprised",
    }
    num_recordings = 2800
    # A mirror, since the publisher builds a new archive without a digest for every download.
    urls = ("https://bj.bcebos.com/paddleaudio/datasets/TESS_Toronto_emotional_speech_set.zip",)
    md5 = "1465311b24d1de704c4c63e4ccc470c7"


class EmoDB(EmotionCorpus):
    """The Berlin database of emotional speech: seven emotions, ten sentences, ten actors (Burkhardt et al. 2005)."""

    name: ClassVar[str] = "emodb"
    title: ClassVar[str] = "EmoDB"
    homepage: ClassVar[str | None] = "http://emodb.bilderbar.info"
    license: ClassVar[str | None] = "cc0-1.0"
    language: ClassVar[str | None] = "de"

    pattern = r"(?P<speaker>\d\d)([a-z]\d\d)(?P<emotion>[A-Z])([a-z])"
    # The first letters of the German words: Neutral, Freude, Trauer, Wut, Angst, Ekel, Langeweile.
    emotions: ClassVar[Mapping[str, str]] = {
        "N": "neutral",
        "F": "happy",
        "T": "sad",
        "W": "angry",
        "A": "fearful",
        "E": "disgust",
        "L": "bored",
    }
    num_recordings = 535
    urls = ("http://emodb.bilderbar.info/download/download.zip",)


class CREMAD(EmotionCorpus):
    """CREMA-D: six emotions, twelve sentences, 91 actors of diverse origins and ages (Cao et al. 2014)."""

    name: ClassVar[str] = "crema_d"
    title: ClassVar[str] = "CREMA-D"
    homepage: ClassVar[str | None] = "https://github.com/CheyneyComputerScience/CREMA-D"
    license: ClassVar[str | None] = "odbl"
    language: ClassVar[str | None] = "en"

    pattern = r"(?P<speaker>1\d\d\d)_([A-Z]{3})_(?P<emotion>[A-Z]{3})_([A-Z]{1,2})"
    emotions: ClassVar[Mapping[str, str]] = {
        "NEU": "neutral",
        "HAP": "happy",
        "SAD": "sad",
        "ANG": "angry",
        "FEA": "fearful",
        "DIS": "disgust",
    }
    num_recordings = 7442


class SAVEE(EmotionCorpus):
    """SAVEE: seven emotions, four English men with 120 sentences each (Haq & Jackson 2009)."""

    name: ClassVar[str] = "savee"
    title: ClassVar[str] = "SAVEE"
    homepage: ClassVar[str | None] = "http://kahlan.eps.surrey.ac.uk/savee/"
    license: ClassVar[str | None] = "free for research, after registration"
    language: ClassVar[str | None] = "en"

    # AudioData/DC/a01.wav in the original, DC_a01.wav in copies.
    pattern = r"(?P<speaker>[A-Z]{2})[_/](?P<emotion>[a-z]{1,2})(\d\d)"
    emotions: ClassVar[Mapping[str, str]] = {
        "n": "neutral",
        "h": "happy",
        "sa": "sad",
        "a": "angry",
        "f": "fearful",
        "d": "disgust",
        "su": "surprised",
    }
    num_recordings = 480
