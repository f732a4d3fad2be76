"""Base classes of the corpora, which all load as a `DatasetDict` with the same splits and columns.

Splits: train, validation, test. Columns: `audio` (path or bytes), `label` (ClassLabel) or `text` (string), `speaker`
(string, None if unknown) and `duration` (seconds, NaN if the header cannot be read; `inspection` reports the reason).

`audio` is a plain struct `{"path", "bytes"}` instead of an `Audio` feature, which would decode on access and needs
torchcodec with FFmpeg even to encode. All audio is decoded by `hf_speech.data.audio`.

The fields of a corpus class are the keys of the section `corpus` of a recipe, and its "Args:" are their help texts.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Protocol

from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from hf_speech.common.digests import digest_data
from hf_speech.common.progress import progress_bar
from hf_speech.common.ranges import Range, Seed
from hf_speech.common.text import counted, plural, printable
from hf_speech.data.audio import AudioSource, audio_info
from hf_speech.data.cache import cache_dir
from hf_speech.data.corpora.files import natural_key, unwrap
from hf_speech.data.corpora.splitting import describe_splits, hold_out
from hf_speech.data.corpora.utterance import Utterance
from hf_speech.data.download import extract, is_archive
from hf_speech.errors import AudioError, CorpusError

# All columns except the target.
COMMON_COLUMNS = frozenset({"id", "audio", "speaker", "duration", "corpus"})
AUDIO_FEATURE = {"path": Value("string"), "bytes": Value("binary")}
SPLITS = ("train", "validation", "test")
# The names of splits in folders, tables and datasets.
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}


class RowStream(Protocol):
    """A split that is streamed during training."""

    def rows(self, pass_number: int, process: tuple[int, int]) -> Iterator[dict[str, Any]]:
        """Yields the rows of one pass for this worker of this process; each row goes to exactly one worker.

        Args:
            pass_number: Number of the pass, from 0, which determines the order.
            process: The number of this process, and the number of processes.

        Yields:
            Rows with `audio` (path and bytes), and `label` or `text`.
        """


@dataclass(kw_only=True)
class Corpus(ABC):
    """A collection of recorded (or synthesized) utterances in three splits.

    Args:
        data_dir: Folder or archive (.zip, .tar.gz, ...) of the corpus.
        seed: Seed of all random choices, such as splits that the corpus does not define.
        min_duration: Minimum duration in seconds; a shorter utterance is a bad row.
        max_duration: Maximum duration in seconds; a longer utterance is a bad row.
        trust_archive: Whether the archive may unpack to more than 50 times its size.
        bad_rows: Whether bad rows (unreadable, empty, too short, too long) stop the run ("refuse") or are left out
            and reported ("skip").

    Attributes:
        name: The name of the corpus in recipes.
        title: The full name.
        homepage: The address of the description.
        license: The license.
        language: BCP-47 code of the spoken language.
        notes: Messages from `load`, such as about ignored files, one sentence each.
        caveats: Limitations of metrics on the corpus, such as speakers in two splits, one sentence each.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    homepage: ClassVar[str | None] = None
    license: ClassVar[str | None] = None
    language: ClassVar[str | None] = None

    data_dir: str | None = None
    seed: Seed = 0
    min_duration: Annotated[float, Range(0, 10**6)] = 0.1
    max_duration: Annotated[float, Range(0, 10**6)] = 30.0
    trust_archive: bool = False
    bad_rows: Literal["refuse", "skip"] = "refuse"

    notes: list[str] = field(default_factory=list, init=False, repr=False, compare=False)
    caveats: list[str] = field(default_factory=list, init=False, repr=False, compare=False)

    def lexicon(self) -> Path | None:
        """Returns the pronunciation dictionary of the corpus, or None if it has none."""
        return None

    @abstractmethod
    def load(self) -> DatasetDict:
        """Loads the corpus without decoding audio.

        Returns:
            The splits train, validation and test with the columns `audio`, `label` or `text`, `speaker`, `duration`.

        Raises:
            CorpusError: If the corpus is missing or has an unexpected layout.
        """

    def local_folders(self) -> set[str]:
        """Returns the folders of the corpus on this machine, which are removed from paths in reports."""
        return set() if self.data_dir is None else {str(Path(self.data_dir)), str(Path(self.data_dir).expanduser())}

    def limits(self, corpus: str | None = None) -> tuple[float, float]:
        """Returns the minimum and maximum duration of an utterance in seconds.

        Args:
            corpus: The value of a row's column `corpus`, in a mixture.
        """
        return self.min_duration, self.max_duration

    def train_stream(self, class_names: list[str] | None = None) -> RowStream | None:
        """Returns the training split as a stream, for a corpus too large for the disk, of which `load` reads a sample.

        Args:
            class_names: The classes in the order of their ids, in a corpus for classification.

        Returns:
            The stream, or None if training uses the rows of `load`.
        """
        return None

    def fetch(self) -> Path:
        """Downloads the corpus into the cache and verifies it, unless it is there already.

        Returns:
            The folder in the cache, where `load` finds the corpus without a `data_dir`.

        Raises:
            CorpusError: If the corpus has no archive, cannot be downloaded, or fails the verification.
        """
        raise CorpusError(
            f"The corpus {self.name!r} ({self.title}) has no archive to download: give your copy as --data_dir."
        )

    def folder(self) -> Path:
        """Returns the folder of the corpus: that of `data_dir` if set, else the downloaded one."""
        return self.fetch() if self.data_dir is None else self.open_data_dir()

    def note_unused(self, files: Sequence[object], noun: str, description: str, folder: Path) -> None:
        """Adds a note about unused files in the folder of the corpus, if there are any.

        Args:
            files: The files.
            noun: What they are, in the singular, such as "audio file".
            description: Words after the noun, such as "outside of the class folders"; may be empty.
            folder: The folder they are in.
        """
        if files:
            subject = f"{counted(len(files), noun)} {description}".rstrip()
            verb, example = plural(len(files), "was", "were"), printable(str(files[0]))
            self.notes.append(f"{subject} {verb} left out in {folder}, such as {example}.")

    def open_data_dir(self, hint: str = "") -> Path:
        """Returns the folder `data_dir`, unpacked into the cache if it is an archive.

        Args:
            hint: Added to the error message if `data_dir` is not set.

        Raises:
            CorpusError: If `data_dir` is not set, does not exist, or cannot be unpacked.
        """
        if self.data_dir is None:
            raise CorpusError(f"The corpus {self.name!r} needs a folder: give --data_dir{hint}.")
        path = Path(self.data_dir).expanduser()
        if path.is_dir():
            return path
        if not path.exists():
            raise CorpusError(f"{path} does not exist: give the folder or archive of the corpus as --data_dir.")
        if not is_archive(path):
            raise CorpusError(f"{path} is neither a folder nor an archive (.zip, .tar.gz): correct --data_dir.")
        state = path.stat()
        key = digest_data(str(path.resolve()), state.st_size, state.st_mtime_ns)[:16]
        folder = cache_dir() / "archives" / f"{path.name.split('.')[0]}-{key}"
        return unwrap(extract(path, folder, self.trust_archive))


