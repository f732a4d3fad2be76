"""Keywords and negatives: clips of each keyword in a folder, and hours of other speech and noise.

The negatives are listed by split, because a rate of false alarms means little on speech or speakers of the training
split. Long recordings are cut into pieces, in the cache.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np

from hf_speech.common.ranges import Range
from hf_speech.data.audio import audio_info, read_audio
from hf_speech.data.corpora.base import SPLITS, duration_of
from hf_speech.data.corpora.files import natural_key
from hf_speech.data.corpora.folder import Folder
from hf_speech.data.corpora.stretches import QUIET, Stretch, cut, cut_folder, sound_bounds
from hf_speech.data.corpora.utterance import Utterance
from hf_speech.errors import AudioError, CorpusError

OTHER = "other"
"""The class of what is no keyword; always the first."""
PART_OF_A_WORD = (0.35, 0.6)
"""The share of a keyword's sound that its beginning or end has, as a negative."""
LENGTH_OF_A_WORD = 0.25
"""The quantile of the lengths of the clips of a keyword that is taken for the length of the word."""


@dataclass(kw_only=True)
class Keywords(Folder):
    """Clips of keywords, in one sub-folder for each, and folders of other recordings.

    Args:
        data_dir: Folder or archive with one sub-folder of clips for each keyword, or with train, validation and test
            folders that have one sub-folder for each keyword.
        keywords: The sub-folders that are keywords, null for all; clips of the others are negatives.
        train_negatives: Folders of recordings without a keyword to train on, such as other speech and noise.
        validation_negatives: Folders of recordings without a keyword to choose thresholds on.
        test_negatives: Folders of recordings without a keyword to count false alarms on.
        clip_copies: How often each training clip of a keyword occurs in an epoch, each time varied anew, so that there
            are as many of them as of negatives.
        negative_seconds: Longest piece of a negative recording.
        parts_as_negatives: Whether the beginning and the end of each training clip, each of about half of the keyword,
            are negatives, so that a part of it is not detected.
    """

    name: ClassVar[str] = "keywords"

    title: str | None = "clips of keywords"  # type: ignore[misc]
    keywords: list[str] | None = None
    train_negatives: list[str] | None = None
    validation_negatives: list[str] | None = None
    test_negatives: list[str] | None = None
    clip_copies: Annotated[int, Range(1, 1000)] = 1
    negative_seconds: Annotated[float, Range(1, 600)] = 15.0
    parts_as_negatives: bool = False

    def splits(self) -> dict[str, list[Utterance]]:
        """The clips of the folder, split as by `Folder`, and the negatives of each split."""
        splits = super().splits()
        found = {clip.label for clips in splits.values() for clip in clips}
        if missing := sorted(set(self.keywords or ()) - found):
            raise CorpusError(f"There is no folder of clips of {missing[0]!r} in {self.data_dir}: correct keywords.")
        for clips in splits.values():
            for clip in clips:
                if self.keywords is not None and clip.label not in self.keywords:
                    clip.label = OTHER
        clips = [clip for clip in splits["train"] if clip.label != OTHER]
        if self.parts_as_negatives:
            splits["train"] += _parts(clips)
        splits["train"] += [replace(clip) for _ in range(self.clip_copies - 1) for clip in clips]
        for split in SPLITS:
            for folder in getattr(self, key := f"{split}_negatives") or ():
                pieces = cut_folder(folder, self.negative_seconds, key)
                splits[split] += [Utterance(path, label=OTHER, duration=seconds) for path, seconds in pieces]
        if not any(clip.label == OTHER for clip in splits["train"]):
            raise CorpusError("There are no negatives: name folders of other speech as train_negatives.")
        return splits

    def label_names(self, labels: set[str]) -> list[str]:
        """The keywords, after the class of everything else."""
        return [OTHER, *sorted(labels - {OTHER}, key=natural_key)]


def _parts(clips: list[Utterance]) -> list[Utterance]:
    """The beginning and the end of the sound of each clip that can be read, each cut at a random place."""
    sounds: list[tuple[str | None, Path, float, float]] = []
    lengths: dict[str | None, list[float]] = {}
    for clip in clips:
        assert isinstance(clip.audio, Path)
        try:
            rate = audio_info(clip.audio).sampling_rate
            start, end = (sample / rate for sample in sound_bounds(read_audio(clip.audio, rate), rate, QUIET))
        except AudioError:  # The inspection reports the clip.
            continue
        sounds.append((clip.label, clip.audio, start, end))
        lengths.setdefault(clip.label, []).append(end - start)
    # Breath and noise around a word count as its sound, so a part of a long clip may have the whole word.
    longest = {label: float(np.quantile(seconds, LENGTH_OF_A_WORD)) for label, seconds in lengths.items()}
    rng = np.random.default_rng(0)
    stretches = []
    for label, path, start, end in sounds:
        first, last = rng.uniform(*PART_OF_A_WORD, size=2) * min(end - start, longest[label])
        stretches += [
            Stretch(f"{path.stem}-begin", path, 0.0, start + first),
            Stretch(f"{path.stem}-end", path, end - last, None),
        ]
    return [Utterance(path, label=OTHER, duration=duration_of(path)) for path in cut(stretches)]
