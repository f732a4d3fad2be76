"""The Free Spoken Digit Dataset: ten digits, six speakers, fifty clips of each digit by each speaker, at 8 kHz.

The official test split consists of clips 0 to 4 of every speaker and digit, so all its voices are in training. Use
`holdout_speaker` to measure how well a model generalizes to a new voice, and `validation_speaker` to select the best
epoch on another voice that is not in training.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from hf_speech.common.ranges import Share
from hf_speech.data.corpora.base import ListedCorpus
from hf_speech.data.corpora.fetching import content_digest, fetch_archive
from hf_speech.data.corpora.files import visible
from hf_speech.data.corpora.splitting import complete_splits
from hf_speech.data.corpora.utterance import Utterance
from hf_speech.errors import CorpusError, nearest

REVISION = "26eb9aaf76e81b692f806f9140c2d2777410d7a1"
URL = f"https://github.com/Jakobovski/free-spoken-digit-dataset/archive/{REVISION}.tar.gz"
# Digest of the names and contents of the 3,000 recordings, since the archives that GitHub builds differ each time.
CONTENT_SHA256 = "a2e8a660492f28d9eed6270b290d26cbc5c81d6077ce87d3c0ad5adf4d4ee696"
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

_FILE_NAME = re.compile(r"(?P<digit>\d)_(?P<speaker>[^_]+)_(?P<index>\d+)\.wav")


@dataclass(kw_only=True)
class FSDD(ListedCorpus):
    """The Free Spoken Digit Dataset.

    Args:
        data_dir: The corpus as a folder (the repository or its `recordings`) or an archive; downloaded if not given.
        holdout_speaker: Test on all clips of this speaker and train on the others, of whom clips 0 to 4 are the
            validation split. Null for the official split: clips 0 to 4 of all speakers are the test split, and clips 5
            to 9 the validation split.
        validation_speaker: Validate on this speaker only, who is then not in training.
        speakers: Use only the recordings of these speakers, null for all. The first 2,000 recordings of the corpus,
            which older work uses, are by jackson, nicolas, theo and yweweler.
        split: "official", or "random" for a random split of each digit's recordings, as in older work.
        validation_fraction: Share of the training recordings to validate on, in a random split.
        test_fraction: Share of all recordings to test on, in a random split.
        transcripts: Whether the digits are transcripts, for a recognizer, instead of classes.
    """

    name: ClassVar[str] = "fsdd"
    title: ClassVar[str] = "Free Spoken Digit Dataset"
    homepage: ClassVar[str | None] = "https://github.com/Jakobovski/free-spoken-digit-dataset"
    license: ClassVar[str | None] = "cc-by-sa-4.0"
    language: ClassVar[str | None] = "en"

    holdout_speaker: str | None = None
    validation_speaker: str | None = None
    speakers: list[str] | None = None
    split: Literal["official", "random"] = "official"
    validation_fraction: Share = 0.1
    test_fraction: Share = 0.1
    transcripts: bool = False

    def splits(self) -> dict[str, list[Utterance]]:
        """Returns the official splits, those with held-out speakers, or random splits."""
        folder = find_recordings(self.folder())
        files = visible(folder.iterdir())
        clips = [(path, match) for path in files if (match := _FILE_NAME.fullmatch(path.name))]
        unused = [path.name for path in files if not _FILE_NAME.fullmatch(path.name)]
        self.note_unused(unused, "file", "not named DIGIT_SPEAKER_INDEX.wav", folder)
        self._check_speakers({match["speaker"] for _, match in clips})
        if self.speakers is not None:
            clips = [(path, match) for path, match in clips if match["speaker"] in self.speakers]
        splits: dict[str, list[Utterance]] = {"train": [], "validation": [], "test": []}
        for path, match in clips:
            split = "train" if self.split == "random" else self._split_of(match["speaker"], int(match["index"]))
            digit = DIGITS[int(match["digit"])]
            label, text = (None, digit) if self.transcripts else (digit, None)
            splits[split].append(Utterance(path, label, text, match["speaker"]))
        if self.split == "random":
            splits = complete_splits(splits, self.validation_fraction, self.test_fraction, self.seed, by_speaker=False)
        return splits

    def fetch(self) -> Path:
        """Downloads the repository of the recordings and returns its folder."""
        return fetch_archive("The Free Spoken Digit Dataset", "fsdd", [URL], verify=_verify)

    def label_names(self, labels: set[str]) -> list[str]:
        """Returns the digits that occur, by value."""
        return [digit for digit in DIGITS if digit in labels]

    def _split_of(self, speaker: str, index: int) -> str:
        """Returns the official split of a clip, or the one with held-out speakers."""
        if self.holdout_speaker is None:
            if index < 5:
                return "test"
            in_validation = index < 10
        else:
            if speaker == self.holdout_speaker:
                return "test"
            in_validation = index < 5
        if self.validation_speaker is not None:
            in_validation = speaker == self.validation_speaker
        return "validation" if in_validation else "train"

    def _check_speakers(self, speakers: set[str]) -> None:
        options = {"holdout_speaker": [self.holdout_speaker], "validation_speaker": [self.validation_speaker]}
        for option, names in (options | {"speakers": self.speakers or []}).items():
            for name in names:
                if name is not None and name not in speakers:
                    raise CorpusError(f"{option} {name!r} is not a speaker of the corpus: {nearest(name, speakers)}")
        if self.split == "random" and (self.holdout_speaker or self.validation_speaker):
            raise CorpusError("A random split cannot hold out a speaker: remove split: random, or the speaker.")
        if self.holdout_speaker is not None and self.holdout_speaker == self.validation_speaker:
            raise CorpusError(
                f"holdout_speaker and validation_speaker are both {self.holdout_speaker!r}: validate on another "
                "speaker."
            )


def _verify(folder: Path) -> None:
    found = content_digest(find_recordings(folder).glob("*.wav"))
    if found != CONTENT_SHA256:
        raise CorpusError(
            f"{URL} no longer contains the 3,000 expected recordings (sha256 of their contents {found}): give another "
            "copy as --data_dir."
        )


def find_recordings(root: Path) -> Path:
    """Returns the folder with the recordings: `root` or a folder `recordings` below it."""
    for folder in (root, root / "recordings", *sorted(root.glob("*/recordings"))):
        if folder.is_dir() and any(_FILE_NAME.fullmatch(path.name) for path in folder.iterdir()):
            return folder
    raise CorpusError(
        f"{root} has no recordings named DIGIT_SPEAKER_INDEX.wav, such as recordings/7_jackson_0.wav: give the folder "
        "of the Free Spoken Digit Dataset as --data_dir."
    )