@dataclass(kw_only=True)
class UserCorpus(Corpus):
    """A corpus provided by the user, with its metadata as options.

    Args:
        title: Name of the corpus, for the card.
        language: BCP-47 code of the spoken language, such as "en", for the card.
        license: Name of the license on the Hub, such as "cc-by-4.0", for the card.
        homepage: Address of the description, for the card.
        dataset: Name of the dataset on the Hugging Face Hub, such as "ann/words", for the card.
    """

    title: str | None = None  # type: ignore[misc, assignment]
    language: str | None = None  # type: ignore[misc]
    license: str | None = None  # type: ignore[misc]
    homepage: str | None = None  # type: ignore[misc]
    dataset: str | None = None


@dataclass(kw_only=True)
class ListedCorpus(Corpus):
    """A corpus that lists its utterances, from which `load` builds tables.

    Args:
        train_fraction: Share of the training utterances to train on, chosen at random and equal for each class, to
            measure the effect of more recordings.
    """

    train_fraction: Annotated[float, Range(above=0, at_most=1)] = 1.0

    @abstractmethod
    def splits(self) -> dict[str, list[Utterance]]:
        """Returns the utterances of train, validation and test, in a fixed order.

        Raises:
            CorpusError: If the corpus is missing or has an unexpected layout.
        """

    def load(self) -> DatasetDict:
        """Loads the utterances of `splits`, with durations from the headers."""
        self.notes.clear()
        self.caveats.clear()
        splits = self._with_valid_names(self.splits())
        if self.train_fraction < 1:
            _, splits["train"] = hold_out(splits["train"], self.train_fraction, self.seed, by_speaker=False)
        utterances = [utterance for split in SPLITS for utterance in splits[split]]
        if not utterances:
            where = "" if self.data_dir is None else f" in {self.data_dir}"
            raise CorpusError(f"The corpus {self.name!r} has no utterances{where}.")
        self.caveats += describe_splits(
            {split: [u.label for u in splits[split]] for split in SPLITS},
            {split: [u.speaker for u in splits[split]] for split in SPLITS},
        )
        self._measure(utterances)
        names = self.label_names({u.label for u in utterances if u.label is not None})
        target = {"label": ClassLabel(names=names)} if names else {"text": Value("string")}
        return DatasetDict({split: _to_dataset(splits[split], target) for split in SPLITS})

    def label_names(self, labels: set[str]) -> list[str]:
        """Returns the classes in the order of their ids: numbers by value, words alphabetically."""
        return sorted(labels, key=natural_key)

    def reject(self, reasons: Sequence[str]) -> None:
        """Raises an error for utterances that cannot be listed, or adds a note, depending on `bad_rows`.

        Args:
            reasons: The reason for each utterance, a sentence without its full stop.
        """
        if not reasons:
            return
        utterances = counted(len(reasons), "utterance")
        if self.bad_rows == "refuse":
            raise CorpusError(
                f"{utterances} of the corpus {self.name!r} {plural(len(reasons), 'is', 'are')} bad, such as: "
                f"{reasons[0]}; correct such utterances, or leave them out with bad_rows: skip."
            )
        self.notes.append(f"{utterances} {plural(len(reasons), 'was', 'were')} left out, such as: {reasons[0]}.")

    def _with_valid_names(self, splits: dict[str, list[Utterance]]) -> dict[str, list[Utterance]]:
        """Returns the utterances whose names are valid UTF-8, and rejects the others."""
        invalid = [printable(str(u.audio)) for split in SPLITS for u in splits[split] if not _has_valid_names(u)]
        self.reject([f"{name} has a name that is not UTF-8, so that it has to be renamed" for name in invalid])
        return {split: [u for u in splits[split] if _has_valid_names(u)] for split in SPLITS} if invalid else splits

    def _measure(self, utterances: list[Utterance]) -> None:
        """Sets the missing durations from the headers."""
        unknown = [utterance for utterance in utterances if utterance.duration is None]
        for utterance in progress_bar(unknown, desc=f"{self.name}: headers", unit="file", delay=1, leave=False):
            utterance.duration = duration_of(utterance.audio)


