"""A folder with one sub-folder for each class, the layout of most collections of commands, sounds and emotions.

Splits are taken as they come: folders `train`, `validation`, `test` (or `val`, `valid`, `dev`), or the lists of files
of Speech Commands (`validation_list.txt`, `testing_list.txt`). What is missing is taken out of training, by seed, and
by speaker where `speaker_pattern` finds the speakers.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from hf_speech.data.corpora.base import (
    AUDIO_SUFFIXES,
    SPLIT_NAMES,
    SPLITS,
    ListedCorpus,
    Utterance,
    is_hidden,
    natural_key,
    visible,
)
from hf_speech.data.corpora.splitting import complete_splits
from hf_speech.errors import CorpusError

_SPLIT_LISTS = {"validation_list.txt": "validation", "testing_list.txt": "test"}


@dataclass(kw_only=True)
class Folder(ListedCorpus):
    """Any folder with one sub-folder for each class.

    Args:
        data_dir: Folder or archive with one sub-folder for each class, or with train, validation and test folders
            that have one sub-folder for each class.
        speaker_pattern: Regular expression with one group, searched for in a file's path below data_dir, that gives
            the speaker; then no speaker is in two splits of ours. For Speech Commands, "([0-9a-f]+)_nohash".
        validation_fraction: Share of the training utterances to validate on, where the folder has no such split.
        test_fraction: Share of all utterances to test on, where the folder has no such split.
    """

    name: ClassVar[str] = "folder"
    title: ClassVar[str] = "a folder of classes"

    speaker_pattern: str | None = None
    validation_fraction: float = 0.1
    test_fraction: float = 0.1

    def splits(self) -> dict[str, list[Utterance]]:
        """The splits of the folder, completed from its training split."""
        root = self.open_data_dir(", a folder with one sub-folder for each class")
        speaker_of = self._speaker_finder()
        lists = _read_lists(root)
        class_depth = 1 if _has_split_folders(root) else 0
        splits: dict[str, list[Utterance]] = {split: [] for split in SPLITS}
        aside: dict[str, list[Path]] = defaultdict(list)
        for path in sorted(root.rglob("*"), key=lambda path: natural_key(path.as_posix())):
            relative = path.relative_to(root)
            if is_hidden(relative) or not path.is_file() or relative.name in _SPLIT_LISTS:
                continue
            if reason := _reason_to_leave_aside(relative, class_depth):
                aside[reason].append(relative)
                continue
            split = SPLIT_NAMES[relative.parts[0].lower()] if class_depth else "train"
            utterance = Utterance(path, label=relative.parts[class_depth], speaker=speaker_of(relative.as_posix()))
            splits[lists.get(relative.as_posix(), split)].append(utterance)
        self.notes += [
            f"{len(files)} {reason} left aside in {root}, such as {files[0]}." for reason, files in aside.items()
        ]
        if not any(splits.values()):
            raise CorpusError(
                f"{root} has no sound files in sub-folders: give a folder with one sub-folder for each class as "
                "--data_dir."
            )
        return complete_splits(splits, self.validation_fraction, self.test_fraction, self.seed)

    def _speaker_finder(self) -> Callable[[str], str | None]:
        """A function from a path below data_dir to its speaker, None where speakers are not asked for."""
        if self.speaker_pattern is None:
            return lambda path: None
        try:
            pattern = re.compile(self.speaker_pattern)
        except re.error as error:
            raise CorpusError(f"speaker_pattern {self.speaker_pattern!r} is no regular expression: {error}.") from error
        if pattern.groups != 1:
            raise CorpusError(f"speaker_pattern {self.speaker_pattern!r} needs one (group) that is the speaker.")

        def speaker_of(path: str) -> str:
            match = pattern.search(path)
            if match is None or not match[1]:
                raise CorpusError(f"speaker_pattern {self.speaker_pattern!r} finds no speaker in {path!r}: correct it.")
            return match[1]

        return speaker_of


def _has_split_folders(root: Path) -> bool:
    """Whether the folders in `root` are splits rather than classes."""
    folders = [path for path in visible(root.iterdir()) if path.is_dir()]
    return bool(folders) and all(path.name.lower() in SPLIT_NAMES for path in folders)


def _reason_to_leave_aside(relative: Path, class_depth: int) -> str | None:
    """Why a file is no utterance of a class, None if it is one."""
    folders = relative.parts[:-1]
    if relative.suffix.lower() not in AUDIO_SUFFIXES:
        return "files that are no sound"
    if len(folders) <= class_depth:
        return "sound files outside of the folders of classes"
    # Speech Commands keeps minutes of noise in `_background_noise_`, beside its words.
    return "sound files in folders that begin with '_'" if folders[class_depth].startswith("_") else None


def _read_lists(root: Path) -> dict[str, str]:
    """The splits of single files, by their paths below `root`, as Speech Commands lists them."""
    return {
        line.strip(): split
        for name, split in _SPLIT_LISTS.items()
        if (root / name).is_file()
        for line in (root / name).read_text(encoding="utf-8").splitlines()
        if line.strip()
    }
