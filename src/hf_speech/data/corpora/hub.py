"""Any dataset on the Hugging Face Hub, or a local copy of one, with its columns renamed.

The audio column becomes the plain struct of all our corpora before anything is read: an `Audio` feature would decode
with torchcodec. A dataset too large for the disk is streamed: `max_rows` of every split are fetched and kept in memory,
and if training is to use more than these, it reads the stream itself.
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
from hf_speech.common.text import same_form
from hf_speech.data.corpora.base import AUDIO_FEATURE, SPLIT_NAMES, SPLITS, OwnCorpus, duration_of
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
class Hub(OwnCorpus):
    """A dataset of the Hugging Face Hub.

    Args:
        data_dir: A local copy instead of repo: a folder of Parquet or sound files, or one made by save_to_disk.
        repo: Name of the dataset on the Hub, such as "google/fleurs".
        config_name: Name of its configuration, such as "en_us", where it has several.
        revision: Branch, tag or commit; a commit makes the recipe repeatable.
        train_split: Its name of the training split.
        validation_split: Its name of the validation split, if not one of the usual ones.
        test_split: Its name of the test split, if not one of the usual ones.
        audio_column: Column with the recording.
        label_column: Column with the class.
        text_column: Column with the transcript, in a corpus for transcription; then label_column is not read.
        speaker_column: Column with the speaker.
        streaming: Whether to fetch max_rows of each split instead of the whole dataset.
        max_rows: Most utterances of each split, drawn by seed.
        stream_train: Whether training reads the whole training split from the stream. Vocabulary, class names and
            statistics are then those of the max_rows that are fetched of it, which are also what is inspected.
        validation_fraction: Share of the training utterances to validate on, where there is no such split.
        test_fraction: Share of all utterances to test on, where there is no such split.
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
        """Load the dataset with our columns and splits."""
        self.notes.clear()
        self.caveats.clear()
        with self._explained_errors():
            source = self._open()
            parts = {split: self._read(source[name]) for split, name in self._split_names(list(source)).items()}
        fractions = {"test": self.test_fraction, "validation": self.validation_fraction}
        for split, fraction in fractions.items():
            if split not in parts and self.stream_train and fraction > 0:
                raise CorpusError(
                    f"{self._called} has no {split} split, and what is taken out of a stream would be in training too: "
                    f"name one of its splits as {split}_split, or do without by {split}_fraction: 0."
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
        """The whole training split as a stream, if training is to read it so."""
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
    def _called(self) -> str:
        return f"The dataset {self.repo if self.data_dir is None else self.data_dir}"

    def _open(self) -> Any:
        """The dataset as it is: its splits by name, nothing read."""
        if self.repo is None and self.data_dir is None:
            raise CorpusError("The corpus 'hub' needs the name of a dataset: give repo, or a copy as --data_dir.")
        if self.streaming and self.max_rows is None:
            raise CorpusError(f"{self._called} is to be streamed: give max_rows, the utterances of a split to fetch.")
        if self.stream_train and not self.streaming:
            raise CorpusError(f"{self._called} is not streamed, so that stream_train has no stream: set streaming too.")
        path = None if self.data_dir is None else self.open_data_dir()
        if path is not None and any((path / name).is_file() for name in ("dataset_dict.json", "state.json")):
            saved = load_from_disk(str(path))
            return {self.train_split: saved} if isinstance(saved, Dataset) else saved
        return load_dataset(str(path or self.repo), self.config_name, revision=self.revision, streaming=self.streaming)

    @contextmanager
    def _explained_errors(self) -> Iterator[None]:
        """Turn what `datasets` raises into one sentence."""
        try:
            yield
        except CorpusError:
            raise
        except (DatasetsError, OSError, ValueError) as error:
            reason = " ".join(str(error.__cause__ or error).split()).rstrip(".")
            remedy = "check it" if self.data_dir else "check its name and the network, or give a copy as --data_dir"
            raise CorpusError(f"{self._called} cannot be loaded ({reason}): {remedy}.") from error

    def _split_names(self, available: list[str]) -> dict[str, str]:
        """The dataset's name of each of our splits that it has."""
        names = {"train": self.train_split, "validation": self.validation_split, "test": self.test_split}
        found: dict[str, str] = {}
        for split, name in names.items():
            usual = [other for other in available if SPLIT_NAMES.get(other.lower()) == split]
            if name is None and usual:
                found[split] = usual[0]
            elif name is not None and name in available:
                found[split] = name
            elif name is not None:
                raise CorpusError(f"{self._called} has no split {name!r}: {nearest(name, available)}")
        if unused := sorted(set(available) - set(found.values())):
            self.notes.append(f"{self._called} has splits that were left out: {', '.join(unused)}.")
        return found

    def _read(self, rows: Dataset | IterableDataset) -> _Part:
        """Take the columns needed out of a split."""
        wanted = {"audio_column": self.audio_column, "speaker_column": self.speaker_column}
        wanted |= {"text_column": self.text_column} if self.text_column else {"label_column": self.label_column}
        available = list(rows.features or next(iter(rows), {}))
        for option, column in wanted.items():
            if column is not None and column not in available:
                raise CorpusError(f"{self._called} has no column {column!r} ({option}): {nearest(column, available)}")
        kind = (rows.features or {}).get(self.audio_column)
        if not holds_sound(kind):
            raise CorpusError(
                f"{self._called} has no recordings in its column {self.audio_column!r}: give another audio_column."
            )
        rows = rows.select_columns(list({column for column in wanted.values() if column is not None}))
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
        if self.audio_column != "audio":  # renaming a column to its own name is an error
            audio = audio.rename_column(self.audio_column, "audio")
        return _Part(
            audio=audio,
            targets=[target_of(feature, value) for value in rows[target]],
            speakers=[text_of(value) for value in rows[speaker]] if speaker else [None] * len(rows),
            class_names=[same_form(name) for name in feature.names or []] if isinstance(feature, ClassLabel) else [],
        )

    def _fetch(self, stream: IterableDataset) -> Dataset:
        """Fetch rows of a stream with their recordings."""
        assert self.max_rows is not None
        rows = []
        drawn = stream.shuffle(seed=self.seed, buffer_size=SHUFFLE_BUFFER).take(self.max_rows)
        for row in progress_bar(
            drawn, desc=f"Fetching {self.repo or self.data_dir}", total=self.max_rows, unit="utterance"
        ):
            rows.append(row | {self.audio_column: fetch_sound(row[self.audio_column])})
        return Dataset.from_list(rows, features=Features(stream.features | {self.audio_column: AUDIO_FEATURE}))

    def _to_rows(self, part: _Part, class_names: list[str]) -> Dataset:
        """Make the table of one split."""
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
    """One split: encoded recordings, and what is known about each."""

    audio: Dataset
    targets: list[str | None]
    speakers: list[str | None]
    class_names: list[str]

    def select(self, indices: set[int]) -> _Part:
        """Some of the utterances, in order."""
        chosen = sorted(indices)
        return _Part(
            self.audio.select(chosen),
            [self.targets[index] for index in chosen],
            [self.speakers[index] for index in chosen],
            self.class_names,
        )
