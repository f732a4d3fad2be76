"""Base class of the corpora of acted emotions, whose file names contain speaker and emotion.

A few speakers repeat a few sentences, so in a random split every voice and sentence of the test split is also in
training, and the accuracy is too optimistic. Splits are therefore by speaker, unless a recipe requests a random one to
show the difference.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from hf_speech.common.ranges import Share
from hf_speech.common.text import counted, plural
from hf_speech.data.corpora.base import ListedCorpus
from hf_speech.data.corpora.fetching import fetch_archive
from hf_speech.data.corpora.files import AUDIO_SUFFIXES, natural_key, walk_files
from hf_speech.data.corpora.splitting import hold_out
from hf_speech.data.corpora.utterance import Utterance
from hf_speech.errors import CorpusError, nearest


@dataclass(kw_only=True)
class EmotionCorpus(ListedCorpus):
    """A corpus of acted emotions.

    Args:
        split: "speakers" tests on speakers who are not in training: those of the usual split if there is one, otherwise
            random ones. "random" splits the recordings of each emotion at random, which gives higher accuracy.
        fold: Test on this fold of the speakers, counted from 0, and train on the others; null for the single split.
        num_folds: Number of folds into which the speakers are divided.
        validation_fraction: Share of the training recordings to validate on, if there is no usual split.
        test_fraction: Share of all recordings to test on, if there is no usual split.
        rename: New names of emotions, such as {calm: neutral}; emotions with the same name become one class.

    Attributes:
        pattern: Regular expression of the file names, with the groups `speaker` and `emotion`.
        emotions: The emotion of each code.
        num_recordings: Number of recordings of the complete corpus.
        test_speakers: Test speakers of the usual split.
        validation_speakers: Validation speakers of the usual split.
        folds: The speakers of each fold of the usual cross-validation.
        urls: Addresses of the archive; empty for a corpus that must be requested from its owners.
        md5: MD5 of the archive, if known.
    """

    pattern: ClassVar[str]
    emotions: ClassVar[Mapping[str, str]]
    num_recordings: ClassVar[int]
    test_speakers: ClassVar[Sequence[str]] = ()
    validation_speakers: ClassVar[Sequence[str]] = ()
    folds: ClassVar[Sequence[Sequence[str]]] = ()
    urls: ClassVar[Sequence[str]] = ()
    md5: ClassVar[str | None] = None

    split: Literal["speakers", "random"] = "speakers"
    fold: int | None = None
    num_folds: int = 5
    validation_fraction: Share = 0.1
    test_fraction: Share = 0.1
    rename: dict[str, str] | None = None

    def splits(self) -> dict[str, list[Utterance]]:
        """Returns splits by speaker, by fold of speakers, or at random."""
        for old in self.rename or {}:
            if old not in self.emotions.values():
                raise CorpusError(
                    f"rename: {self.title} has no emotion {old!r}: {nearest(old, self.emotions.values())}"
                )
        clips = self._clips(self.folder())
        speakers = sorted({str(clip.speaker) for clip in clips}, key=natural_key)
        test_speakers = self._choose_test_speakers(speakers)
        if test_speakers:
            test = [clip for clip in clips if clip.speaker in test_speakers]
            rest = [clip for clip in clips if clip.speaker not in test_speakers]
        else:
            rest, test = self._take_out(clips, self.test_fraction)
        validation_speakers = self.validation_speakers if self.split == "speakers" and self.fold is None else ()
        validation = [clip for clip in rest if clip.speaker in validation_speakers]
        train = [clip for clip in rest if clip.speaker not in validation_speakers]
        if not validation:
            train, validation = self._take_out(rest, self.validation_fraction)
        return {"train": train, "validation": validation, "test": test}

    def label_names(self, labels: set[str]) -> list[str]:
        """Returns the emotions in the order of the attribute `emotions`."""
        return [name for name in dict.fromkeys(map(self._name, self.emotions.values())) if name in labels]

    def fetch(self) -> Path:
        """Downloads the corpus and returns its folder."""
        if not self.urls:
            raise CorpusError(
                f"{self.title} has no archive to download: get it at {self.homepage}, and give its folder as "
                "--data_dir."
            )
        return fetch_archive(self.title, self.name, self.urls, md5=self.md5, verify=self._verify)

    def _verify(self, folder: Path) -> None:
        found = len({key for _, match in self._matches(folder) if (key := match.groups())})
        if found != self.num_recordings:
            raise CorpusError(
                f"The downloaded copy of {self.title} has {found:,} of its {self.num_recordings:,} recordings: give "
                "another copy as --data_dir."
            )

    def _name(self, emotion: str) -> str:
        return (self.rename or {}).get(emotion, emotion)

    def _matches(self, root: Path) -> list[tuple[Path, re.Match[str]]]:
        """Returns all recordings in natural order, each with the match of its name."""
        pattern = re.compile(rf"(?:^|/)(?:{self.pattern})\.[^./]+$")
        found = []
        unused = []
        for path in walk_files(root):
            if path.suffix.lower() not in AUDIO_SUFFIXES or path.is_dir():
                continue
            if match := pattern.search(path.absolute().as_posix()):
                found.append((path, match))
            else:
                unused.append(path)
        self.note_unused(unused, "audio file", f"not named like those of {self.title}", root)
        return found

    def _clips(self, root: Path) -> list[Utterance]:
        """Returns each recording once, with its speaker and emotion."""
        first: dict[tuple[str, ...], Path] = {}
        clips: list[Utterance] = []
        bad: list[str] = []
        copies: list[str] = []
        for path, match in self._matches(root):
            other = first.setdefault(match.groups(), path)
            if other is not path and other.read_bytes() == path.read_bytes():
                copies.append(f"{path} = {other}")
            elif other is not path:
                bad.append(f"{path} has the same name as {other}, but different content")
            elif match["emotion"] not in self.emotions:
                codes = ", ".join(self.emotions)
                bad.append(f"{path} has the unknown emotion {match['emotion']!r} (there are {codes})")
            else:
                label = self._name(self.emotions[match["emotion"]])
                clips.append(Utterance(path, label=label, speaker=match["speaker"]))
        if not clips and not bad:
            raise CorpusError(
                f"{root} has no recordings of {self.title} (by their names): give the folder of the corpus as "
                "--data_dir."
            )
        self.reject(bad)
        if copies:
            duplicates = counted(len(copies), "duplicate was", "duplicates were")
            self.notes.append(f"{duplicates} left out, such as {copies[0]}.")
        if len(first) < self.num_recordings:
            missing = self.num_recordings - len(first)
            verb = plural(missing, "is", "are")
            self.notes.append(f"{missing:,} of the {self.num_recordings:,} recordings of {self.title} {verb} missing.")
        return clips

    def _choose_test_speakers(self, speakers: Sequence[str]) -> set[str]:
        """Returns the test speakers of the fold or of the usual split; empty if there is neither."""
        if self.fold is None:
            return set(self.test_speakers) & set(speakers) if self.split == "speakers" else set()
        if self.split != "speakers":
            raise CorpusError(f"Folds are by speaker, but split is {self.split!r}: remove fold or split.")
        if not 0 <= self.fold < self.num_folds <= len(speakers):
            raise CorpusError(
                f"There is no fold {self.fold} of {self.num_folds} folds of {len(speakers)} speakers: give a fold from "
                "0 to below num_folds, and at most as many folds as speakers."
            )
        is_usual = len(self.folds) == self.num_folds
        return set(self.folds[self.fold] if is_usual else speakers[self.fold :: self.num_folds]) & set(speakers)

    def _take_out(self, clips: list[Utterance], fraction: float) -> tuple[list[Utterance], list[Utterance]]:
        """Divides clips into the rest and a part of whole speakers, or of each class."""
        # A single speaker cannot be split by speaker.
        by_speaker = self.split == "speakers" and len({clip.speaker for clip in clips}) > 1
        return hold_out(clips, fraction, self.seed, by_speaker=by_speaker)
