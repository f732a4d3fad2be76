"""Kaldi data folders: `wav.scp`, `text` and `utt2spk`, with `segments` where utterances are stretches of recordings.

Half of the field's corpora have a recipe that writes this layout, so one loader serves them all. Recordings are read
from files; the commands that `wav.scp` may hold ("sox ... |") are never run.

Reference: "Data preparation" in the documentation of Kaldi (https://kaldi-asr.org/doc/data_prep.html).
"""

from __future__ import annotations

import math
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from hf_speech.common.ranges import Share
from hf_speech.common.text import same_form
from hf_speech.data.corpora.base import SPLITS, ListedCorpus, OwnCorpus
from hf_speech.data.corpora.files import find_file, visible
from hf_speech.data.corpora.lines import read_lines, read_pairs
from hf_speech.data.corpora.splitting import complete_splits
from hf_speech.data.corpora.stretches import Stretch, cut_checked
from hf_speech.data.corpora.utterance import Utterance
from hf_speech.errors import CorpusError, nearest

_TO_THE_END = -1.0  # an end in `segments`
_IN_ARCHIVE = re.compile(r"\.ark:\d+$")


@dataclass(kw_only=True)
class Kaldi(OwnCorpus, ListedCorpus):
    """Data folders of Kaldi.

    Args:
        data_dir: Folder or archive that holds the data folders. Relative paths in wav.scp start from the data folder or
            from the nearest folder above it where they lead to a file.
        train_dir: Data folder of the training utterances, below data_dir.
        validation_dir: Data folder of the validation utterances; taken out of training by speaker if not given.
        test_dir: Data folder of the test utterances; if null, taken out of training by speaker.
        label_file: In a corpus for classification, the file of each data folder with the classes: of utterances, such
            as utt2lang, or of speakers, such as spk2gender; then text is not read.
        validation_fraction: Share of the training utterances to validate on, where there is no such data folder.
        test_fraction: Share of all utterances to test on, where there is no such data folder.
    """

    name: ClassVar[str] = "kaldi"

    title: str | None = "Kaldi data folders"  # type: ignore[misc, assignment]
    train_dir: str = "train"
    validation_dir: str | None = None
    test_dir: str | None = "test"
    label_file: str | None = None
    validation_fraction: Share = 0.1
    test_fraction: Share = 0.1

    def lexicon(self) -> Path | None:
        """`local/dict*/lexicon.txt`, where Kaldi's recipes prepare the dictionary, next to the data folders."""
        return min(self._root().glob("local/dict*/lexicon.txt"), default=None)

    def _root(self) -> Path:
        return self.open_data_dir(", the folder with the data folders")

    def splits(self) -> dict[str, list[Utterance]]:
        """The utterances of the data folders, completed from the training split."""
        root = self._root()
        splits: dict[str, list[Utterance]] = {split: [] for split in SPLITS}
        for split in SPLITS:
            option = f"{split}_dir"
            folder = getattr(self, option)
            if folder is not None:
                splits[split] = self._read(_find_folder(root, folder, option))
        return complete_splits(splits, self.validation_fraction, self.test_fraction, self.seed, self.caveats)

    def _read(self, folder: Path) -> list[Utterance]:
        """The utterances of one data folder."""
        reasons: dict[str, str] = {}  # why an utterance cannot be a row, by its id
        audio = _read_recordings(folder)
        if (folder / "segments").is_file():
            audio = _cut_segments(folder / "segments", audio, reasons)
        speakers = read_pairs(folder / "utt2spk") if (folder / "utt2spk").is_file() else {}
        target_file = self.label_file or "text"
        targets = self._read_targets(folder, target_file)
        by_speaker = self.label_file is not None and target_file.startswith("spk2")
        utterances = []
        for name, path in audio.items():
            speaker = speakers.get(name) or None
            if speaker is None and (speakers or by_speaker):
                raise CorpusError(f"{folder / 'utt2spk'} has no speaker of the utterance {name!r}: add it.")
            target = targets.get(str(speaker) if by_speaker else name) or None
            label, text = (target, None) if self.label_file else (None, target)
            utterances.append(Utterance(path, label=label, text=text, speaker=speaker))
        if not by_speaker:
            for name in targets:
                if name not in audio:
                    reasons.setdefault(name, f"{name!r} is in {folder / target_file} and has no recording")
        self.reject(list(reasons.values()))
        return utterances

    def _read_targets(self, folder: Path, name: str) -> dict[str, str]:
        """The transcripts or classes of a data folder, by what their file lists: utterances or speakers."""
        if not (folder / name).is_file():
            there = [file.name for file in visible(folder.iterdir()) if file.is_file()]
            what = "classes (label_file)" if self.label_file else "transcripts"
            raise CorpusError(f"{folder} has no file {name!r} of {what}: {nearest(name, there)}")
        return read_pairs(folder / name)


