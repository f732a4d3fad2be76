"""AN4, the Census corpus of Carnegie Mellon: spelled names, addresses and numbers, at 16 kHz.

The training split has 948 utterances of 74 speakers, and the test split 130 of 10 other speakers. There is no official
validation split, so speakers of the training split are used, whose voices are then new to the model, as in the test.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from hf_speech.common.ranges import Share
from hf_speech.data.corpora.base import ListedCorpus
from hf_speech.data.corpora.fetching import content_digest, fetch_archive
from hf_speech.data.corpora.lines import path_key, read_lines
from hf_speech.data.corpora.splitting import hold_out
from hf_speech.data.corpora.utterance import Utterance
from hf_speech.errors import CorpusError

URLS = (
    "http://www.speech.cs.cmu.edu/databases/an4/an4_sphere.tar.gz",
    # A mirror, since the first address has been unavailable for years at a time.
    "https://huggingface.co/datasets/espnet/an4/resolve/main/an4_sphere.tar.gz",
)
# Digest of the names and contents of the 1,078 recordings, since neither address publishes a digest of the archive.
CONTENT_SHA256 = "aec29913fa1d3e4993ec571f05a11ef2ef5f8c82a938525d79fcecc7d2f08c01"

_SUFFIXES = (".sph", ".wav", ".flac")
_TRANSCRIPT = re.compile(r"(?P<text>.*?)\s*\((?P<name>[^()\s]+)\)")
_SENTENCE_MARKS = ("<s>", "</s>")


@dataclass(kw_only=True)
class AN4(ListedCorpus):
    """AN4.

    Args:
        data_dir: The corpus as a folder (with `etc` and `wav`) or an archive; downloaded if not given.
        validation_fraction: Share of the training utterances to validate on; their speakers are not in training.
    """

    name: ClassVar[str] = "an4"
    title: ClassVar[str] = "AN4 (CMU Census)"
    homepage: ClassVar[str | None] = "http://www.speech.cs.cmu.edu/databases/an4/"
    license: ClassVar[str | None] = "free for any use, under the BSD-style terms of Carnegie Mellon University"
    language: ClassVar[str | None] = "en"

    validation_fraction: Share = 0.1

    def splits(self) -> dict[str, list[Utterance]]:
        """Returns the official training and test utterances, and a validation split taken from training."""
        root = self._root()
        train, validation = hold_out(self._read(root, "train"), self.validation_fraction, self.seed)
        return {"train": train, "validation": validation, "test": self._read(root, "test")}

    def fetch(self) -> Path:
        """Downloads the corpus and returns the folder with `etc` and `wav`."""
        return fetch_archive("AN4", "an4", URLS, verify=_verify)

    def lexicon(self) -> Path | None:
        """Returns `etc/an4.dic`, if it exists."""
        path = self._root() / "etc" / "an4.dic"
        return path if path.is_file() else None

    def _root(self) -> Path:
        return _find_lists(self.folder())

    def _read(self, root: Path, split: str) -> list[Utterance]:
        """Returns the utterances of one split."""
        transcripts = _read_transcripts(root / "etc" / f"an4_{split}.transcription")
        utterances: dict[str, Utterance] = {}
        for where, line in read_lines(root / "etc" / f"an4_{split}.fileids"):
            file = path_key(line)
            *_, speaker, name = ("", *file.split("/"))
            if not speaker:
                raise CorpusError(f"{where} is not SET/SPEAKER/NAME: correct it.")
            if name in utterances:
                raise CorpusError(f"{where} repeats {name!r}: remove one of the lines.")
            utterances[name] = Utterance(_recording(root, file), text=transcripts.get(name) or None, speaker=speaker)
        problem = f"has a transcript in an4_{split}.transcription but no line in an4_{split}.fileids"
        self.reject([f"{name!r} {problem}" for name in transcripts if name not in utterances])
        return list(utterances.values())


def _verify(folder: Path) -> None:
    found = content_digest((_find_lists(folder) / "wav").rglob("*.sph"))
    if found != CONTENT_SHA256:
        raise CorpusError(
            "The downloaded copy of AN4 does not contain the 1,078 expected recordings (sha256 of their contents "
            f"{found}): give another copy as --data_dir."
        )


def _find_lists(root: Path) -> Path:
    """Returns the folder with `etc` and `wav`: `root` or `root/an4`."""
    for folder in (root, root / "an4"):
        if (folder / "etc" / "an4_train.fileids").is_file():
            return folder
    raise CorpusError(f"{root} has no etc/an4_train.fileids: give the folder an4, with etc and wav, as --data_dir.")


def _read_transcripts(path: Path) -> dict[str, str]:
    """Reads lines such as "YES (an251-fash-b)", and returns the transcripts by utterance name."""
    transcripts: dict[str, str] = {}
    for where, line in read_lines(path):
        match = _TRANSCRIPT.fullmatch(line)
        if match is None:
            raise CorpusError(f"{where} is not a transcript with its utterance, such as 'YES (an251-fash-b)': fix it.")
        if match["name"] in transcripts:
            raise CorpusError(f"{where} repeats {match['name']!r}: remove one of the lines.")
        # Some copies contain sentence boundary markers for language models.
        words = [word for word in match["text"].split() if word not in _SENTENCE_MARKS]
        transcripts[match["name"]] = " ".join(words)
    return transcripts


def _recording(root: Path, file: str) -> Path:
    """Returns the recording of a line of .fileids, which has no suffix."""
    paths = [root / "wav" / f"{file}{suffix}" for suffix in _SUFFIXES]
    found = next((path for path in paths if path.is_file()), paths[0])
    if not found.is_file() and (raw := root / "wav" / f"{file}.raw").is_file():
        raise CorpusError(
            f"{raw} contains raw samples without a header: use the corpus with SPHERE files (an4_sphere.tar.gz), or "
            "convert them to wav."
        )
    return found
