"""Any dataset of the Hugging Face Hub, or a local copy of one, with its columns renamed to ours.

The audio column becomes the plain struct of all our corpora before anything is read: an `Audio` feature would decode
with torchcodec. A dataset too large for the disk is streamed: `max_rows` of every split are fetched and kept in memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import fsspec
from datasets import (
    Audio,
    ClassLabel,
    Dataset,
    DatasetDict,
    Features,
    IterableDataset,
    Value,
    load_dataset,
    load_from_disk,
)
from datasets.exceptions import DatasetsError
from tqdm.auto import tqdm

from hf_speech.data.audio import audio_info
from hf_speech.data.corpora.base import AUDIO_FEATURE, SPLIT_NAMES, SPLITS, Corpus, Utterance, natural_key, nearest
from hf_speech.data.corpora.splitting import choose
from hf_speech.errors import AudioError, CorpusError

_SHUFFLE_BUFFER = 1000  # rows of a streamed split among which the next one is drawn


@dataclass(kw_only=True)
class Hub(Corpus):
    """A dataset of the Hugging Face Hub.

    Args:
        data_dir: A local copy instead of repo: a folder of Parquet or sound files, or one made by save_to_disk.
        repo: Name of the dataset on the Hub, such as "google/fleurs".
        config_name: Name of its configuration, such as "en_us", where it has several.
        revision: Branch, tag or commit; a commit makes the recipe repeatable.
        train_split: Its name of the training split.
        validation_split: Its name of the validation split, if not one of the usual ones.
        test_split: Its name of the test split, if not one of the usual ones.
        audio_column: Column with the recording.
        label_column: Column with the class.
        text_column: Column with the transcript, in a corpus for transcription; then label_column is not read.
        speaker_column: Column with the speaker.
        streaming: Whether to fetch max_rows of each split instead of the whole dataset.
        max_rows: Most utterances of each split, drawn by seed.
        validation_fraction: Share of the training utterances to validate on, where there is no such split.
        test_fraction: Share of all utterances to test on, where there is no such split.
    """

    name: ClassVar[str] = "hub"
    title: ClassVar[str] = "a dataset of the Hugging Face Hub"

    repo: str | None = None
    config_name: str | None = None
    revision: str | None = None
    train_split: str = "train"
    validation_split: str | None = None
    test_split: str | None = None
    audio_column: str = "audio"
    label_column: str = "label"
    text_column: str | None = None
    speaker_column: str | None = None
    streaming: bool = False
    max_rows: int | None = None
    validation_fraction: float = 0.1
    test_fraction: float = 0.1
