"""Any dataset on the Hugging Face Hub, or a local copy of one, with its columns renamed.

The audio column is cast to a plain struct, since an `Audio` feature would decode with torchcodec. A dataset too large
for the disk can be streamed: `max_rows` rows of every split are fetched and kept in memory, and training can read the
whole training split from the stream.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

from datasets import Audio, ClassLabel, Dataset, DatasetDict, Features, IterableDataset, Value, load_from_disk
from datasets.exceptions import DatasetsError

from hf_speech.common.progress import progress_bar
from hf_speech.common.ranges import Share
from hf_speech.common.text import nfc
from hf_speech.data.corpora.base import AUDIO_FEATURE, SPLIT_NAMES, SPLITS, UserCorpus, duration_of
from hf_speech.data.corpora.files import natural_key
from hf_speech.data.corpora.hub_stream import (
    SHUFFLE_BUFFER,
    HubStream,
    fetch_sound,
    holds_sound,
    load_dataset,
    sound_of,
    target_of,
    text_of,
    undecoded,
)
from hf_speech.data.corpora.splitting import choose, describe_splits
from hf_speech.errors import CorpusError, nearest


@dataclass(kw_only=True)
class Hub(UserCorpus):
    """A dataset on the Hugging Face Hub.

    Args:
        data_dir: A local copy to use instead of repo: a folder of Parquet or audio files, or one made by save_to_disk.
        repo: Name of the dataset on the Hub, such as "google/fleurs".
        config_name: Name of the configuration, such as "en_us", if the dataset has several.
        revision: Branch, tag or commit; a commit makes the recipe reproducible.
        train_split: The dataset's name of the training split.
        validation_split: The dataset's name of the validation split, if it is not one of the usual names.
        test_split: The dataset's name of the test split, if it is not one of the usual names.
        audio_column: Column with the recording.
        label_column: Column with the class.
        text_column: Column with the transcript, in a corpus for transcription; label_column is then not read.
        speaker_column: Column with the speaker.
        streaming: Whether to fetch max_rows of each split instead of the whole dataset.
        max_rows: Maximum number of utterances per split, chosen at random.
        stream_train: Whether training reads the whole training split from the stream. Inspection, vocabulary, class
            names and statistics then use only the max_rows fetched utterances.
        validation_fraction: Share of the training utterances to validate on, if there is no validation split.
        test_fraction: Share of all utterances to test on, if there is no test split.
    """

    name: ClassVar[str] = "hub"

    title: str | None = "a dataset of the Hugging Face Hub"  # type: ignore[misc]
    repo: str | None = None
    config_name: str | None = None
    revision: str | None = None
    train_split: str = "train"
    validation_split: str | None = None
    test_split: str | None = None
    audio_column: str = "audio"
    label_column: str = "label"
    text_column: str | None = None
    speaker_column: str | None = None
    streaming: bool = False
    max_rows: int | None = None
    stream_train: bool = False
    validation_fraction: Share = 0.1
    test_fraction: Share = 0.1

    def load(self) -> DatasetDict:
        """Loads the dataset with the columns and splits of all corpora."""
        self.notes.clear()
        self.caveats.clear()
        with self._explained_errors():
            source = self._open()
            parts = {split: self._read(source[name]) for split, name in self._split_names(list(source)).items()}
        fractions = {"test": self.test_fraction, "validation": self.validation_fraction}
        for split, fraction in fractions.items():
            if split not in parts and self.stream_train and fraction > 0:
                raise CorpusError(
                    f"{self._description} has no {split} split, and utterances taken from a stream would be in "
                    f"training too: set {split}_split to one of its splits, or {split}_fraction to 0."
                )
            if split not in parts:
                train = parts["train"]
                labels = [None] * len(train.targets) if self.text_column else train.targets
                taken = choose(labels, train.speakers, fraction, self.seed, self.caveats)
                parts["train"] = train.select(set(range(len(labels))) - taken)
                parts[split] = train.select(taken)
        names = parts["train"].class_names or sorted(
            {target for part in parts.values() for target in part.targets if target is not None}, key=natural_key
        )
        self.caveats += describe_splits(
            {split: [] if self.text_column else parts[split].targets for split in SPLITS},
            {split: parts[split].speakers for split in SPLITS},
        )
        return DatasetDict({split: self._to_rows(parts[split], names) for split in SPLITS})

    def train_stream(self, class_names: list[str] | None = None) -> HubStream | None:
        """Returns the whole training split as a stream if `stream_train` is set, else None."""
        if not self.stream_train:
            return None
        with self._explained_errors():
            rows = self._open()[self.train_split]
        target = self.text_column or self.label_column
        return HubStream(
            undecoded(rows.select_columns([self.audio_column, target]), self.audio_column),
            audio_column=self.audio_column,
            target_column=target,
            feature=(rows.features or {}).get(target),
            class_names=class_names or [],
            seed=self.seed,
        )

    @property
    def _description(self) -> str:
        return f"The dataset {self.repo if self.data_dir is None else self.data_dir}"

    def _open(self) -> Any:
        """Opens the dataset without reading rows, and returns its splits by name."""
        if self.repo is None and self.data_dir is None:
            raise CorpusError("The corpus 'hub' needs the name of a dataset: give repo, or a copy as --data_dir.")
        if self.streaming and self.max_rows is None:
            raise CorpusError(f"{self._description} cannot be streamed without max_rows: set max_rows.")
        if self.stream_train and not self.streaming:
            raise CorpusError(f"{self._description} is not streamed, but stream_train is set: set streaming as well.")
        path = None if self.data_dir is None else self.open_data_dir()
        if path is not None and any((path / name).is_file() for name in ("dataset_dict.json", "state.json")):
            saved = load_from_disk(str(path))
            return {self.train_split: saved} if isinstance(saved, Dataset) else saved
        return load_dataset(str(path or self.repo), self.config_name, revision=self.revision, streaming=self.streaming)

    @contextmanager
    def _explained_errors(self) -> Iterator[None]:
        """Converts errors of `datasets` in the block to a `CorpusError` with one sentence."""
        try:
            yield
        except CorpusError:
            raise
        except (DatasetsError, OSError, ValueError) as error:
            reason = " ".join(str(error.__cause__ or error).split()).rstrip(".")
            remedy = "check it" if self.data_dir else "check its name and the network, or give a copy as --data_dir"
            raise CorpusError(f"{self._description} cannot be loaded ({reason}): {remedy}.") from error

    def _split_names(self, available: list[str]) -> dict[str, str]:
        """Returns the dataset's name of each split, for the splits that it has."""
        names = {"train": self.train_split, "validation": self.validation_split, "test": self.test_split}
        found: dict[str, str] = {}
        for split, name in names.items():
            usual = [other for other in available if SPLIT_NAMES.get(other.lower()) == split]
            if name is None and usual:
                found[split] = usual[0]
            elif name is not None and name in available:
                found[split] = name
            elif name is not None:
                raise CorpusError(f"{self._description} has no split {name!r}: {nearest(name, available)}")
        if unused := sorted(set(available) - set(found.values())):
            self.notes.append(f"{self._description} has splits that were left out: {', '.join(unused)}.")
        return found

    def _read(self, rows: Dataset | IterableDataset) -> _Part:
        """Reads the needed columns of a split."""
        columns = {"audio_column": self.audio_column, "speaker_column": self.speaker_column}
        columns |= {"text_column": self.text_column} if self.text_column else {"label_column": self.label_column}
        available = list(rows.features or next(iter(rows), {}))
        for option, column in columns.items():
            if column is not None and column not in available:
                raise CorpusError(
                    f"{self._description} has no column {column!r} ({option}): {nearest(column, available)}"
                )
        kind = (rows.features or {}).get(self.audio_column)
        if not holds_sound(kind):
            raise CorpusError(
                f"{self._description} has no recordings in its column {self.audio_column!r}: give another audio_column."
            )
        rows = rows.select_columns(list({column for column in columns.values() if column is not None}))
        if isinstance(rows, IterableDataset):
            rows = self._fetch(undecoded(rows, self.audio_column))
        elif self.max_rows is not None and self.max_rows < len(rows):
            rows = rows.shuffle(seed=self.seed).select(range(self.max_rows))
        if isinstance(kind, Audio) or (isinstance(kind, dict) and set(kind) == set(AUDIO_FEATURE)):
            rows = rows.cast_column(self.audio_column, AUDIO_FEATURE)
        elif rows.features[self.audio_column] != AUDIO_FEATURE:
            column = self.audio_column
            features = Features({**rows.features, column: AUDIO_FEATURE})
            rows = rows.map(lambda row: {column: sound_of(row[column])}, features=features, desc="hub: recordings")
        target, speaker = self.text_column or self.label_column, self.speaker_column
        feature = rows.features[target]
        audio = rows.select_columns(self.audio_column)
        if self.audio_column != "audio":  # `datasets` cannot rename a column to its own name
            audio = audio.rename_column(self.audio_column, "audio")
        return _Part(
            audio=audio,
            targets=[target_of(feature, value) for value in rows[target]],
            speakers=[text_of(value) for value in rows[speaker]] if speaker else [None] * len(rows),
            class_names=[nfc(name) for name in feature.names or []] if isinstance(feature, ClassLabel) else [],
        )

    def _fetch(self, stream: IterableDataset) -> Dataset:
        """Fetches `max_rows` random rows of a stream with their recordings."""
        assert self.max_rows is not None
        rows = []
        sample = stream.shuffle(seed=self.seed, buffer_size=SHUFFLE_BUFFER).take(self.max_rows)
        description = f"Fetching {self.repo or self.data_dir}"
        for row in progress_bar(sample, desc=description, total=self.max_rows, unit="utterance"):
            rows.append(row | {self.audio_column: fetch_sound(row[self.audio_column])})
        return Dataset.from_list(rows, features=Features(stream.features | {self.audio_column: AUDIO_FEATURE}))

    def _to_rows(self, part: _Part, class_names: list[str]) -> Dataset:
        """Returns the table of one split."""
        audio = part.audio
        durations = [
            duration_of(row["audio"])
            for row in progress_bar(audio, desc="hub: headers", unit="file", delay=1, leave=False)
        ]
        if self.text_column is None:
            ids = [None if target is None else class_names.index(target) for target in part.targets]
            audio = audio.add_column("label", ids, feature=ClassLabel(names=class_names))
        else:
            audio = audio.add_column("text", part.targets, feature=Value("string"))
        audio = audio.add_column("speaker", part.speakers, feature=Value("string"))
        return audio.add_column("duration", durations, feature=Value("float64"))


@dataclass
class _Part:
    """One split: encoded recordings, with the target and speaker of each."""

    audio: Dataset
    targets: list[str | None]
    speakers: list[str | None]
    class_names: list[str]

    def select(self, indices: set[int]) -> _Part:
        """Returns the utterances with the given indices, in order."""
        ordered = sorted(indices)
        return _Part(
            self.audio.select(ordered),
            [self.targets[index] for index in ordered],
            [self.speakers[index] for index in ordered],
            self.class_names,
        )
