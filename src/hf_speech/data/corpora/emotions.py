"""Acted emotions, in corpora whose file names give speaker and emotion.

One class reads them all; `emotion_codes` has the table of each. A few speakers repeat a handful of sentences: with a
random split, every voice and sentence of the test split is also in training, and the accuracy is too optimistic. So
splits are by speaker, unless a recipe asks for a random one to show the difference.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from hf_speech.common.ranges import Share
from hf_speech.data.corpora.base import ListedCorpus
from hf_speech.data.corpora.fetching import fetch_archive
from hf_speech.data.corpora.files import AUDIO_SUFFIXES, natural_key, walk_files
from hf_speech.data.corpora.splitting import choose
from hf_speech.data.corpora.utterance import Utterance
from hf_speech.errors import CorpusError, nearest


@dataclass(kw_only=True)
class EmotionCorpus(ListedCorpus):
    """Recordings whose file names say speaker and emotion.

    Args:
        split: "speakers" tests on speakers who are not in training: those of the usual split if there is one, or else
            chosen by seed. "random" splits the recordings of each emotion by seed, which gives better figures.
        fold: Test on this fold of the speakers, counted from 0, and train on the others; null for the single split.
        num_folds: Folds into which the speakers are divided.
        validation_fraction: Share of the training recordings to validate on, where there is no usual split.
        test_fraction: Share of all recordings to test on, where there is no usual split.
        rename: Emotions to be called otherwise, such as {calm: neutral}; those of one name are one class.

    Attributes:
        pattern: Regular expression of the file names, with the groups `speaker` and `emotion`.
        emotions: The emotion of each code.
        num_recordings: Recordings of the whole corpus.
        test_speakers: Speakers on whom the usual split tests.
        validation_speakers: Speakers on whom the usual split validates.
        folds: The speakers of each fold, for as many folds as are usual.
        urls: Addresses of the archive; none for a corpus that its owners hand out.
        md5: Digest of the archive, where it is known.
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
        """The recordings by speakers, by folds of speakers, or at random."""
        for old in self.rename or {}:
            if old not in self.emotions.values():
                raise CorpusError(
                    f"rename: {self.title} has no emotion {old!r}: {nearest(old, self.emotions.values())}"
                )
        clips = self._clips(self.folder())
        by_speaker = self.split == "speakers"
        speakers = sorted({str(clip.speaker) for clip in clips}, key=natural_key)
        tested = self._tested(speakers)
        if tested:
            test = [clip for clip in clips if clip.speaker in tested]
            rest = [clip for clip in clips if clip.speaker not in tested]
        else:
            rest, test = self._take(clips, self.test_fraction, by_speaker)
        validated = self.validation_speakers if by_speaker and self.fold is None else ()
        validation = [clip for clip in rest if clip.speaker in validated]
        train = [clip for clip in rest if clip.speaker not in validated]
        if not validation:
            train, validation = self._take(rest, self.validation_fraction, by_speaker)
        return {"train": train, "validation": validation, "test": test}

    def label_names(self, labels: set[str]) -> list[str]:
        """The emotions in the order of the corpus's own table."""
        return [name for name in dict.fromkeys(map(self._name, self.emotions.values())) if name in labels]

    def fetch(self) -> Path:
        """The corpus in the cache, with all its recordings."""
        if not self.urls:
            raise CorpusError(
                f"{self.title} is not handed out as one archive: get it at {self.homepage}, and give its folder as "
                "--data_dir."
            )
        return fetch_archive(self.title, self.name, self.urls, md5=self.md5, verify=self._verify)

    def _verify(self, folder: Path) -> None:
        found = len({key for _, match in self._matches(folder) if (key := match.groups())})
        if found != self.num_recordings:
            raise CorpusError(
                f"What was downloaded as {self.title} holds {found:,} of its {self.num_recordings:,} recordings: give "
                "another copy as --data_dir."
            )

    def _name(self, emotion: str) -> str:
        return (self.rename or {}).get(emotion, emotion)

    def _matches(self, root: Path) -> list[tuple[Path, re.Match[str]]]:
        """All recordings with what their names say, in natural order."""
        named = re.compile(rf"(?:^|/)(?:{self.pattern})\.[^./]+$")
        found = []
        aside = []
        for path in walk_files(root):
            if path.suffix.lower() not in AUDIO_SUFFIXES or path.is_dir():
                continue
            if match := named.search(path.absolute().as_posix()):
                found.append((path, match))
            else:
                aside.append(path)
        self.note_aside(aside, f"sound files that are not named as those of {self.title}", root)
        return found

    def _clips(self, root: Path) -> list[Utterance]:
        """Every recording once, with its speaker and its emotion."""
        first: dict[tuple[str, ...], Path] = {}
        clips: list[Utterance] = []
        unknown: list[str] = []
        copies: list[str] = []
        for path, match in self._matches(root):
            other = first.setdefault(match.groups(), path)
            if other is not path and other.read_bytes() == path.read_bytes():
                copies.append(f"{path} = {other}")
            elif other is not path:
                unknown.append(f"{path} has the name of {other} and other contents")
            elif match["emotion"] not in self.emotions:
                codes = ", ".join(self.emotions)
                unknown.append(f"{path} has the unknown emotion {match['emotion']!r} (there are {codes})")
            else:
                label = self._name(self.emotions[match["emotion"]])
                clips.append(Utterance(path, label=label, speaker=match["speaker"]))
        if not clips and not unknown:
            raise CorpusError(
                f"{root} has no recordings named as those of {self.title}: give the folder of the corpus as --data_dir."
            )
        self.reject(unknown)
        if copies:
            self.notes.append(f"{len(copies):,} recordings are there twice and were taken once, such as {copies[0]}.")
        if len(first) < self.num_recordings:
            missing = self.num_recordings - len(first)
            self.notes.append(f"{missing:,} of the {self.num_recordings:,} recordings of {self.title} are not there.")
        return clips

    def _tested(self, speakers: Sequence[str]) -> set[str]:
        """The speakers to test on, empty where they are not given by a fold or a usual split."""
        if self.fold is None:
            return set(self.test_speakers) & set(speakers) if self.split == "speakers" else set()
        if self.split != "speakers":
            raise CorpusError(f"A fold divides speakers, and split is {self.split!r}: leave one of them out.")
        if not 0 <= self.fold < self.num_folds <= len(speakers):
            raise CorpusError(
                f"There is no fold {self.fold} of {self.num_folds} folds of {len(speakers)} speakers: give a fold from "
                "0 to below num_folds, and at most as many folds as speakers."
            )
        usual = len(self.folds) == self.num_folds
        return set(self.folds[self.fold] if usual else speakers[self.fold :: self.num_folds]) & set(speakers)

    def _take(
        self, clips: list[Utterance], fraction: float, by_speaker: bool
    ) -> tuple[list[Utterance], list[Utterance]]:
        """What remains of the clips when a part is taken out, and that part: whole speakers, or some of each class."""
        speakers = [clip.speaker for clip in clips]
        if not by_speaker or len(set(speakers)) < 2:  # Of one speaker nobody else can be taken out.
            speakers = [None] * len(clips)
        taken = choose([clip.label for clip in clips], speakers, fraction, self.seed)
        return [c for i, c in enumerate(clips) if i not in taken], [clips[i] for i in sorted(taken)]
