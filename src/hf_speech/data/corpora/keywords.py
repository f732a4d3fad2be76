"""Keywords and negatives: a folder of clips for each keyword, and hours of other speech and noise.

Negatives are listed by split, because a false alarm rate on speech or speakers of the training split means little.
Long recordings are cut into pieces in the cache.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np

from hf_speech.common.ranges import Range
from hf_speech.data.audio import audio_info, read_audio
from hf_speech.data.corpora.base import SPLITS, duration_of
from hf_speech.data.corpora.excerpts import QUIET, Excerpt, cut, cut_folder, sound_bounds
from hf_speech.data.corpora.files import natural_key
from hf_speech.data.corpora.folder import Folder
from hf_speech.data.corpora.utterance import Utterance
from hf_speech.errors import AudioError, CorpusError

OTHER = "other"
"""The class of everything that is not a keyword; always the first class."""
PART_OF_A_WORD = (0.35, 0.6)
"""Range of the share of a keyword that is cut out as a negative."""
LENGTH_OF_A_WORD = 0.25
"""The quantile of the clip lengths of a keyword that serves as the length of the word."""


@dataclass(kw_only=True)
class Keywords(Folder):
    """Clips of keywords, in a subfolder for each keyword, and folders of other recordings.

    Args:
        data_dir: Folder or archive with one subfolder of clips for each keyword, or with train, validation and test
            folders that have one subfolder for each keyword.
        keywords: The subfolders that are keywords, null for all; clips in other subfolders are negatives.
        train_negatives: Folders of recordings without a keyword, such as other speech and noise, to train on.
        validation_negatives: Folders of recordings without a keyword, to choose thresholds on.
        test_negatives: Folders of recordings without a keyword, to count false alarms on.
        clip_copies: Number of times that each training clip of a keyword occurs in an epoch, augmented differently each
            time, to balance them with the negatives.
        negative_seconds: Maximum length of a piece of a negative recording.
        parts_as_negatives: Whether to use the first and the last half, approximately, of each training clip as
            negatives, so that a part of the keyword is not detected.
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
        """Returns the clips of the folder, split as in `Folder`, and the negatives of each split."""
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
        # To measure a model, negatives of the test split are enough.
        if not any(clip.label == OTHER for clips in splits.values() for clip in clips):
            raise CorpusError("There are no negatives: name folders of other speech as train_negatives.")
        return splits

    def label_names(self, labels: set[str]) -> list[str]:
        """Returns the class of negatives, followed by the keywords."""
        return [OTHER, *sorted(labels - {OTHER}, key=natural_key)]


def _parts(clips: list[Utterance]) -> list[Utterance]:
    """Returns the start and the end of each readable clip, each cut at a random position."""
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
    # Long clips include breath and noise, so a part of one could contain the whole word.
    word_lengths = {label: float(np.quantile(seconds, LENGTH_OF_A_WORD)) for label, seconds in lengths.items()}
    rng = np.random.default_rng(0)
    excerpts = []
    for label, path, start, end in sounds:
        first, last = rng.uniform(*PART_OF_A_WORD, size=2) * min(end - start, word_lengths[label])
        excerpts += [
            Excerpt(f"{path.stem}-begin", path, 0.0, start + first),
            Excerpt(f"{path.stem}-end", path, end - last, None),
        ]
    return [Utterance(path, label=OTHER, duration=duration_of(path)) for path in cut(excerpts)]
