"""Combines several corpora in one table with a column `corpus`, and computes each corpus's share of an epoch.

Each corpus has its own class, options and splits. Classes are renamed or dropped and transcripts normalized before the
rows are concatenated. A sampler (`hf_speech.training.samplers`) chooses the rows of each epoch;
`datasets.interleave_datasets` would choose once for all epochs, and copy tables that are already in memory.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from datasets import ClassLabel, Dataset, DatasetDict, Features, Value, concatenate_datasets

from hf_speech.common.ranges import Range
from hf_speech.data.corpora.base import SPLITS, Corpus, RowStream, row_features, target_column
from hf_speech.data.corpora.mixed_stream import LocalStream, MixedStream, RowAdapter
from hf_speech.errors import CorpusError, nearest


@dataclass(kw_only=True)
class Member:
    """One corpus of a mixture.

    Args:
        corpus: The corpus.
        weight: Share of an epoch relative to the other weights; null for the number of utterances. With 0, only the
            test split of the corpus is used.
        labels: Classes to rename ({fearful: fear}) or leave out ({calm: null}).
        normalize: Normalizes the transcripts of this corpus, before the normalization that applies to all corpora.
    """

    corpus: Corpus
    weight: Annotated[float, Range(0, 10**9)] | None = None
    labels: Mapping[str, str | None] = field(default_factory=dict)
    normalize: Callable[[str], str] | None = field(default=None, compare=False)
    class_names: list[str] | None = field(default=None, init=False, compare=False)

    def load(self) -> DatasetDict:
        """Loads the corpus with renamed classes and normalized transcripts. Classes may have no rows left."""
        splits = self.corpus.load()
        if self.weight == 0:
            splits = DatasetDict({s: r if s == "test" else r.select([]) for s, r in splits.items()})
        column = target_column(splits["test"])
        feature = splits["test"].features[str(column)]
        if self.labels and not isinstance(feature, ClassLabel):
            raise CorpusError(f"The corpus {self.corpus.name!r} has no classes to rename: remove labels.")
        self.class_names = list(feature.names) if isinstance(feature, ClassLabel) else None
        for label in self.labels:
            if label not in feature.names:
                raise CorpusError(
                    f"labels: the corpus {self.corpus.name!r} has no class {label!r}: {nearest(label, feature.names)}"
                )
        return DatasetDict({split: self._adapted(rows, str(column), feature) for split, rows in splits.items()})

    def _adapted(self, rows: Dataset, column: str, feature: Any) -> Dataset:
        values = list(rows[column])
        if isinstance(feature, ClassLabel):
            values = [None if value is None or value < 0 else value for value in values]  # -1 means unknown
            names = [self.labels.get(name, name) for name in feature.names]
            known = [name for name in dict.fromkeys(names) if name is not None]
            targets = [None if value is None else names[value] for value in values]
            indices = [i for i, name in enumerate(targets) if name is not None or values[i] is None]
            new_feature: Any = ClassLabel(names=known)
            new: list[Any] = [None if targets[i] is None else known.index(str(targets[i])) for i in indices]
        else:
            indices, new_feature = list(range(len(rows))), Value("string")
            normalize = self.normalize or str
            new = [None if value is None else normalize(value) for value in values]
        rows = rows.select(indices) if len(indices) < len(rows) else rows
        return rows.remove_columns(column).add_column(column, new, feature=new_feature)


@dataclass(kw_only=True)
class Mixture(Corpus):
    """A mixture of several corpora. In a recipe, a list as the section `corpus` is a shorthand for it.

    Args:
        data_dir: Folder of the corpora. The data_dir of each corpus is relative to it, and by default its name.
        bad_rows: Whether bad rows of any corpus stop the run ("refuse") or are left out and reported ("skip").
        corpora: The corpora. In a recipe, each has the keys of an ordinary section `corpus`, and optionally `weight`,
            `labels`, and `text` (the keys of a section `text`, for its own transcripts).
        temperature: If no corpus has a weight, its share of an epoch is proportional to its number of utterances to the
            power of 1 / temperature: with 1, each utterance occurs once; larger values favor smaller corpora.
    """

    name: ClassVar[str] = "mixture"
    title: ClassVar[str] = "several corpora"

    corpora: list[Member] = field(default_factory=list)
    temperature: Annotated[float, Range(1, 100)] = 1.0
    members: dict[str, Member] = field(default_factory=dict, init=False, repr=False)
    _train: dict[str, Dataset] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for given in self.corpora:
            member = dataclasses.replace(given, corpus=dataclasses.replace(given.corpus, bad_rows=self.bad_rows))
            same = sum(name.rpartition("-")[0] == member.corpus.name for name in self.members)
            same += member.corpus.name in self.members
            self.members[f"{member.corpus.name}-{same + 1}" if same else member.corpus.name] = member

    def load(self) -> DatasetDict:
        """Loads all corpora into one table per split, with a column `corpus` and speakers as CORPUS/SPEAKER."""
        if not self.members:
            raise CorpusError("The corpus 'mixture' has no corpora: list them as corpora.")
        self.notes.clear()
        self.caveats.clear()
        loaded: dict[str, DatasetDict] = {}
        for name, member in self.members.items():
            loaded[name] = member.load()
            self.notes += [f"{name}: {note}" for note in member.corpus.notes]
            self.caveats += [f"{name}: {caveat}" for caveat in member.corpus.caveats]
        columns = {name: str(target_column(splits["test"])) for name, splits in loaded.items()}
        if len(set(columns.values())) > 1:
            listed = ", ".join(f"{name} has `{column}`" for name, column in columns.items())
            raise CorpusError(f"The corpora of a mixture must have the same target column: {listed}; separate them.")
        column = next(iter(columns.values()))
        targets = [splits["test"].features[column] for splits in loaded.values()]
        if isinstance(targets[0], ClassLabel):
            feature: Any = ClassLabel(names=list(dict.fromkeys(name for target in targets for name in target.names)))
        else:
            feature = Value("string")
        marked = {
            split: {name: _marked(splits[split], name, column, feature) for name, splits in loaded.items()}
            for split in SPLITS
        }
        self._train = marked["train"]
        return DatasetDict({split: concatenate_datasets(list(rows.values())) for split, rows in marked.items()})

    def local_folders(self) -> set[str]:
        """Returns the folders of all corpora on this machine."""
        return super().local_folders().union(*(member.corpus.local_folders() for member in self.members.values()))

    def limits(self, corpus: str | None = None) -> tuple[float, float]:
        """Returns the minimum and maximum duration of an utterance of a corpus in seconds."""
        return super().limits() if corpus is None else self.members[corpus].corpus.limits()

    def shares(self, counts: Mapping[str, int]) -> dict[str, float] | None:
        """Returns each corpus's share of an epoch.

        Args:
            counts: The number of training utterances of each corpus.

        Returns:
            Shares that sum to 1, by corpus; None if each utterance occurs once in an epoch.
        """
        weights = {name: self.members[name].weight for name in counts}
        if all(weight is None for weight in weights.values()):
            if self.temperature == 1:
                return None
            sizes = {name: count ** (1 / self.temperature) for name, count in counts.items()}
        else:
            sizes = {name: counts[name] if weight is None else weight for name, weight in weights.items()}
        return {name: size / sum(sizes.values()) for name, size in sizes.items()}

    def train_stream(self, class_names: list[str] | None = None) -> RowStream | None:
        """Returns the training splits as one stream if any of them is a stream, else None."""
        trained_on = {name: member for name, member in self.members.items() if member.weight != 0}
        streams = {name: member.corpus.train_stream(member.class_names) for name, member in trained_on.items()}
        if not any(streams.values()):
            return None
        if missing := [name for name, member in trained_on.items() if member.weight is None]:
            raise CorpusError(
                f"With a stream, whose length is unknown, each corpus needs a weight: set the weight of {missing[0]}."
            )
        return MixedStream(
            {name: stream or LocalStream(self._train[name], self.seed) for name, stream in streams.items()},
            {name: float(member.weight or 0) for name, member in trained_on.items()},
            {
                name: RowAdapter(member.class_names, class_names or [], member.labels, member.normalize)
                for name, member in trained_on.items()
                if streams[name]
            },
            self.seed,
        )


def _marked(rows: Dataset, corpus: str, target: str, feature: Any) -> Dataset:
    """Returns rows with the columns of all corpora, with the corpus in a column and in the names of speakers."""
    features = Features({**row_features(target, feature), "corpus": Value("string")})
    values = list(rows[target])
    if isinstance(feature, ClassLabel):
        names = rows.features[target].names
        values = [None if value is None else feature.str2int(names[value]) for value in values]
    speakers = [None if speaker is None else f"{corpus}/{speaker}" for speaker in rows["speaker"]]
    rows = rows.select_columns(["audio", "duration"]).add_column(target, values, feature=feature)
    rows = rows.add_column("speaker", speakers, feature=Value("string"))
    rows = rows.add_column("corpus", [corpus] * len(rows), feature=Value("string"))
    return rows.select_columns(list(features)).cast(features)