def _find_folder(root: Path, name: str, option: str) -> Path:
    """A data folder by its name."""
    folder = root / name
    if (folder / "wav.scp").is_file():
        return folder
    there = [path.name for path in visible(root.iterdir()) if (path / "wav.scp").is_file()]
    hint = nearest(name, there) if there else "it has none in its sub-folders."
    raise CorpusError(f"{folder} is not a data folder of Kaldi, with a wav.scp ({option}): {hint}")


def _read_recordings(folder: Path) -> dict[str, Path]:
    """The files of a `wav.scp` by the ids of their recordings."""
    recordings: dict[str, Path] = {}
    base = folder
    for name, entry in read_pairs(folder / "wav.scp").items():
        where = f"{folder / 'wav.scp'} has the recording {name!r}"
        if not entry:
            raise CorpusError(f"{where} without a path: add it.")
        if entry.endswith("|"):
            raise CorpusError(
                f"{where} as the output of a command ({entry}), which is not run: run such commands once, into sound "
                "files, and list these."
            )
        if _IN_ARCHIVE.search(entry):
            raise CorpusError(f"{where} inside of an archive of Kaldi ({entry}): write sound files, and list these.")
        if not (base / entry).exists():
            above = (folder, *folder.absolute().parents)
            base = next((start for start in above if (start / entry).exists()), base)
        recordings[name] = find_file(base, entry)
    return recordings


def _cut_segments(path: Path, recordings: dict[str, Path], reasons: dict[str, str]) -> dict[str, Path]:
    """Cut the utterances of a `segments` file out of their recordings.

    Args:
        path: The file, with lines "UTTERANCE RECORDING START END" in seconds.
        recordings: Files of the recordings by their ids.
        reasons: To which is added why an utterance cannot be cut.

    Returns:
        Files of the utterances by their ids.
    """
    stretches: dict[str, tuple[str, Stretch]] = {}
    for where, line in read_lines(path):
        name, recording, start, end = _parse_segment(where, line)
        if name in stretches or name in reasons:
            raise CorpusError(f"{where} has {name!r} a second time: leave one of the lines out.")
        if recording not in recordings:
            reasons[name] = f"{where} is of the recording {recording!r}, which wav.scp lacks"
        else:
            to = None if end == _TO_THE_END else end
            stretches[name] = where, Stretch(name, recordings[recording], start, to)
    return cut_checked(stretches, reasons)


def _parse_segment(where: str, line: str) -> tuple[str, str, float, float]:
    """The fields of a line of `segments`."""
    fields = line.split()
    if len(fields) == 5:
        raise CorpusError(f"{where} names a channel ({fields[4]}): write the channels into files, and list these.")
    if len(fields) == 4:
        with suppress(ValueError):
            start, end = float(fields[2]), float(fields[3])
            if math.isfinite(start) and math.isfinite(end):
                return same_form(fields[0]), same_form(fields[1]), start, end
    raise CorpusError(f"{where} is not 'UTTERANCE RECORDING START END' with seconds: correct it.")
