"""Kaldi data folders: `wav.scp`, `text` and `utt2spk`, and optionally `segments` with segments of recordings.

Many speech corpora have a recipe that writes this layout. Recordings must be files; commands in `wav.scp`
("sox ... |") are never run.

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
from hf_speech.common.text import nfc
from hf_speech.data.corpora.base import SPLITS, ListedCorpus, UserCorpus
from hf_speech.data.corpora.excerpts import Excerpt, cut_checked
from hf_speech.data.corpora.files import find_file, visible
from hf_speech.data.corpora.lines import read_lines, read_pairs
from hf_speech.data.corpora.splitting import complete_splits
from hf_speech.data.corpora.utterance import Utterance
from hf_speech.errors import CorpusError, nearest

_TO_THE_END = -1.0  # an end in `segments`
_IN_ARCHIVE = re.compile(r"\.ark:\d+$")


@dataclass(kw_only=True)
class Kaldi(UserCorpus, ListedCorpus):
    """Data folders of Kaldi.

    Args:
        data_dir: Folder or archive with the data folders. Relative paths in wav.scp are relative to the data folder, or
            to the nearest folder above it where the file exists.
        train_dir: Data folder of the training utterances, relative to data_dir.
        validation_dir: Data folder of the validation utterances; if null, they are taken from training by speaker.
        test_dir: Data folder of the test utterances; if null, they are taken from training by speaker.
        label_file: For classification, the file in each data folder with the classes of utterances, such as utt2lang,
            or of speakers, such as spk2gender. The file text is then not read.
        validation_fraction: Share of the training utterances to validate on, if there is no validation_dir.
        test_fraction: Share of all utterances to test on, if there is no test_dir.
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
        """Returns `local/dict*/lexicon.txt`, the dictionary that Kaldi's recipes prepare, if it exists."""
        return min(self._root().glob("local/dict*/lexicon.txt"), default=None)

    def _root(self) -> Path:
        return self.open_data_dir(", the folder with the data folders")

    def splits(self) -> dict[str, list[Utterance]]:
        """Returns the utterances of the data folders; missing splits are taken from training."""
        root = self._root()
        splits: dict[str, list[Utterance]] = {split: [] for split in SPLITS}
        for split in SPLITS:
            option = f"{split}_dir"
            folder = getattr(self, option)
            if folder is not None:
                splits[split] = self._read(_find_folder(root, folder, option))
        return complete_splits(splits, self.validation_fraction, self.test_fraction, self.seed, self.caveats)

    def _read(self, folder: Path) -> list[Utterance]:
        """Returns the utterances of one data folder."""
        reasons: dict[str, str] = {}  # reasons for rejected utterances, by id
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
                raise CorpusError(f"{folder / 'utt2spk'} has no speaker for the utterance {name!r}: add it.")
            target = targets.get(str(speaker) if by_speaker else name) or None
            label, text = (target, None) if self.label_file else (None, target)
            utterances.append(Utterance(path, label=label, text=text, speaker=speaker))
        if not by_speaker:
            for name in targets:
                if name not in audio:
                    reasons.setdefault(name, f"{name!r} is in {folder / target_file} but has no recording")
        self.reject(list(reasons.values()))
        return utterances

    def _read_targets(self, folder: Path, name: str) -> dict[str, str]:
        """Returns the transcripts or classes of a data folder, by utterance or speaker."""
        if not (folder / name).is_file():
            existing = [file.name for file in visible(folder.iterdir()) if file.is_file()]
            content = "classes (label_file)" if self.label_file else "transcripts"
            raise CorpusError(f"{folder} has no file {name!r} of {content}: {nearest(name, existing)}")
        return read_pairs(folder / name)


def _find_folder(root: Path, name: str, option: str) -> Path:
    """Returns a data folder by name."""
    folder = root / name
    if (folder / "wav.scp").is_file():
        return folder
    existing = [path.name for path in visible(root.iterdir()) if (path / "wav.scp").is_file()]
    hint = nearest(name, existing) if existing else "it has none in its subfolders."
    raise CorpusError(f"{folder} is not a Kaldi data folder, which has a wav.scp ({option}): {hint}")


def _read_recordings(folder: Path) -> dict[str, Path]:
    """Returns the files listed in `wav.scp`, by recording id."""
    recordings: dict[str, Path] = {}
    base = folder
    for name, entry in read_pairs(folder / "wav.scp").items():
        where = f"{folder / 'wav.scp'} has the recording {name!r}"
        if not entry:
            raise CorpusError(f"{where} without a path: add it.")
        if entry.endswith("|"):
            raise CorpusError(
                f"{where} as the output of a command ({entry}), which is not run: run such commands once to write "
                "audio files, and list these."
            )
        if _IN_ARCHIVE.search(entry):
            raise CorpusError(f"{where} inside a Kaldi archive ({entry}): write audio files, and list these.")
        if not (base / entry).exists():
            above = (folder, *folder.absolute().parents)
            base = next((start for start in above if (start / entry).exists()), base)
        recordings[name] = find_file(base, entry)
    return recordings


def _cut_segments(path: Path, recordings: dict[str, Path], reasons: dict[str, str]) -> dict[str, Path]:
    """Cuts the utterances of a `segments` file out of their recordings.

    Args:
        path: The file, with lines "UTTERANCE RECORDING START END" in seconds.
        recordings: Files of the recordings by id.
        reasons: A dictionary to which the reasons for utterances that cannot be cut are added.

    Returns:
        Files of the utterances by id.
    """
    excerpts: dict[str, tuple[str, Excerpt]] = {}
    for where, line in read_lines(path):
        name, recording, start, end = _parse_segment(where, line)
        if name in excerpts or name in reasons:
            raise CorpusError(f"{where} repeats {name!r}: remove one of the lines.")
        if recording not in recordings:
            reasons[name] = f"{where} has the recording {recording!r}, which is not in wav.scp"
        else:
            excerpt = Excerpt(name, recordings[recording], start, None if end == _TO_THE_END else end)
            excerpts[name] = where, excerpt
    return cut_checked(excerpts, reasons)


def _parse_segment(where: str, line: str) -> tuple[str, str, float, float]:
    """Returns the fields of a line of `segments`."""
    fields = line.split()
    if len(fields) == 5:
        raise CorpusError(f"{where} has a channel ({fields[4]}): write each channel to a file, and list these.")
    if len(fields) == 4:
        with suppress(ValueError):
            start, end = float(fields[2]), float(fields[3])
            if math.isfinite(start) and math.isfinite(end):
                return nfc(fields[0]), nfc(fields[1]), start, end
    raise CorpusError(f"{where} is not 'UTTERANCE RECORDING START END' with times in seconds: correct it.")
