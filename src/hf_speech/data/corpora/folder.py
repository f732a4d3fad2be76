"""A folder with one subfolder for each class, the layout of most collections of commands, sounds and emotions.

Splits are defined by folders `train`, `validation`, `test` (or `val`, `valid`, `dev`), or by lists of files as in
Speech Commands (`validation_list.txt`, `testing_list.txt`). Missing splits are taken from training, by speaker if
`speaker_pattern` is set.
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
from hf_speech.data.corpora.base import SPLIT_NAMES, SPLITS, ListedCorpus, UserCorpus
from hf_speech.data.corpora.files import AUDIO_SUFFIXES, visible, walk_files
from hf_speech.data.corpora.lines import path_key, read_lines
from hf_speech.data.corpora.splitting import complete_splits
from hf_speech.data.corpora.utterance import Utterance
from hf_speech.errors import CorpusError

# Speech Commands has "testing_list.txt"; the other names of splits work as well.
_SPLIT_LISTS = {f"{name}_list.txt": split for name, split in SPLIT_NAMES.items()}


@dataclass(kw_only=True)
class Folder(UserCorpus, ListedCorpus):
    """Any folder with one subfolder for each class.

    Args:
        data_dir: Folder or archive with one subfolder for each class, or with train, validation and test folders
            that have one subfolder for each class.
        speaker_pattern: Regular expression that is searched in the path of a file relative to data_dir, and whose only
            group is the speaker. Missing splits are then made by speaker. For Speech Commands, "([0-9a-f]+)_nohash".
        validation_fraction: Share of the training utterances to validate on, if the folder has no validation split.
        test_fraction: Share of all utterances to test on, if the folder has no test split.
    """

    name: ClassVar[str] = "folder"

    title: str | None = "a folder of classes"  # type: ignore[misc, assignment]
    speaker_pattern: str | None = None
    validation_fraction: Share = 0.1
    test_fraction: Share = 0.1

    def splits(self) -> dict[str, list[Utterance]]:
        """Returns the splits of the folder; missing splits are taken from training."""
        root = self.open_data_dir(", a folder with one subfolder for each class")
        speaker_of = self._speaker_function()
        class_depth = 1 if _has_split_folders(root) else 0
        splits: dict[str, list[Utterance]] = {split: [] for split in SPLITS}
        unused: dict[tuple[str, str], list[Path]] = defaultdict(list)
        files: list[Path] = []
        for path in walk_files(root):
            relative = path.relative_to(root)
            if reason := _reason_to_skip(path, relative, class_depth):
                unused[reason].append(relative)
            elif relative.as_posix() not in _SPLIT_LISTS:
                files.append(relative)
        lists = self._read_lists(root, files)
        for relative in files:
            split = SPLIT_NAMES[relative.parts[0].lower()] if class_depth else "train"
            name = relative.as_posix()
            utterance = Utterance(root / relative, label=relative.parts[class_depth], speaker=speaker_of(name))
            splits[lists.get(name, split)].append(utterance)
        for reason, skipped in unused.items():
            self.note_unused(skipped, *reason, root)
        if not any(splits.values()):
            raise CorpusError(
                f"{root} has no audio files in subfolders: give a folder with one subfolder for each class."
            )
        return complete_splits(splits, self.validation_fraction, self.test_fraction, self.seed, self.caveats)

    def _read_lists(self, root: Path, files: list[Path]) -> dict[str, str]:
        """Returns the split of each listed file, by path relative to `root`."""
        by_key = {path_key(file.as_posix()): file.as_posix() for file in files}
        by_stem: dict[str, list[str]] = defaultdict(list)
        for file in files:
            by_stem[path_key(file.with_suffix("").as_posix())].append(file.as_posix())
        listed: dict[str, str] = {}
        unknown: list[str] = []
        for list_name, split in _SPLIT_LISTS.items():
            if not (root / list_name).is_file():
                continue
            found = 0
            for where, line in read_lines(root / list_name):
                name = _find_listed(path_key(line), by_key, by_stem)
                if name is None:
                    unknown.append(f"{where} is {printable(line)!r}, but there is no such recording")
                elif listed.setdefault(name, split) != split:
                    raise CorpusError(f"{where} has {name!r}, which is in another list too: remove one of the lines.")
                else:
                    found += 1
            if unknown and not found:
                raise CorpusError(f"{unknown[0]}, nor for any other line: write CLASS/FILE in each line.")
        self.reject(unknown)
        return listed

    def _speaker_function(self) -> Callable[[str], str | None]:
        """Returns a function that maps a path relative to `data_dir` to its speaker, or to None without a pattern."""
        if self.speaker_pattern is None:
            return lambda path: None
        try:
            pattern = re.compile(self.speaker_pattern)
        except re.error as error:
            raise CorpusError(
                f"speaker_pattern {self.speaker_pattern!r} is not a regular expression: {error}."
            ) from error
        if pattern.groups != 1:
            raise CorpusError(f"speaker_pattern {self.speaker_pattern!r} needs one (group) for the speaker: add it.")

        def speaker_of(path: str) -> str:
            match = pattern.search(path)
            if match is None or not match[1]:
                raise CorpusError(f"speaker_pattern {self.speaker_pattern!r} finds no speaker in {path!r}: correct it.")
            return match[1]

        return speaker_of


def _has_split_folders(root: Path) -> bool:
    """Returns whether the folders in `root` are splits rather than classes."""
    folders = [path for path in visible(root.iterdir()) if path.is_dir()]
    return bool(folders) and all(path.name.lower() in SPLIT_NAMES for path in folders)


def _reason_to_skip(path: Path, relative: Path, class_depth: int) -> tuple[str, str] | None:
    """Returns a noun and a description for a note about an unused file; None for an utterance or a list."""
    folders = relative.parts[:-1]
    if relative.as_posix() in _SPLIT_LISTS:
        return None
    if relative.suffix.lower() not in AUDIO_SUFFIXES or (path.exists() and not path.is_file()):
        return "non-audio file", ""
    if len(folders) <= class_depth:
        return "audio file", "outside of the class folders"
    # Speech Commands has minutes of noise in `_background_noise_`, next to the folders of words.
    return ("audio file", "in folders that begin with '_'") if folders[class_depth].startswith("_") else None


def _find_listed(key: str, by_key: dict[str, str], by_stem: dict[str, list[str]]) -> str | None:
    """Returns the recording for a line of a list, or None if there is none or more than one.

    Paths in a list may have a different suffix, or start in a folder above the corpus.
    """
    parts = key.split("/")
    for start in range(max(1, len(parts) - 1)):
        name = "/".join(parts[start:])
        if name in by_key:
            return by_key[name]
        stem = name.rpartition(".")[0] if "." in parts[-1] else name
        if len(matches := by_stem.get(stem, [])) == 1:
            return matches[0]
    return None
