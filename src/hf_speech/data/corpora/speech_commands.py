"""Google Speech Commands: clips of single words by thousands of speakers, 1 s at 16 kHz (Warden, arXiv 1804.03209).

The corpus has a folder for each word, `_background_noise_` with minutes of noise, and two lists of validation and test
files, split by speaker; all other files are for training. There are two tasks: all words (35 in version 2, 30 in
version 1), or the twelve classes of the challenge: ten commands, "unknown" (a share of the other words) and "silence"
(segments of the noise). The noise has no official split, so the start of each recording is used for training and its
end for testing.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from hf_speech.common.text import counted, plural
from hf_speech.data.corpora.base import SPLITS, ListedCorpus, duration_of
from hf_speech.data.corpora.excerpts import Excerpt, cut
from hf_speech.data.corpora.fetching import fetch_archive
from hf_speech.data.corpora.files import AUDIO_SUFFIXES, natural_key, visible
from hf_speech.data.corpora.lines import path_key, read_lines
from hf_speech.data.corpora.utterance import Utterance
from hf_speech.errors import CorpusError

URL = "http://download.tensorflow.org/data/speech_commands_{}.tar.gz"
# SHA-256 of the archives, as in torchaudio.
ARCHIVES = {
    "v0.02": "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
    "v0.01": "743935421bb51cccdb6bdd152e04c5c70274e935c82119ad7faeec31780d811d",
}
LISTS = {"validation_list.txt": "validation", "testing_list.txt": "test"}
COMMANDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
OTHER_WORDS = (
    *("backward", "bed", "bird", "cat", "dog", "eight", "five", "follow", "forward", "four", "happy", "house"),
    *("learn", "marvin", "nine", "one", "seven", "sheila", "six", "three", "tree", "two", "visual", "wow", "zero"),
)
UNKNOWN, SILENCE = "unknown", "silence"
NOISE_FOLDER = "_background_noise_"
# The part of each noise recording, from 0 to 1, that each split uses.
NOISE_SHARES = {"train": (0.0, 0.8), "validation": (0.8, 0.9), "test": (0.9, 1.0)}
SILENCE_SECONDS = 1.0

_FILE_NAME = re.compile(r"(?P<speaker>[0-9a-f]+)_nohash_\d+\.\w+")


@dataclass(kw_only=True)
class SpeechCommands(ListedCorpus):
    """Google Speech Commands.

    Args:
        data_dir: The corpus as a folder (with a folder for each word and the two lists) or an archive; downloaded if
            not given.
        version: The version to download.
        classes: "all" words, or the "12" classes of the challenge: ten commands, unknown and silence.
        unknown_fraction: With 12 classes, the number of clips of "unknown" per clip of a command, in each split.
        silence_fraction: With 12 classes, the number of clips of "silence" per clip of a command, in each split.
    """

    name: ClassVar[str] = "speech_commands"
    title: ClassVar[str] = "Google Speech Commands"
    homepage: ClassVar[str | None] = "https://arxiv.org/abs/1804.03209"
    license: ClassVar[str | None] = "cc-by-4.0"
    language: ClassVar[str | None] = "en"

    version: Literal["v0.02", "v0.01"] = "v0.02"
    classes: Literal["all", "12"] = "all"
    unknown_fraction: float = 0.1
    silence_fraction: float = 0.1

    def splits(self) -> dict[str, list[Utterance]]:
        """Returns the official splits, with all words or twelve classes."""
        root = self.folder()
        splits = self._words(root)
        return splits if self.classes == "all" else self._twelve_classes(root, splits)

    def label_names(self, labels: set[str]) -> list[str]:
        """Returns all words alphabetically, or the twelve classes in their usual order, with the commands first."""
        if self.classes == "all":
            return super().label_names(labels)
        return [name for name in (*COMMANDS, UNKNOWN, SILENCE) if name in labels]

    def fetch(self) -> Path:
        """Downloads the corpus and returns its folder."""
        if self.version not in ARCHIVES:
            raise CorpusError(f"Speech Commands has no version {self.version!r}: there are {', '.join(ARCHIVES)}.")
        return fetch_archive(
            f"Speech Commands {self.version}",
            f"speech_commands/{self.version}",
            [URL.format(self.version)],
            sha256=ARCHIVES[self.version],
        )

    def _words(self, root: Path) -> dict[str, list[Utterance]]:
        """Returns all recordings by split, including listed ones that are missing, which the inspection reports."""
        listed, duplicates = _read_lists(root)
        splits: dict[str, list[Utterance]] = {split: [] for split in SPLITS}
        bad = [f"{name} is listed a second time by {where.rstrip(',')}" for name, where in duplicates.items()]
        found: set[str] = set()
        for folder in _word_folders(root, self.notes):
            for path in visible(folder.iterdir()):
                name = f"{folder.name}/{path.name}"
                found.add(name)
                match = _FILE_NAME.fullmatch(path.name)
                if match is None or path.suffix.lower() not in AUDIO_SUFFIXES:
                    bad.append(f"{path} is not named SPEAKER_nohash_NUMBER.wav")
                elif name not in duplicates:
                    utterance = Utterance(path, label=folder.name, speaker=match["speaker"])
                    splits[listed.get(name, "train")].append(utterance)
        for name, split in listed.items():
            if name not in found and name not in duplicates:
                splits[split].append(Utterance(root / name, label=name.split("/")[0]))
        self.reject(bad)
        if not any(splits.values()):
            raise CorpusError(
                f"{root} has no folders of words, such as yes: give the folder of the corpus as --data_dir."
            )
        return splits

    def _twelve_classes(self, root: Path, splits: dict[str, list[Utterance]]) -> dict[str, list[Utterance]]:
        """Returns the ten commands, some of the other words and some noise for every split."""
        noises = sorted((root / NOISE_FOLDER).glob("*.wav"), key=lambda path: natural_key(path.name))
        if self.silence_fraction and not noises:
            raise CorpusError(
                f"{root} has no recordings in {NOISE_FOLDER} for the class silence: give the complete corpus, or set "
                "silence_fraction: 0."
            )
        seconds = [duration_of(path) for path in noises]
        rng = np.random.default_rng(self.seed)
        for split, utterances in splits.items():
            commands = [utterance for utterance in utterances if utterance.label in COMMANDS]
            others = [utterance for utterance in utterances if utterance.label not in COMMANDS]
            count = min(len(others), math.ceil(self.unknown_fraction * len(commands)))
            unknown = [others[index] for index in sorted(rng.permutation(len(others))[:count])]
            for utterance in unknown:
                utterance.label = UNKNOWN
            excerpts = []
            for index in range(math.ceil(self.silence_fraction * len(commands))):
                noise = int(rng.integers(len(noises)))
                low, high = (share * seconds[noise] for share in NOISE_SHARES[split])
                start = round(float(rng.uniform(low, max(low, high - SILENCE_SECONDS))), 3)
                name = f"{split}-{index}-{noises[noise].stem}"
                excerpts.append(Excerpt(name, noises[noise], start, start + SILENCE_SECONDS))
            silence = [Utterance(path, label=SILENCE) for path in (cut(excerpts) if excerpts else [])]
            splits[split] = commands + unknown + silence
        return splits


def _word_folders(root: Path, notes: list[str]) -> list[Path]:
    """Returns the folders of known words, and adds a note about other folders."""
    folders = [path for path in visible(root.iterdir()) if path.is_dir() and path.name != NOISE_FOLDER]
    known = set(COMMANDS) | set(OTHER_WORDS)
    if unknown := [folder.name for folder in folders if folder.name not in known]:
        notes.append(
            f"{counted(len(unknown), 'folder')} of other words than those of Speech Commands "
            f"{plural(len(unknown), 'was', 'were')} left out in {root}, such as {unknown[0]}; the corpus 'folder' "
            "accepts any words."
        )
    return [folder for folder in folders if folder.name in known]


def _read_lists(root: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Returns the split of each listed recording, and the location of the second line of each duplicate."""
    listed: dict[str, str] = {}
    duplicates: dict[str, str] = {}
    for file, split in LISTS.items():
        if not (root / file).is_file():
            raise CorpusError(
                f"{root} has no {file}: give the unpacked folder of Speech Commands, or use the corpus 'folder'."
            )
        for where, line in read_lines(root / file):
            name = path_key(line)
            if name in listed:
                duplicates[name] = where
            listed[name] = split
    return listed, duplicates
