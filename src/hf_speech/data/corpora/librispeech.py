"""LibriSpeech: a thousand hours of read audiobooks at 16 kHz, in official subsets that share no speakers.

A split is one or several subsets, `LibriSpeech/SUBSET/SPEAKER/CHAPTER/` with flac files and one `.trans.txt`, as the
archives of OpenSLR unpack and as `torchaudio.datasets.LIBRISPEECH` leaves them. Without a `data_dir` the subsets of the
recipe, and no others, are downloaded.
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
# Mini LibriSpeech, five and two hours for quick experiments, is a resource of its own.
MINI = ("train-clean-5", "dev-clean-2")
# SHA-256 of the archive of each subset, where it is known.
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
            train-other-500, or any other folder of this layout.
        validation_subsets: Subsets to validate on: dev-clean-2 (Mini LibriSpeech), dev-clean, dev-other.
        test_subsets: Subsets to test on: test-clean, test-other.
        validation_speakers: Numbers of speakers of the training subsets who are kept for validation instead.
        max_duration: Seconds above which an utterance is a bad row; the longest of LibriSpeech lasts 35.2 s.
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
        """The subsets of each split, one after the other."""
        subsets = self._subsets()
        wanted = [name for names in subsets.values() for name in names]
        if twice := [name for name in wanted if wanted.count(name) > 1]:
            raise CorpusError(f"The subset {twice[0]!r} of LibriSpeech is asked for twice: give it to one split, once.")
        folders = self._find(wanted)
        splits = {split: [u for name in names for u in _read_subset(folders[name])] for split, names in subsets.items()}
        self._keep_for_validation(splits)
        for name in wanted:
            others = [path for path in walk_files(folders[name]) if path.suffix.lower() not in AUDIO_SUFFIXES]
            stray = [path.name for path in others if not path.name.endswith(".trans.txt")]
            self.note_aside(stray, "stray files", folders[name])
        return splits

    def _keep_for_validation(self, splits: dict[str, list[Utterance]]) -> None:
        """Moves the recipe's validation speakers from the training split to the validation split."""
        kept = {str(speaker) for speaker in self.validation_speakers}
        there = sorted({utterance.speaker or "" for utterance in splits["train"]}, key=natural_key)
        for speaker in sorted(kept.difference(there)):
            raise CorpusError(
                f"The training subsets of LibriSpeech have no speaker {speaker!r}: {nearest(speaker, there)}"
            )
        splits["validation"] += [utterance for utterance in splits["train"] if utterance.speaker in kept]
        splits["train"] = [utterance for utterance in splits["train"] if utterance.speaker not in kept]

    def fetch(self) -> Path:
        """The subsets of the recipe, in the cache, each in a folder of its name."""
        folders = [fetch_subset(name) for name in self._check([n for names in self._subsets().values() for n in names])]
        return folders[0].parent.parent

    def _subsets(self) -> dict[str, list[str]]:
        return dict(zip(SPLITS, (self.train_subsets, self.validation_subsets, self.test_subsets), strict=True))

    def _check(self, subsets: list[str]) -> list[str]:
        """The names given, all of which can be downloaded."""
        for name in subsets:
            if name not in SUBSETS:
                raise CorpusError(f"LibriSpeech has no subset {name!r} to download: {nearest(name, SUBSETS)}")
        return subsets

    def _find(self, subsets: list[str]) -> dict[str, Path]:
        """The folders of subsets, all of which are known to be there before the first is read."""
        if self.data_dir is None:
            return {name: fetch_subset(name) / name for name in self._check(subsets)}
        root = self.open_data_dir()
        root = root / "LibriSpeech" if (root / "LibriSpeech").is_dir() else root
        for name in subsets:
            if not (root / name).is_dir():
                there = [path.name for path in visible(root.iterdir()) if path.is_dir()]
                hint = nearest(name, there) if there else "it has no folders."
                raise CorpusError(f"{root} has no subset {name!r} of LibriSpeech: {hint}")
        return {name: root / name for name in subsets}


def fetch_subset(name: str) -> Path:
    """Download a subset into the cache, once.

    Returns:
        The folder LibriSpeech that holds it.
    """
    url = (MINI_URL if name in MINI else URL).format(name)
    return fetch_archive(f"The subset {name!r} of LibriSpeech", f"librispeech/{name}", [url], sha256=SUBSETS[name])


def _read_subset(folder: Path) -> list[Utterance]:
    """All utterances of a subset, speaker by speaker and chapter by chapter."""
    speakers = [path for path in visible(folder.iterdir()) if path.is_dir()]
    chapters = [path for speaker in speakers for path in visible(speaker.iterdir()) if path.is_dir()]
    utterances = [utterance for chapter in chapters for utterance in _read_chapter(chapter)]
    if not utterances:
        raise CorpusError(f"{folder} has no SPEAKER/CHAPTER folders with recordings: give the whole subset.")
    return utterances


def _read_chapter(folder: Path) -> Iterator[Utterance]:
    """Yield what is transcribed, and what is recorded without a transcript, for the inspection to report."""
    sounds = {path.stem: path for path in visible(folder.iterdir()) if path.suffix.lower() in AUDIO_SUFFIXES}
    listed = sorted(folder.glob("*.trans.txt"))
    texts = {name: text for path in listed for name, text in read_pairs(path).items()}
    for name in dict.fromkeys([*texts, *sounds]):
        audio = sounds.get(name, folder / f"{name}.flac")
        yield Utterance(audio, text=texts.get(name) or None, speaker=folder.parent.name)
