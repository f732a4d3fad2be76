"""Arabic Speech Commands: 40 words by 30 speakers, ten times each, one second at 16 kHz (Ghandoura et al. 2021).

Three tables (`train.csv`, `val.csv`, `test.csv`) with a recording and its word in each line define the official splits
of 18, 6 and 6 different speakers.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from hf_speech.common.text import nfc
from hf_speech.data.corpora.base import ListedCorpus
from hf_speech.data.corpora.fetching import fetch_archive
from hf_speech.data.corpora.files import AUDIO_SUFFIXES, natural_key
from hf_speech.data.corpora.lines import path_key, read_lines
from hf_speech.data.corpora.utterance import Utterance
from hf_speech.errors import CorpusError

URL = "https://github.com/abdulkaderghandoura/arabic-speech-commands-dataset/archive/refs/heads/master.zip"
TABLES = {"train": "train.csv", "validation": "val.csv", "test": "test.csv"}
NUM_RECORDINGS = 12_000

_PATH = re.compile(r"dataset/(?P<word>[^/]+)/(?P<speaker>\d+)_NO_\d+\.\w+")
_SUFFIXES = (".wav", ".flac", ".opus", ".ogg")


@dataclass(kw_only=True)
class ArabicSpeechCommands(ListedCorpus):
    """Arabic Speech Commands.

    Args:
        data_dir: The corpus as a folder (with `train.csv`, `val.csv`, `test.csv` and `dataset`) or an archive;
            downloaded if not given.
    """

    name: ClassVar[str] = "arabic_speech_commands"
    title: ClassVar[str] = "Arabic Speech Commands"
    homepage: ClassVar[str | None] = "https://github.com/abdulkaderghandoura/arabic-speech-commands-dataset"
    license: ClassVar[str | None] = "cc-by-4.0"
    language: ClassVar[str | None] = "ar"

    def splits(self) -> dict[str, list[Utterance]]:
        """Returns the official splits."""
        return self._read(self.folder())

    def fetch(self) -> Path:
        """Downloads the corpus and returns the folder with the tables."""
        return fetch_archive("Arabic Speech Commands", self.name, [URL], verify=self._verify)

    def _verify(self, folder: Path) -> None:
        clips = [clip for split in self._read(folder).values() for clip in split]
        count = sum(isinstance(clip.audio, Path) and clip.audio.is_file() for clip in clips)
        if count != NUM_RECORDINGS:
            raise CorpusError(
                f"{URL} contains {count:,} of the {NUM_RECORDINGS:,} recordings of Arabic Speech Commands: give "
                "another copy as --data_dir."
            )

    def _read(self, root: Path) -> dict[str, list[Utterance]]:
        """Returns the utterances in the tables, including missing recordings, which the inspection reports."""
        first: dict[str, str] = {}
        bad: list[str] = []
        splits: dict[str, list[Utterance]] = {}
        for split, table in TABLES.items():
            splits[split] = []
            if not (root / table).is_file():
                raise CorpusError(
                    f"{root} has no {table}: give the folder of Arabic Speech Commands, with three tables and the "
                    "folder dataset, as --data_dir."
                )
            for where, file, word in _rows(root / table):
                match = _PATH.fullmatch(file)
                earlier = first.setdefault(file, where)
                if match is None:
                    bad.append(f"{where} {file} is not dataset/WORD/SPEAKER_NO_TAKE.wav")
                elif match["word"] != word:
                    bad.append(f"{where} {file} is labeled {word!r}")
                elif earlier != where:
                    bad.append(f"{where} {file} was listed before, in {earlier.rstrip(',')}")
                else:
                    splits[split].append(Utterance(_recording(root / file), label=word, speaker=match["speaker"]))
        self.reject(bad)
        names = {str(Path(name).with_suffix("")) for name in first}
        files = [path.relative_to(root) for path in root.glob("dataset/*/*") if path.suffix.lower() in AUDIO_SUFFIXES]
        unlisted = [path.as_posix() for path in files if str(path.with_suffix("")) not in names]
        unlisted.sort(key=natural_key)
        self.note_unused(unlisted, "recording", "that no table lists", root)
        return splits


def _rows(table: Path) -> list[tuple[str, str, str]]:
    """Returns the location for errors, the recording and the word of each line."""
    (where, head), *lines = list(read_lines(table)) or [(f"{table}, line 1,", "")]
    if next(csv.reader([head]), []) != ["file", "class"]:
        raise CorpusError(f"{where} is not file,class: give the original tables of Arabic Speech Commands.")
    rows = []
    for where, line in lines:
        fields = next(csv.reader([line]))
        if len(fields) != 2:
            raise CorpusError(f"{where} has {len(fields)} fields instead of 2 (file,class): correct it.")
        rows.append((where, path_key(fields[0]), nfc(fields[1])))
    return rows


def _recording(path: Path) -> Path:
    """Returns the recording of a line, which may have a different format in this copy."""
    if path.is_file():
        return path
    return next((other for suffix in _SUFFIXES if (other := path.with_suffix(suffix)).is_file()), path)
