"""LJSpeech: 24 hours of one woman reading non-fiction, 13,100 clips at 22.05 kHz.

There is one speaker and no official split, so clips are split at random. A model is therefore tested on the voice that
it was trained on, and its metrics do not apply to other voices.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from hf_speech.common.ranges import Share
from hf_speech.data.corpora.base import ListedCorpus
from hf_speech.data.corpora.fetching import fetch_archive
from hf_speech.data.corpora.files import visible
from hf_speech.data.corpora.lines import read_lines
from hf_speech.data.corpora.splitting import complete_splits
from hf_speech.data.corpora.utterance import Utterance
from hf_speech.errors import CorpusError, nearest

URL = "https://data.keithito.com/data/speech/LJSpeech-1.1.tar.bz2"
ARCHIVE_SHA256 = "be1a30453f28eb8dd26af4101ae40cbf2c50413b1bb21936cbcdc6fae3de8aa5"
SPEAKER = "LJ"
_COLUMNS = ("id", "raw", "normalized")


@dataclass(kw_only=True)
class LJSpeech(ListedCorpus):
    """LJSpeech.

    Args:
        data_dir: The corpus as a folder (with `metadata.csv` and `wavs`) or an archive; downloaded if not given.
        transcript: The transcript to use: "normalized" has numbers and abbreviations as spoken words, "raw" as they are
            written.
        validation_fraction: Share of the training utterances to validate on.
        test_fraction: Share of all utterances to test on.
    """

    name: ClassVar[str] = "ljspeech"
    title: ClassVar[str] = "LJSpeech"
    homepage: ClassVar[str | None] = "https://keithito.com/LJ-Speech-Dataset/"
    license: ClassVar[str | None] = "public domain"
    language: ClassVar[str | None] = "en"

    transcript: Literal["normalized", "raw"] = "normalized"
    validation_fraction: Share = 0.05
    test_fraction: Share = 0.1

    def splits(self) -> dict[str, list[Utterance]]:
        """Returns the clips of `metadata.csv`, split at random."""
        if self.transcript not in _COLUMNS[1:]:
            raise CorpusError(f"There is no transcript {self.transcript!r}: {nearest(self.transcript, _COLUMNS[1:])}")
        root = _find_metadata(self.folder())
        texts: dict[str, str] = {}
        for where, line in read_lines(root / "metadata.csv"):
            fields = line.split("|")  # fields are not quoted
            if len(fields) != len(_COLUMNS):
                raise CorpusError(
                    f"{where} has {len(fields)} fields instead of 3 (id|raw|normalized): correct it, or use the corpus "
                    "'csv' for other tables."
                )
            row = dict(zip(_COLUMNS, (field.strip() for field in fields), strict=True))
            if row["id"] in texts:
                raise CorpusError(f"{where} repeats {row['id']!r}: remove one of the lines.")
            texts[row["id"]] = row[self.transcript]
        wavs = root / "wavs"
        unlisted = [path.name for path in visible(wavs.iterdir()) if path.stem not in texts] if wavs.is_dir() else []
        self.note_unused(unlisted, "file", "without a line in metadata.csv", wavs)
        clips = [Utterance(wavs / f"{name}.wav", text=text or None, speaker=SPEAKER) for name, text in texts.items()]
        splits = {"train": clips, "validation": [], "test": []}
        return complete_splits(splits, self.validation_fraction, self.test_fraction, self.seed, by_speaker=False)

    def fetch(self) -> Path:
        """Downloads the corpus (2.6 GB) and returns the folder with `metadata.csv`."""
        return fetch_archive("LJSpeech", "ljspeech", [URL], sha256=ARCHIVE_SHA256)


def _find_metadata(root: Path) -> Path:
    """Returns the folder with `metadata.csv`: `root` or `root/LJSpeech-1.1`."""
    for folder in (root, root / "LJSpeech-1.1"):
        if (folder / "metadata.csv").is_file():
            return folder
    raise CorpusError(
        f"{root} has no metadata.csv: give the folder LJSpeech-1.1, with metadata.csv and wavs, as --data_dir."
    )
