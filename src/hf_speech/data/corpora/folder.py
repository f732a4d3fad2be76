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

from hf_speech.common.ranges import Share
from hf_speech.common.text import printable
from hf_speech.data.corpora.base import SPLIT_NAMES, SPLITS, ListedCorpus, OwnCorpus
from hf_speech.data.corpora.files import AUDIO_SUFFIXES, visible, walk_files
from hf_speech.data.corpora.lines import path_key, read_lines
from hf_speech.data.corpora.splitting import complete_splits
from hf_speech.data.corpora.utterance import Utterance
from hf_speech.errors import CorpusError

# "testing_list.txt" is that of Speech Commands; all names of splits are understood.
_SPLIT_LISTS = {f"{name}_list.txt": split for name, split in SPLIT_NAMES.items()}


@dataclass(kw_only=True)
class Folder(OwnCorpus, ListedCorpus):
    """Any folder with one sub-folder for each class.

    Args:
        data_dir: Folder or archive with one sub-folder for each class, or with train, validation and test folders
            that have one sub-folder for each class.
        speaker_pattern: Regular expression with one group, searched for in a file's path below data_dir, that gives
            the speaker; then splits made here are by speaker. For Speech Commands, "([0-9a-f]+)_nohash".
        validation_fraction: Share of the training utterances to validate on, where the folder has no such split.
        test_fraction: Share of all utterances to test on, where the folder has no such split.
    """

    name: ClassVar[str] = "folder"

    title: str | None = "a folder of classes"  # type: ignore[misc, assignment]
    speaker_pattern: str | None = None
    validation_fraction: Share = 0.1
    test_fraction: Share = 0.1

    def splits(self) -> dict[str, list[Utterance]]:
        """The splits of the folder, completed from its training split."""
        root = self.open_data_dir(", a folder with one sub-folder for each class")
        speaker_of = self._speaker_finder()
        class_depth = 1 if _has_split_folders(root) else 0
        splits: dict[str, list[Utterance]] = {split: [] for split in SPLITS}
        aside: dict[str, list[Path]] = defaultdict(list)
        sounds: list[Path] = []
        for path in walk_files(root):
            relative = path.relative_to(root)
            if reason := _reason_to_leave_aside(path, relative, class_depth):
                aside[reason].append(relative)
            elif relative.as_posix() not in _SPLIT_LISTS:
                sounds.append(relative)
        lists = self._read_lists(root, sounds)
        for relative in sounds:
            split = SPLIT_NAMES[relative.parts[0].lower()] if class_depth else "train"
            name = relative.as_posix()
            utterance = Utterance(root / relative, label=relative.parts[class_depth], speaker=speaker_of(name))
            splits[lists.get(name, split)].append(utterance)
        for reason, files in aside.items():
            self.note_aside(files, reason, root)
        if not any(splits.values()):
            raise CorpusError(
                f"{root} has no sound files in sub-folders: give a folder with one sub-folder for each class."
            )
        return complete_splits(splits, self.validation_fraction, self.test_fraction, self.seed, self.caveats)

    def _read_lists(self, root: Path, sounds: list[Path]) -> dict[str, str]:
        """The splits of the files that lists name, by their paths below `root`."""
        by_key = {path_key(sound.as_posix()): sound.as_posix() for sound in sounds}
        by_stem: dict[str, list[str]] = defaultdict(list)
        for sound in sounds:
            by_stem[path_key(sound.with_suffix("").as_posix())].append(sound.as_posix())
        listed: dict[str, str] = {}
        unknown: list[str] = []
        for list_name, split in _SPLIT_LISTS.items():
            if not (root / list_name).is_file():
                continue
            found = 0
            for where, line in read_lines(root / list_name):
                name = _find_listed(path_key(line), by_key, by_stem)
                if name is None:
                    unknown.append(f"{where} is {printable(line)!r}, and there is no such recording")
                elif listed.setdefault(name, split) != split:
                    raise CorpusError(f"{where} names {name!r}, which another list names too: leave one of them out.")
                else:
                    found += 1
            if unknown and not found:
                raise CorpusError(f"{unknown[0]}, nor is there one of any of its other lines: write CLASS/FILE a line.")
        self.reject(unknown)
        return listed

    def _speaker_finder(self) -> Callable[[str], str | None]:
        """A function from a path below data_dir to its speaker, None where speakers are not asked for."""
        if self.speaker_pattern is None:
            return lambda path: None
        try:
            pattern = re.compile(self.speaker_pattern)
        except re.error as error:
            raise CorpusError(
                f"speaker_pattern {self.speaker_pattern!r} is not a regular expression: {error}."
            ) from error
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


def _reason_to_leave_aside(path: Path, relative: Path, class_depth: int) -> str | None:
    """Why a file is not an utterance of a class; None if it is one, or the list of a split."""
    folders = relative.parts[:-1]
    if relative.as_posix() in _SPLIT_LISTS:
        return None
    if relative.suffix.lower() not in AUDIO_SUFFIXES or (path.exists() and not path.is_file()):
        return "files that are not sound"
    if len(folders) <= class_depth:
        return "sound files outside of the folders of classes"
    # Speech Commands keeps minutes of noise in `_background_noise_`, next to its words.
    return "sound files in folders that begin with '_'" if folders[class_depth].startswith("_") else None


def _find_listed(key: str, by_key: dict[str, str], by_stem: dict[str, list[str]]) -> str | None:
    """The recording that a line of a list means, None if it means none.

    A list may name recordings by another suffix, or from folders above the corpus, as long as one recording is meant.
    """
    parts = key.split("/")
    for start in range(max(1, len(parts) - 1)):
        name = "/".join(parts[start:])
        if name in by_key:
            return by_key[name]
        stem = name.rpartition(".")[0] if "." in parts[-1] else name
        if len(alike := by_stem.get(stem, [])) == 1:
            return alike[0]
    return None
