"""What every corpus gives: a `DatasetDict` with the same splits and columns, wherever it came from.

Splits: train, validation, test. Columns: `audio` (path or bytes), `label` (ClassLabel) or `text` (string), `speaker`
(string, None where unknown) and `duration` (seconds, NaN where the header cannot be read: `inspection` says why).

`audio` is a plain struct `{"path", "bytes"}` and not an `Audio` feature: that one decodes on access, and even encoding
it needs torchcodec with FFmpeg. Sound is decoded in one place, `hf_speech.data.audio`.

The fields of a corpus class are the keys of a recipe's section `corpus`, and its "Args:" their help.
"""

from __future__ import annotations

import hashlib
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from tqdm.auto import tqdm

from hf_speech.data.audio import AudioSource, audio_info
from hf_speech.data.cache import cache_dir
from hf_speech.data.download import extract, is_archive
from hf_speech.errors import AudioError, CorpusError

# The columns of every corpus; the one beside them is the target.
COMMON_COLUMNS = frozenset({"id", "audio", "speaker", "duration"})
AUDIO_FEATURE = {"path": Value("string"), "bytes": Value("binary")}
SPLITS = ("train", "validation", "test")
# What folders, tables and datasets call them.
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

# What FFmpeg alone reads is among them, so that such a file is reported rather than overlooked.
AUDIO_SUFFIXES = frozenset(
    f".{suffix}"
    for suffix in (
        *("wav", "wave", "flac", "ogg", "oga", "opus", "mp3", "sph", "nist", "aif", "aiff", "aifc", "au", "caf", "w64"),
        *("m4a", "mp4", "aac", "webm", "wma", "amr"),
    )
)


@dataclass(slots=True)
class Utterance:
    """One row of a corpus before it becomes a table.

    Args:
        audio: A path, or a row `{"path", "bytes"}`.
        label: Name of the class, in a corpus for classification.
        text: What is said, in a corpus for transcription.
        speaker: Who says it, if known.
        duration: Length in seconds, if known without reading the file.
    """

    audio: Path | Mapping[str, Any]
    label: str | None = None
    text: str | None = None
    speaker: str | None = None
    duration: float | None = None


class RowStream(Protocol):
    """A split that is read while training."""

    def rows(self, pass_number: int, process: tuple[int, int]) -> Iterator[dict[str, Any]]:
        """One pass over the split: each row in one worker of one process, in an order of this pass.

        Args:
            pass_number: Number of the pass, from 0.
            process: Number of this process, and of all of them.

        Yields:
            Rows with `audio` (path and bytes), and `label` or `text`.
        """


