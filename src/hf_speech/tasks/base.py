"""The interface of a task: everything that differs between classification and transcription.

The rest of the package knows only this interface and never asks which task it has. Decisions:

* A task is stateless, with one instance in the registry. What a trained model has learned to output is in its
  configuration (class names) or its tokenizer (characters), and is passed in.
* A task's metrics are functions of *counts that add up over utterances* (hits of a class; substitutions, deletions and
  insertions). The metrics of a split, of one speaker and of 2,000 bootstrap resamples are then the same computation:
  sum the counts and apply `metrics_from_counts`.
* Arguments mean the same everywhere: `dataset_dict` is the inspected corpus, `options` the recipe's section `text` (an
  instance of `text_options`), `tokenizer` what `make_tokenizer` or `load_tokenizer` gave, `config` the model's
  configuration.
* While the Trainer evaluates, it gathers ids and not logits, so its memory stays flat.
* PyTorch, transformers and datasets are imported where they are used: an exported model needs none of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

import numpy as np

from hf_speech.common.text import one_line
from hf_speech.data.audio import source_name
from hf_speech.errors import RecipeError
from hf_speech.tasks.metric import Metric

if TYPE_CHECKING:
    import torch
    from datasets import Dataset, DatasetDict
    from transformers import EvalPrediction, PreTrainedConfig

    from hf_speech.data.reports import InspectionReport

Record: TypeAlias = dict[str, Any]
"""One evaluated utterance: `reference`, `prediction`, `correct` and what else the task knows about it."""

IGNORED = -100
"""The id that pads labels, and with which the Trainer pads when it gathers batches of several processes."""

# The feature extractor's options that leave nothing out.
WHOLE_SOUND: Mapping[str, Any] = {"offset": 0.0, "max_duration": None, "time_average": False}


class Task(ABC):
    """Base class of the tasks.

    Attributes:
        name: The Hub's name of the task, and of the transformers pipeline; a model keeps it as `config.task`.
        title: Its name in prose.
        pipeline_tag: The Hub's tag for models of this task; the task's name by default.
        verb: The command that uses such a model on sound files: `hf-speech VERB MODEL FILES`.
        space: The folder in `spaces/` that shows such a model in a browser, empty if there is none.
        target_column: The corpus column to be predicted.
        auto_class: The transformers Auto class that loads such a model.
        architecture_suffixes: Endings of the class names of such models, which tell the task of one of version 0.1.
        model_types: The model families that do this task, as `model_type` in their configurations; the first is that of
            a recipe that names none.
        metrics: The metrics by name; any of them may choose the best checkpoint.
        best_metric: The one that does by default.
        decoding: How the task gets from logits to its prediction by itself, where an evaluation can do otherwise.
        details: The function that measures more than the metrics, as `hf_speech.evaluation.detection:detector_details`.
        text_options: The dataclass of the recipe's section `text`, for a task that writes.
        can_join: Whether two utterances, one after the other, have a target together.
        needs_whole_sound: Whether the target is about all of the sound, so that no part of it can be left out.
        has_times: Whether targets are times in the sound, which augmentation must not move.
        chart: How an exploration draws the targets: a key of `hf_speech.exploration.charts.TARGET_CHARTS`.
        units: What a target consists of, in the plural: "classes", "different words".
        open_units: Whether other splits may have units that the training split lacks.
        examples: Examples that an exploration shows, of each class where there are classes.
    """

    name: ClassVar[str]
    title: ClassVar[str] = ""
    pipeline_tag: ClassVar[str] = ""
    verb: ClassVar[str] = "classify"
    space: ClassVar[str] = "classify"
    target_column: ClassVar[str]
    auto_class: ClassVar[str]
    architecture_suffixes: ClassVar[tuple[str, ...]] = ()
    model_types: ClassVar[tuple[str, ...]]
    metrics: ClassVar[Mapping[str, Metric]]
    best_metric: ClassVar[str]
    decoding: ClassVar[str] = ""
    details: ClassVar[str] = ""
    text_options: ClassVar[type | None] = None
    can_join: ClassVar[bool] = False
    needs_whole_sound: ClassVar[bool] = False
    has_times: ClassVar[bool] = False
    chart: ClassVar[str] = "units"
    units: ClassVar[str] = "different targets"
    open_units: ClassVar[bool] = False
    examples: ClassVar[int] = 8

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if "name" in vars(cls):
            cls.title = vars(cls).get("title", cls.name.replace("-", " ").capitalize())
            cls.pipeline_tag = vars(cls).get("pipeline_tag", cls.name)

    @property
    def auto_model_class(self) -> Any:
        """The class whose `from_config` and `from_pretrained` make a model for this task."""
        import transformers

        return getattr(transformers, self.auto_class)

    @property
    def greater_is_better(self) -> bool:
        """Whether more of the metric that chooses the best checkpoint is better."""
        return self.metrics[self.best_metric].greater_is_better

    # Before training

    def check_features(self, features: Mapping[str, Any]) -> None:
        """Refuses features that leave out sound which this task needs.

        Args:
            features: Arguments of `SpeechFeatureExtractor`.

        Raises:
            RecipeError: If sound is cut off, or frames are averaged, and the task needs all of them.
        """
        for key, whole in WHOLE_SOUND.items():
            if self.needs_whole_sound and features.get(key, whole) != whole:
                raise RecipeError(f"{self.name} needs all of the sound: leave out features.{key}.")

    def check_augmentation(self, moving: Sequence[str]) -> None:
        """Refuses augmentation that moves the sound, where targets are times in it.

        Args:
            moving: The keys of such augmentation.

        Raises:
            RecipeError: If there are any.
        """
        if self.has_times and moving:
            raise RecipeError(f"{self.name} learns times in the sound: leave out augmentation.{moving[0]}.")

    def check_columns(self, rows: Dataset | DatasetDict) -> None:
        """Refuses a corpus that was made for another task.

        Args:
            rows: One split or all of them, with the columns of `hf_speech.data`.

        Raises:
            RecipeError: If the corpus has no column that this task can predict.
        """
        from hf_speech.tasks import task_of_columns

        for split in rows.values() if isinstance(rows, Mapping) else [rows]:
            if self.target_column in split.column_names:
                continue
            if (other := task_of_columns(split.column_names)) is not None:
                raise RecipeError(
                    f"This corpus is for {other.name} (it gives `{other.target_column}`, no `{self.target_column}`), "
                    f"but the task is {self.name}: choose another corpus, or a model for {other.name}."
                )
            raise RecipeError(
                f"This corpus has no column `{self.target_column}`, which {self.name} predicts; it has "
                f"{', '.join(split.column_names)}."
            )

    def make_tokenizer(self, dataset_dict: DatasetDict, options: Any = None) -> Any:
        """Makes what turns text into ids and back, for a task that needs more than the class names in the config."""
        return None

    def load_lexicon(
        self, dataset_dict: DatasetDict, options: Any = None, lexicon_of_corpus: Path | None = None
    ) -> Any:
        """The `Lexicon` of the training transcripts, for a task that has transcripts; None if the recipe has none.

        Args:
            lexicon_of_corpus: The dictionary that comes with the corpus, if one does.
        """
        return None

    def text_of(self, tokenizer: Any) -> dict[str, Any]:
        """The keys of the recipe's section `text` that a model's tokenizer has kept."""
        return {}

    def keep_outputs(self, dataset_dict: DatasetDict, options: Any, labels: Sequence[str]) -> tuple[DatasetDict, Any]:
        """The corpus and the section `text` for a model that keeps all outputs of an earlier one, named `labels`."""
        return dataset_dict, options

    @abstractmethod
    def config_arguments(self, dataset_dict: DatasetDict, tokenizer: Any = None) -> dict[str, Any]:
        """What the corpus decides in the model's configuration: class names, or the size of the vocabulary."""

    def inspect_targets(
        self,
        dataset_dict: DatasetDict,
        report: InspectionReport,
        *,
        bad_rows: Literal["refuse", "skip"],
        frames_of: Callable[[float], int],
        tokenizer: Any = None,
        options: Any = None,
    ) -> DatasetDict:
        """Refuses or leaves out training utterances that this task cannot learn from, and adds them to the report.

        Args:
            report: The report of that inspection.
            bad_rows: What the corpus's option of that name says to do with them.
            frames_of: Gives the number of logit frames for a number of seconds.

        Returns:
            The corpus to train on.

        Raises:
            CorpusError: If bad rows are to be refused, or nothing is left.
        """
        return dataset_dict

    def examine_target(
        self,
        row: Mapping[str, Any],
        seconds: float,
        *,
        frames_of: Callable[[float], int],
        tokenizer: Any = None,
        options: Any = None,
    ) -> str | None:
        """Why one training utterance of a stream cannot be learned from, in a sentence; None if it can.

        Args are those of `inspect_targets`, and `row` the utterance, which lasts `seconds`.
        """
        if row[self.target_column] is None:
            return f"{source_name(row['audio'])} has no {self.target_column} that the corpus's sample has."
        return None

    @abstractmethod
    def encode_target(self, row: Mapping[str, Any], tokenizer: Any = None) -> int | torch.Tensor:
        """The training target of a row: a class id, or character ids `(characters,)`."""

    def join_targets(self, first: Any, second: Any, tokenizer: Any = None) -> Any:
        """The target of two utterances, one after the other, for a task that `can_join` them."""
        raise NotImplementedError

    def collate_targets(self, targets: Sequence[int | torch.Tensor]) -> torch.Tensor:
        """The model's `labels` of a batch, int64: by default `(batch, ids)`, padded with -100."""
        import torch

        ids = [torch.as_tensor(target, dtype=torch.long) for target in targets]
        return torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=IGNORED)

    # While training

    def preprocess_logits_for_metrics(
        self, logits: torch.Tensor | tuple[torch.Tensor, ...], labels: torch.Tensor | None
    ) -> torch.Tensor:
        """Logits to ids, a batch at a time on the device: for `Trainer(preprocess_logits_for_metrics=)`.

        By default the likeliest id of each row or frame. Logits gathered from several processes are padded with -100 in
        every place; the first of equals is id 0.
        """
        # A model that also returns hidden states or attentions gives a tuple, logits first.
        scores = logits[0] if isinstance(logits, tuple) else logits
        return scores.argmax(dim=-1)

    @abstractmethod
    def compute_metrics(self, prediction: EvalPrediction, tokenizer: Any = None) -> dict[str, float]:
        """The metrics of gathered ids, as `Trainer(compute_metrics=)` wants it."""

    def sample_lines(self, prediction: EvalPrediction, tokenizer: Any = None, count: int = 3) -> list[str]:
        """A few references and predictions for the training log; none where the metrics say it all.

        Args are those of `compute_metrics`, and the number of utterances, the same ones at every evaluation."""
        return []

    # Evaluation

    def load_tokenizer(self, folder: str, **hub_arguments: Any) -> Any:
        """Loads what turns ids into text, for a task that needs more than the class names in the config.

        Args:
            folder: A model folder or Hub id; `hub_arguments` are `revision` and the like, for `from_pretrained`.
        """
        return None

    @abstractmethod
    def references(self, rows: Dataset, config: PreTrainedConfig, tokenizer: Any = None) -> list[str]:
        """The true class names or transcripts of a split, in the model's own terms.

        Raises:
            CorpusError: If a row has no target, or a class that the model does not know.
        """

    @abstractmethod
    def decode(self, logits: np.ndarray, config: PreTrainedConfig, tokenizer: Any = None) -> Record:
        """The prediction for one utterance.

        Args:
            logits: `(num_labels,)` or `(frames, vocabulary)` float32.

        Returns:
            `prediction` (text), `probability` (of the prediction, 0 to 1), and what else the task knows.
        """

    @abstractmethod
    def score(self, reference: str, decoded: Record) -> Record:
        """One utterance: `reference`, then what `decode` gave, then `correct` (and what the errors were)."""

    @abstractmethod
    def tally(self, records: Sequence[Record]) -> np.ndarray:
        """The counts of each utterance, `(utterances, counts)`; their sums give the metrics."""

    @abstractmethod
    def metrics_from_counts(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Metrics of summed counts.

        Args:
            counts: Sums `(..., counts)` over utterances of the rows of one `tally`; each metric is an array `(...)`.
        """

    def breakdowns(self, records: Sequence[Record], config: PreTrainedConfig) -> dict[str, dict[str, dict[str, float]]]:
        """Tables beyond the split's metrics, by the name they have in a report, such as `per_class`."""
        return {}

    def confusions(self, records: Sequence[Record]) -> list[tuple[str, str, int]]:
        """What was mistaken for what, most frequent first: (reference, prediction, how often)."""
        return []

    def confusion_matrix(
        self, records: Sequence[Record], config: PreTrainedConfig
    ) -> tuple[list[str], np.ndarray] | None:
        """Names and counts `(names, names)`, a row for each reference, or None for a task without classes."""
        return None

    # Using a model

    def describe_outputs(self, config: PreTrainedConfig, tokenizer: Any = None) -> dict[str, Any]:
        """What an exported model must keep to turn its logits into an answer: fields of its `Description`."""
        return {"labels": tuple(config.id2label[index] for index in range(config.num_labels))}

    def answer(self, logits: np.ndarray, labels: Sequence[str], top_k: int = 3) -> Record:
        """What the task's verb says about one sound file, as plain data for JSON.

        Args:
            logits: `(num_labels,)` float32.
            labels: The names of the logits.
            top_k: Alternatives to give, where there are some.
        """
        raise NotImplementedError(f"{self.name} gives no answer about a whole file.")

    def format_answer(self, answer: Mapping[str, Any]) -> str:
        """What `answer` gave, or `classify_files` with the file's name, as a line of text."""
        return "   ".join(one_line(f"{name} {value}") for name, value in answer.items() if name != "file")

    # Exploring a corpus

    def target_texts(self, rows: Dataset) -> list[str | None]:
        """The target of every row as text, None where a row has none."""
        return [None if value is None else str(value) for value in rows[self.target_column]]

    def target_units(self, target: str, options: Any = None) -> list[str]:
        """What is counted of a target: its class, or its words.

        Args:
            target: What `target_texts` gave.
        """
        return [target]

    def target_groups(self, rows: Dataset) -> list[str] | None:
        """The classes by which examples are shown, in the order of their ids; None for a task without classes."""
        return None