def duration_of(audio: AudioSource) -> float:
    """Returns the duration in seconds from the header, or NaN if it cannot be read; the inspection reports why."""
    try:
        return audio_info(audio).duration
    except AudioError:
        return math.nan


def target_column(rows: Dataset) -> str | None:
    """Returns the name of the target column of a split, or None if there is none."""
    return next((name for name in rows.column_names if name not in COMMON_COLUMNS), None)


def row_features(target: str, feature: Any) -> Features:
    """Returns the features of a split with the given target column."""
    others = {"speaker": Value("string"), "duration": Value("float64")}
    return Features({"audio": AUDIO_FEATURE, target: feature, **others})


def _has_valid_names(utterance: Utterance) -> bool:
    """Returns whether path, target and speaker can be encoded as UTF-8."""
    path = utterance.audio if isinstance(utterance.audio, Path) else utterance.audio.get("path")
    for name in (path, utterance.label, utterance.text, utterance.speaker):
        try:
            str(name or "").encode()
        except UnicodeEncodeError:
            return False
    return True


def _to_dataset(utterances: list[Utterance], target: dict[str, Any]) -> Dataset:
    """Returns the table of one split."""
    ((column, feature),) = target.items()
    values = [getattr(utterance, column) for utterance in utterances]
    audio = [
        {"path": str(u.audio), "bytes": None}
        if isinstance(u.audio, Path)
        else {"path": u.audio.get("path"), "bytes": u.audio.get("bytes")}
        for u in utterances
    ]
    if isinstance(feature, ClassLabel):
        values = [None if value is None else feature.str2int(value) for value in values]
    columns = {"speaker": [u.speaker for u in utterances], "duration": [u.duration for u in utterances]}
    return Dataset.from_dict({"audio": audio, column: values} | columns, features=row_features(column, feature))