@dataclass(kw_only=True)
class Corpus(ABC):
    """A collection of recorded (or synthesized) utterances in three splits.

    Args:
        data_dir: Folder or archive (.zip, .tar.gz, ...) that holds the corpus.
        seed: Seed of every random choice, such as splits that the corpus does not come with.
        min_duration: Seconds below which an utterance is a bad row.
        max_duration: Seconds above which an utterance is a bad row.
        bad_rows: Whether bad rows (unreadable, empty, too short, too long) stop the run ("refuse") or are left out
            and reported ("skip").

    Attributes:
        name: What recipes call it.
        title: Its full name.
        homepage: Where it is described.
        license: Under what terms it may be used.
        language: BCP-47 code of what is spoken.
        notes: What `load` has to say about the corpus, such as files it left aside, one sentence each.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    homepage: ClassVar[str | None] = None
    license: ClassVar[str | None] = None
    language: ClassVar[str | None] = None

    data_dir: str | None = None
    seed: int = 0
    min_duration: float = 0.1
    max_duration: float = 30.0
    bad_rows: Literal["refuse", "skip"] = "refuse"

    def lexicon(self) -> Path | None:
        """The pronouncing dictionary that comes with the corpus, if one does."""
        return None

    notes: list[str] = field(default_factory=list, init=False, repr=False, compare=False)

    @abstractmethod
    def load(self) -> DatasetDict:
        """Load the corpus, without decoding any sound.

        Returns:
            The splits train, validation and test with the columns `audio`, `label` or `text`, `speaker`, `duration`.

        Raises:
            CorpusError: If the corpus is not there or not in its layout.
        """

    def train_stream(self, class_names: list[str] | None = None) -> RowStream | None:
        """The training split as a stream, for a corpus too large for the disk whose `load` gives a sample of it.

        Args:
            class_names: The classes in the order of their ids, in a corpus for classification.

        Returns:
            The stream, or None if training is to hear what `load` gives.
        """
        return None

    def fetch(self) -> Path:
        """Download the corpus into the cache, once and verified; what is there already is left as it is.

        Returns:
            The folder in the cache where it lies, and where `load` finds it without a `data_dir`.

        Raises:
            CorpusError: If the corpus does not come from one address, cannot be reached, or is not what was expected.
        """
        raise CorpusError(
            f"The corpus {self.name!r} ({self.title}) has no archive to download: give what you have as --data_dir."
        )

    def open_data_dir(self, hint: str = "") -> Path:
        """The folder that `data_dir` means, unpacked into the cache if it is an archive.

        Args:
            hint: End of the error's sentence where `data_dir` is not given.

        Raises:
            CorpusError: If it is not given, does not exist, or cannot be unpacked.
        """
        if self.data_dir is None:
            raise CorpusError(f"The corpus {self.name!r} needs to know where it is: give --data_dir{hint}.")
        path = Path(self.data_dir).expanduser()
        if path.is_dir():
            return path
        if not path.exists():
            raise CorpusError(f"{path} does not exist: give the folder or archive of the corpus as --data_dir.")
        if not is_archive(path):
            raise CorpusError(f"{path} is neither a folder nor an archive (.zip, .tar.gz): correct --data_dir.")
        state = path.stat()
        key = hashlib.sha256(f"{path.resolve()} {state.st_size} {state.st_mtime_ns}".encode()).hexdigest()[:16]
        return unwrap(extract(path, cache_dir() / "archives" / f"{path.name.split('.')[0]}-{key}"))


@dataclass(kw_only=True)
class ListedCorpus(Corpus):
    """A corpus that can list its utterances, which `load` makes into tables."""

    @abstractmethod
    def splits(self) -> dict[str, list[Utterance]]:
        """The utterances of train, validation and test, in a fixed order.

        Raises:
            CorpusError: If the corpus is not there or not in its layout.
        """

    def load(self) -> DatasetDict:
        """Load the corpus: the utterances of `splits`, with their durations from the headers."""
        self.notes.clear()
        splits = self.splits()
        everything = [utterance for split in SPLITS for utterance in splits[split]]
        if not everything:
            raise CorpusError(f"The corpus {self.name!r} has no utterances{self._where()}.")
        self._measure(everything)
        names = self.label_names({u.label for u in everything if u.label is not None})
        target = {"label": ClassLabel(names=names)} if names else {"text": Value("string")}
        return DatasetDict({split: _to_dataset(splits[split], target) for split in SPLITS})

    def label_names(self, labels: set[str]) -> list[str]:
        """The classes in the order of their ids: numbers by value, words by the alphabet.

        Args:
            labels: The classes that occur in any split.
        """
        return sorted(labels, key=natural_key)

    def reject(self, reasons: Sequence[str]) -> None:
        """Refuse utterances that cannot even be listed, or leave them out with a note, as `bad_rows` says.

        Args:
            reasons: Why, a sentence without its full stop for each.

        Raises:
            CorpusError: If there are any and `bad_rows` is "refuse".
        """
        if not reasons:
            return
        if self.bad_rows == "refuse":
            raise CorpusError(
                f"{len(reasons):,} utterances of the corpus {self.name!r} are bad, such as: {reasons[0]}; correct "
                "them, or leave them out with bad_rows: skip."
            )
        self.notes.append(f"{len(reasons):,} utterances were left out, such as: {reasons[0]}.")

    def _where(self) -> str:
        return "" if self.data_dir is None else f" in {self.data_dir}"

    def _measure(self, utterances: list[Utterance]) -> None:
        """Fill in the durations that are not known yet, from the headers."""
        unknown = [utterance for utterance in utterances if utterance.duration is None]
        for utterance in tqdm(unknown, desc=f"{self.name}: headers", unit="file", delay=1, leave=False):
            utterance.duration = duration_of(utterance.audio)


def duration_of(audio: AudioSource) -> float:
    """The length in seconds by the header, NaN where it cannot be read: the inspection will say why."""
    try:
        return audio_info(audio).duration
    except AudioError:
        return math.nan


def target_column(rows: Dataset) -> str | None:
    """The column of a split that is to be predicted, whatever it is; None if there is none."""
    return next((name for name in rows.column_names if name not in COMMON_COLUMNS), None)


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """A sorting key that puts "2" before "10" and leaves everything else to the alphabet."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]


def is_hidden(relative: Path) -> bool:
    """Whether a path below a corpus is hidden, or in a resource folder that macOS puts into zip archives."""
    return any(part.startswith(".") or part == "__MACOSX" for part in relative.parts)


def visible(paths: Iterable[Path]) -> list[Path]:
    """The paths of one folder in natural order, without the hidden ones."""
    return sorted((path for path in paths if not is_hidden(Path(path.name))), key=lambda path: natural_key(path.name))


def unwrap(folder: Path) -> Path:
    """The one folder inside that many archives consist of, or the folder itself."""
    inside = visible(folder.iterdir())
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else folder


def _to_dataset(utterances: list[Utterance], target: dict[str, Any]) -> Dataset:
    """Make a table of one split."""
    (column, feature) = next(iter(target.items()))
    values = [getattr(utterance, column) for utterance in utterances]
    audio = [
        {"path": str(u.audio), "bytes": None}
        if isinstance(u.audio, Path)
        else {"path": u.audio.get("path"), "bytes": u.audio.get("bytes")}
        for u in utterances
    ]
    features = Features(
        {
            "audio": AUDIO_FEATURE,
            column: feature,
            "speaker": Value("string"),
            "duration": Value("float64"),
        }
    )
    rows = {
        "audio": audio,
        column: [None if value is None else feature.str2int(value) for value in values]
        if isinstance(feature, ClassLabel)
        else values,
        "speaker": [utterance.speaker for utterance in utterances],
        "duration": [utterance.duration for utterance in utterances],
    }
    return Dataset.from_dict(rows, features=features)
