"""LibriSpeech: a thousand hours of read audiobooks at 16 kHz, in official subsets that share no speakers.

A split consists of one or more subsets, `LibriSpeech/SUBSET/SPEAKER/CHAPTER/` with flac files and a `.trans.txt` file,
as in the archives of OpenSLR and in the folders of `torchaudio.datasets.LIBRISPEECH`. Without a `data_dir`, only the
subsets of the recipe are downloaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from hf_speech.data.corpora.base import SPLITS, ListedCorpus
from hf_speech.data.corpora.fetching import fetch_archive
from hf_speech.data.corpora.files import AUDIO_SUFFIXES, natural_key, visible, walk_files
from hf_speech.data.corpora.lines import read_pairs
from hf_speech.data.corpora.utterance import Utterance
from hf_speech.errors import CorpusError, nearest

URL = "https://www.openslr.org/resources/12/{}.tar.gz"
MINI_URL = "https://www.openslr.org/resources/31/{}.tar.gz"
# Mini LibriSpeech (five and two hours for quick experiments) has a different address.
MINI = ("train-clean-5", "dev-clean-2")
# SHA-256 of the archive of each subset, if known.
SUBSETS: dict[str, str | None] = {
    "train-clean-5": None,
    "dev-clean-2": None,
    "train-clean-100": "d4ddd1d5a6ab303066f14971d768ee43278a5f2a0aa43dc716b0e64ecbbbf6e2",
    "train-clean-360": "146a56496217e96c14334a160df97fffedd6e0a04e66b9c5af0d40be3c792ecf",
    "train-other-500": "ddb22f27f96ec163645d53215559df6aa36515f26e01dd70798188350adcb6d2",
    "dev-clean": "76f87d090650617fca0cac8f88b9416e0ebf80350acb97b343a85fa903728ab3",
    "dev-other": "12661c48e8c3fe1de2c1caa4c3e135193bfb1811584f11f569dd12645aa84365",
    "test-clean": "39fde525e59672dc6d1551919b1478f724438a95aa55f874b576be21967e6c23",
    "test-other": "d09c181bba5cf717b3dee7d4d592af11a3ee3a09e08ae025c5506f6ebe961c29",
}


@dataclass(kw_only=True)
class LibriSpeech(ListedCorpus):
    """LibriSpeech.

    Args:
        data_dir: The folder LibriSpeech, its parent, or the archive of a subset; downloaded if not given.
        train_subsets: Subsets to train on: train-clean-5 (Mini LibriSpeech), train-clean-100, train-clean-360,
            train-other-500, or any other folder with this layout.
        validation_subsets: Subsets to validate on: dev-clean-2 (Mini LibriSpeech), dev-clean, dev-other.
        test_subsets: Subsets to test on: test-clean, test-other.
        validation_speakers: Numbers of speakers of the training subsets to use for validation instead.
        max_duration: Maximum duration in seconds; a longer utterance is a bad row. The longest one of LibriSpeech lasts
            35.2 s.
    """

    name: ClassVar[str] = "librispeech"
    title: ClassVar[str] = "LibriSpeech"
    homepage: ClassVar[str | None] = "https://www.openslr.org/12/"
    license: ClassVar[str | None] = "cc-by-4.0"
    language: ClassVar[str | None] = "en"

    train_subsets: list[str] = field(default_factory=lambda: ["train-clean-100"])
    validation_subsets: list[str] = field(default_factory=lambda: ["dev-clean"])
    test_subsets: list[str] = field(default_factory=lambda: ["test-clean"])
    validation_speakers: list[str] = field(default_factory=list)
    max_duration: float = 36.0

    def splits(self) -> dict[str, list[Utterance]]:
        """Returns the utterances of the subsets of each split."""
        subsets = self._subsets()
        all_names = [name for names in subsets.values() for name in names]
        if duplicates := [name for name in all_names if all_names.count(name) > 1]:
            raise CorpusError(
                f"The subset {duplicates[0]!r} of LibriSpeech is listed twice: list it once, in one split."
            )
        folders = self._find(all_names)
        splits = {split: [u for name in names for u in _read_subset(folders[name])] for split, names in subsets.items()}
        self._move_to_validation(splits)
        for name in all_names:
            others = [path for path in walk_files(folders[name]) if path.suffix.lower() not in AUDIO_SUFFIXES]
            stray = [path.name for path in others if not path.name.endswith(".trans.txt")]
            self.note_unused(stray, "unexpected file", "", folders[name])
        return splits

    def _move_to_validation(self, splits: dict[str, list[Utterance]]) -> None:
        """Moves the utterances of `validation_speakers` from the training to the validation split."""
        selected = {str(speaker) for speaker in self.validation_speakers}
        speakers = sorted({utterance.speaker or "" for utterance in splits["train"]}, key=natural_key)
        for speaker in sorted(selected.difference(speakers)):
            raise CorpusError(
                f"The training subsets of LibriSpeech have no speaker {speaker!r}: {nearest(speaker, speakers)}"
            )
        splits["validation"] += [utterance for utterance in splits["train"] if utterance.speaker in selected]
        splits["train"] = [utterance for utterance in splits["train"] if utterance.speaker not in selected]

    def fetch(self) -> Path:
        """Downloads the subsets of the recipe and returns the folder that contains a folder for each of them."""
        folders = [fetch_subset(name) for name in self._check([n for names in self._subsets().values() for n in names])]
        return folders[0].parent.parent

    def _subsets(self) -> dict[str, list[str]]:
        return dict(zip(SPLITS, (self.train_subsets, self.validation_subsets, self.test_subsets), strict=True))

    def _check(self, subsets: list[str]) -> list[str]:
        """Returns the names, and raises `CorpusError` if one cannot be downloaded."""
        for name in subsets:
            if name not in SUBSETS:
                raise CorpusError(f"LibriSpeech has no subset {name!r} to download: {nearest(name, SUBSETS)}")
        return subsets

    def _find(self, subsets: list[str]) -> dict[str, Path]:
        """Returns the folders of subsets, and raises `CorpusError` if one is missing."""
        if self.data_dir is None:
            return {name: fetch_subset(name) / name for name in self._check(subsets)}
        root = self.open_data_dir()
        root = root / "LibriSpeech" if (root / "LibriSpeech").is_dir() else root
        for name in subsets:
            if not (root / name).is_dir():
                existing = [path.name for path in visible(root.iterdir()) if path.is_dir()]
                hint = nearest(name, existing) if existing else "it has no folders."
                raise CorpusError(f"{root} has no subset {name!r} of LibriSpeech: {hint}")
        return {name: root / name for name in subsets}


def fetch_subset(name: str) -> Path:
    """Downloads a subset into the cache, unless it is there already.

    Returns:
        The folder LibriSpeech that contains the subset.
    """
    url = (MINI_URL if name in MINI else URL).format(name)
    return fetch_archive(f"The subset {name!r} of LibriSpeech", f"librispeech/{name}", [url], sha256=SUBSETS[name])


def _read_subset(folder: Path) -> list[Utterance]:
    """Returns all utterances of a subset, by speaker and chapter."""
    speakers = [path for path in visible(folder.iterdir()) if path.is_dir()]
    chapters = [path for speaker in speakers for path in visible(speaker.iterdir()) if path.is_dir()]
    utterances = [utterance for chapter in chapters for utterance in _read_chapter(chapter)]
    if not utterances:
        raise CorpusError(f"{folder} has no SPEAKER/CHAPTER folders with recordings: give the complete subset.")
    return utterances


def _read_chapter(folder: Path) -> Iterator[Utterance]:
    """Yields the utterances of a chapter, including those without a recording or transcript, for the inspection."""
    recordings = {path.stem: path for path in visible(folder.iterdir()) if path.suffix.lower() in AUDIO_SUFFIXES}
    transcripts = sorted(folder.glob("*.trans.txt"))
    texts = {name: text for path in transcripts for name, text in read_pairs(path).items()}
    for name in dict.fromkeys([*texts, *recordings]):
        audio = recordings.get(name, folder / f"{name}.flac")
        yield Utterance(audio, text=texts.get(name) or None, speaker=folder.parent.name)
