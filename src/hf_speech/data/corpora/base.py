"""Base classes of the corpora: each loads as a `DatasetDict` with the same splits and columns.

Splits: train, validation, test. Columns: `audio` (path or bytes), `label` (ClassLabel) or `text` (string), `speaker`
(string, None where unknown) and `duration` (seconds, NaN where the header cannot be read: `inspection` says why).

`audio` is a plain struct `{"path", "bytes"}` and not an `Audio` feature: that one decodes on access, and even encoding
it needs torchcodec with FFmpeg. Sound is decoded in one place, `hf_speech.data.audio`.

The fields of a corpus class are the keys of a recipe's section `corpus`, and its "Args:" their help.
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
from hf_speech.common.text import printable
from hf_speech.data.audio import AudioSource, audio_info
from hf_speech.data.cache import cache_dir
from hf_speech.data.corpora.files import natural_key, unwrap
from hf_speech.data.corpora.splitting import choose, describe_splits
from hf_speech.data.corpora.utterance import Utterance
from hf_speech.data.download import extract, is_archive
from hf_speech.errors import AudioError, CorpusError

# The columns of every corpus; the remaining one is the target.
COMMON_COLUMNS = frozenset({"id", "audio", "speaker", "duration", "corpus"})
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
        trust_archive: Whether the archive may unpack to more than 50 times its size.
        bad_rows: Whether bad rows (unreadable, empty, too short, too long) stop the run ("refuse") or are left out
            and reported ("skip").

    Attributes:
        name: What recipes call it.
        title: Its full name.
        homepage: Where it is described.
        license: Under what terms it may be used.
        language: BCP-47 code of the spoken language.
        notes: Findings of `load`, such as files it ignored, one sentence each.
        caveats: Limits of metrics on the corpus, such as speakers in two splits, one sentence each.
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
        """The pronouncing dictionary that comes with the corpus, if one does."""
        return None

    @abstractmethod
    def load(self) -> DatasetDict:
        """Load the corpus, without decoding any sound.

        Returns:
            The splits train, validation and test with the columns `audio`, `label` or `text`, `speaker`, `duration`.

        Raises:
            CorpusError: If the corpus is not there or not in its layout.
        """

    def local_folders(self) -> set[str]:
        """The folders that `data_dir` names, which records of a training leave out of paths."""
        return set() if self.data_dir is None else {str(Path(self.data_dir)), str(Path(self.data_dir).expanduser())}

    def limits(self, corpus: str | None = None) -> tuple[float, float]:
        """The shortest and the longest utterance in seconds.

        Args:
            corpus: The value of a row's column `corpus`, where several corpora are mixed.
        """
        return self.min_duration, self.max_duration

    def train_stream(self, class_names: list[str] | None = None) -> RowStream | None:
        """The training split as a stream, for a corpus too large for the disk whose `load` gives a sample of it.

        Args:
            class_names: The classes in the order of their ids, in a corpus for classification.

        Returns:
            The stream, or None if training reads what `load` gives.
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

    def folder(self) -> Path:
        """The folder of the corpus: what `data_dir` means, or else what `fetch` downloads."""
        return self.fetch() if self.data_dir is None else self.open_data_dir()

    def note_aside(self, files: Sequence[object], what: str, folder: Path) -> None:
        """Add a note about files of the corpus that are not used, if there are any."""
        if files:
            self.notes.append(f"{len(files):,} {what} were left out in {folder}, such as {printable(str(files[0]))}.")

    def open_data_dir(self, hint: str = "") -> Path:
        """The folder that `data_dir` means, unpacked into the cache if it is an archive.

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
        key = digest_data(str(path.resolve()), state.st_size, state.st_mtime_ns)[:16]
        folder = cache_dir() / "archives" / f"{path.name.split('.')[0]}-{key}"
        return unwrap(extract(path, folder, self.trust_archive))


@dataclass(kw_only=True)
class OwnCorpus(Corpus):
    """A corpus of the user's own, of which the recipe may say what other corpora know of themselves.

    Args:
        title: Its name, for the card.
        language: BCP-47 code of what is spoken, such as "en", for the card.
        license: Under what terms it may be used, as the Hub names them, such as "cc-by-4.0", for the card.
        homepage: Address where it is described, for the card.
        dataset: Its name on the Hugging Face Hub, such as "ann/words", for the card.
    """

    title: str | None = None  # type: ignore[misc, assignment]
    language: str | None = None  # type: ignore[misc]
    license: str | None = None  # type: ignore[misc]
    homepage: str | None = None  # type: ignore[misc]
    dataset: str | None = None


@dataclass(kw_only=True)
class ListedCorpus(Corpus):
    """A corpus that can list its utterances, which `load` makes into tables.

    Args:
        train_fraction: Share of the training utterances to train on, the same of each class, drawn by seed: to see what
            more recordings would bring.
    """

    train_fraction: Annotated[float, Range(above=0, at_most=1)] = 1.0

    @abstractmethod
    def splits(self) -> dict[str, list[Utterance]]:
        """The utterances of train, validation and test, in a fixed order.

        Raises:
            CorpusError: If the corpus is not there or not in its layout.
        """

    def load(self) -> DatasetDict:
        """Load the corpus: the utterances of `splits`, with their durations from the headers."""
        self.notes.clear()
        self.caveats.clear()
        splits = self._with_names(self.splits())
        if self.train_fraction < 1:
            train = splits["train"]
            kept = choose([u.label for u in train], [None] * len(train), self.train_fraction, self.seed)
            splits["train"] = [train[index] for index in sorted(kept)]
        everything = [utterance for split in SPLITS for utterance in splits[split]]
        if not everything:
            raise CorpusError(f"The corpus {self.name!r} has no utterances{self._where()}.")
        self.caveats += describe_splits(
            {split: [u.label for u in splits[split]] for split in SPLITS},
            {split: [u.speaker for u in splits[split]] for split in SPLITS},
        )
        self._measure(everything)
        names = self.label_names({u.label for u in everything if u.label is not None})
        target = {"label": ClassLabel(names=names)} if names else {"text": Value("string")}
        return DatasetDict({split: _to_dataset(splits[split], target) for split in SPLITS})

    def label_names(self, labels: set[str]) -> list[str]:
        """The classes in the order of their ids: numbers by value, words by the alphabet."""
        return sorted(labels, key=natural_key)

    def reject(self, reasons: Sequence[str]) -> None:
        """Refuse utterances that cannot even be listed, or leave them out with a note, as `bad_rows` says.

        Args:
            reasons: Why, a sentence without its full stop for each.
        """
        if not reasons:
            return
        if self.bad_rows == "refuse":
            raise CorpusError(
                f"{len(reasons):,} utterances of the corpus {self.name!r} are bad, such as: {reasons[0]}; correct "
                "them, or leave them out with bad_rows: skip."
            )
        self.notes.append(f"{len(reasons):,} utterances were left out, such as: {reasons[0]}.")

    def _with_names(self, splits: dict[str, list[Utterance]]) -> dict[str, list[Utterance]]:
        """The utterances whose names can be written as UTF-8; the others are refused or left out."""
        wrong = [printable(str(u.audio)) for split in SPLITS for u in splits[split] if not _has_names(u)]
        self.reject([f"{name} has a name that is not UTF-8, so that it has to be renamed" for name in wrong])
        return {split: [u for u in splits[split] if _has_names(u)] for split in SPLITS} if wrong else splits

    def _where(self) -> str:
        return "" if self.data_dir is None else f" in {self.data_dir}"

    def _measure(self, utterances: list[Utterance]) -> None:
        """Fill in the durations that are not known yet, from the headers."""
        unknown = [utterance for utterance in utterances if utterance.duration is None]
        for utterance in progress_bar(unknown, desc=f"{self.name}: headers", unit="file", delay=1, leave=False):
            utterance.duration = duration_of(utterance.audio)


def duration_of(audio: AudioSource) -> float:
    """The length in seconds by the header, NaN where it cannot be read: the inspection reports why."""
    try:
        return audio_info(audio).duration
    except AudioError:
        return math.nan


def target_column(rows: Dataset) -> str | None:
    """The column of a split that is to be predicted, whatever it is; None if there is none."""
    return next((name for name in rows.column_names if name not in COMMON_COLUMNS), None)


def row_features(target: str, feature: Any) -> Features:
    """The columns of a split whose target has a certain feature."""
    others = {"speaker": Value("string"), "duration": Value("float64")}
    return Features({"audio": AUDIO_FEATURE, target: feature, **others})


def _has_names(utterance: Utterance) -> bool:
    """Whether path, class and speaker are valid text, which names of another encoding are not."""
    path = utterance.audio if isinstance(utterance.audio, Path) else utterance.audio.get("path")
    for name in (path, utterance.label, utterance.text, utterance.speaker):
        try:
            str(name or "").encode()
        except UnicodeEncodeError:
            return False
    return True


def _to_dataset(utterances: list[Utterance], target: dict[str, Any]) -> Dataset:
    """Make a table of one split."""
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
