"""The interface of a task: everything that differs between classification and transcription.

The rest of the package uses only this interface and never checks which task it has. Decisions:

* A task is stateless, with one instance in the registry. A trained model's outputs are listed in its configuration
  (class names) or its tokenizer (characters), which callers pass in.
* A task's metrics are functions of *counts that add up over utterances* (hits of a class; substitutions, deletions and
  insertions). The metrics of a split, of one speaker and of 2,000 bootstrap resamples are then computed the same way:
  sum the counts and apply `metrics_from_counts`.
* Arguments mean the same everywhere: `dataset_dict` is the inspected corpus, `options` the recipe's section `text` (an
  instance of `text_options`), `tokenizer` the result of `make_tokenizer` or `load_tokenizer`, `config` the model's
  configuration.
* During evaluation the Trainer gathers ids instead of logits, so its memory use stays constant.
* PyTorch, transformers and datasets are imported inside functions, because an exported model needs none of them.
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
"""One evaluated utterance: `reference`, `prediction`, `correct` and further values of the task."""

IGNORED = -100
"""The padding id of labels; the Trainer also pads with it when it gathers batches from several processes."""

# The feature extractor's options with which it uses the whole sound.
WHOLE_SOUND: Mapping[str, Any] = {"offset": 0.0, "max_duration": None, "time_average": False}


class Task(ABC):
    """Base class of the tasks.

    Attributes:
        name: The name of the task on the Hub and of the transformers pipeline; saved in models as `config.task`.
        title: The name of the task in prose.
        pipeline_tag: The Hub's tag for models of this task; `name` by default.
        verb: The command that applies a model to sound files: `hf-speech VERB MODEL FILES`.
        space: The folder in `spaces/` with the demo for such models, empty if there is none.
        target_column: The corpus column to predict.
        auto_class: The transformers Auto class that loads such a model.
        architecture_suffixes: Endings of the class names of such models, by which models of version 0.1 are assigned to
            the task.
        model_types: The `model_type` of each model family for this task; the first is the default of a recipe.
        metrics: The metrics by name; any of them can select the best checkpoint.
        best_metric: The metric that selects it by default.
        decoding: The name of the task's own decoding method, for a task whose evaluation offers others.
        details: A function that measures more than the metrics, such as
            `hf_speech.evaluation.detection:detector_details`.
        text_options: The dataclass of the recipe's section `text`, for a task whose targets are text.
        can_join: Whether the targets of two consecutive utterances can be joined into one.
        needs_whole_sound: Whether the target depends on all of the sound, so that no part may be left out.
        has_times: Whether targets contain times, which augmentation must not shift.
        chart: The chart of the targets in an exploration: a key of `hf_speech.exploration.charts.TARGET_CHARTS`.
        units: The units that targets consist of, in the plural: "classes", "different words".
        open_units: Whether other splits may have units that the training split lacks.
        examples: Number of examples in an exploration, per class for a task with classes.
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
        """The Auto class whose `from_config` and `from_pretrained` make a model for this task."""
        import transformers

        return getattr(transformers, self.auto_class)

    @property
    def greater_is_better(self) -> bool:
        """Whether a greater value of `best_metric` is better."""
        return self.metrics[self.best_metric].greater_is_better

    # Before training

    def check_features(self, features: Mapping[str, Any]) -> None:
        """Rejects features that leave out sound which this task needs.

        Args:
            features: Arguments of `SpeechFeatureExtractor`.

        Raises:
            RecipeError: If the task needs the whole sound, and sound is cut off or frames are averaged.
        """
        for key, whole in WHOLE_SOUND.items():
            if self.needs_whole_sound and features.get(key, whole) != whole:
                raise RecipeError(f"{self.name} needs all of the sound: leave out features.{key}.")

    def check_augmentation(self, moving: Sequence[str]) -> None:
        """Rejects augmentation that shifts the sound, for a task whose targets contain times.

        Args:
            moving: The recipe's augmentation keys that shift the sound.

        Raises:
            RecipeError: If the targets contain times and `moving` is not empty.
        """
        if self.has_times and moving:
            raise RecipeError(f"{self.name} learns times in the sound: leave out augmentation.{moving[0]}.")

    def check_columns(self, rows: Dataset | DatasetDict) -> None:
        """Rejects a corpus for another task.

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
                    f"This corpus is for {other.name} (it has `{other.target_column}`, no `{self.target_column}`), "
                    f"but the task is {self.name}: choose another corpus, or a model for {other.name}."
                )
            raise RecipeError(
                f"This corpus has no column `{self.target_column}`, which {self.name} predicts; it has "
                f"{', '.join(split.column_names)}."
            )

    def make_tokenizer(self, dataset_dict: DatasetDict, options: Any = None) -> Any:
        """Makes the tokenizer of a new model; None for a task that only needs the class names in the configuration."""
        return None

    def load_lexicon(
        self, dataset_dict: DatasetDict, options: Any = None, lexicon_of_corpus: Path | None = None
    ) -> Any:
        """Returns the `Lexicon` for the training transcripts, or None if the recipe or the task has none.

        Args:
            lexicon_of_corpus: The dictionary that comes with the corpus, if there is one.
        """
        return None

    def text_of(self, tokenizer: Any) -> dict[str, Any]:
        """Returns the keys of the recipe's section `text` that are saved in a model's tokenizer."""
        return {}

    def keep_outputs(self, dataset_dict: DatasetDict, options: Any, labels: Sequence[str]) -> tuple[DatasetDict, Any]:
        """Returns the corpus and the section `text` for a model that keeps the outputs `labels` of an earlier one."""
        return dataset_dict, options

    @abstractmethod
    def config_arguments(self, dataset_dict: DatasetDict, tokenizer: Any = None) -> dict[str, Any]:
        """Returns the model's configuration arguments that depend on the corpus: class names or vocabulary size."""

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
        """Reports training utterances that this task cannot learn from, and rejects or skips them.

        Args:
            report: The report of the corpus inspection, which is extended.
            bad_rows: The corpus's option of that name.
            frames_of: Returns the number of logit frames for a duration in seconds.

        Returns:
            The corpus to train on.

        Raises:
            CorpusError: If there are bad rows and `bad_rows` is "refuse", or if nothing is left.
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
        """Returns a sentence on why a training utterance of a stream cannot be used, or None if it can.

        Args:
            row: The utterance.
            seconds: Its duration.
            frames_of: As for `inspect_targets`.
        """
        if row[self.target_column] is None:
            return f"{source_name(row['audio'])} has no {self.target_column}, or one that the corpus's sample lacks."
        return None

    @abstractmethod
    def encode_target(self, row: Mapping[str, Any], tokenizer: Any = None) -> int | torch.Tensor:
        """Returns the training target of a row: a class id, or character ids `(characters,)`."""

    def join_targets(self, first: Any, second: Any, tokenizer: Any = None) -> Any:
        """Returns the target of two consecutive utterances, for a task with `can_join`."""
        raise NotImplementedError

    def collate_targets(self, targets: Sequence[int | torch.Tensor]) -> torch.Tensor:
        """Returns the model's `labels` of a batch, int64: by default `(batch, ids)`, padded with -100."""
        import torch

        ids = [torch.as_tensor(target, dtype=torch.long) for target in targets]
        return torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=IGNORED)

    # While training

    def preprocess_logits_for_metrics(
        self, logits: torch.Tensor | tuple[torch.Tensor, ...], labels: torch.Tensor | None
    ) -> torch.Tensor:
        """Reduces the logits of a batch to ids on the device, for `Trainer(preprocess_logits_for_metrics=)`.

        By default returns the most likely id of each row or frame. Frames that pad the logits of several processes are
        -100 throughout and become id 0.
        """
        # A model that also returns hidden states or attentions returns a tuple, logits first.
        scores = logits[0] if isinstance(logits, tuple) else logits
        return scores.argmax(dim=-1)

    @abstractmethod
    def compute_metrics(self, prediction: EvalPrediction, tokenizer: Any = None) -> dict[str, float]:
        """Computes the metrics of gathered ids, for `Trainer(compute_metrics=)`."""

    def sample_lines(self, prediction: EvalPrediction, tokenizer: Any = None, count: int = 3) -> list[str]:
        """Returns lines for the training log with the references and predictions of `count` utterances.

        The utterances are the same at every evaluation. A task whose metrics suffice returns no lines.
        """
        return []

    # Evaluation

    def load_tokenizer(self, folder: str, **hub_arguments: Any) -> Any:
        """Loads the tokenizer of a model; returns None for a task that only needs the configuration.

        Args:
            folder: A model folder or Hub id.
            hub_arguments: Arguments of `from_pretrained`, such as `revision`.
        """
        return None

    @abstractmethod
    def references(self, rows: Dataset, config: PreTrainedConfig, tokenizer: Any = None) -> list[str]:
        """Returns the true class names or transcripts of a split, written as the model writes them.

        Raises:
            CorpusError: If a row has no target, or a class that the model does not have.
        """

    @abstractmethod
    def decode(self, logits: np.ndarray, config: PreTrainedConfig, tokenizer: Any = None) -> Record:
        """Returns the prediction for one utterance.

        Args:
            logits: `(num_labels,)` or `(frames, vocabulary)` float32.

        Returns:
            `prediction` (text), `probability` (of the prediction, 0 to 1), and further values of the task.
        """

    @abstractmethod
    def score(self, reference: str, decoded: Record) -> Record:
        """Returns the record of an utterance: `reference`, the result of `decode`, `correct`, and any error counts."""

    @abstractmethod
    def tally(self, records: Sequence[Record]) -> np.ndarray:
        """Returns the counts of each utterance, `(utterances, counts)`; their sums give the metrics."""

    @abstractmethod
    def metrics_from_counts(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Computes the metrics of summed counts.

        Args:
            counts: Sums over the utterances of a `tally`, `(..., counts)`.

        Returns:
            Each metric, `(...)`.
        """

    def breakdowns(self, records: Sequence[Record], config: PreTrainedConfig) -> dict[str, dict[str, dict[str, float]]]:
        """Returns tables that detail the metrics, by their names in a report, such as `per_class`."""
        return {}

    def confusions(self, records: Sequence[Record]) -> list[tuple[str, str, int]]:
        """Returns the confusions, most frequent first: (reference, prediction, count)."""
        return []

    def confusion_matrix(
        self, records: Sequence[Record], config: PreTrainedConfig
    ) -> tuple[list[str], np.ndarray] | None:
        """Returns class names and counts `(classes, classes)`, references in rows; None for a task without classes."""
        return None

    # Using a model

    def describe_outputs(self, config: PreTrainedConfig, tokenizer: Any = None) -> dict[str, Any]:
        """Returns the `Description` fields from which an exported model turns logits into an answer."""
        return {"labels": tuple(config.id2label[index] for index in range(config.num_labels))}

    def answer(self, logits: np.ndarray, labels: Sequence[str], top_k: int = 3) -> Record:
        """Returns the answer of the task's command for one sound file, as JSON data.

        Args:
            logits: `(num_labels,)` float32.
            labels: The names of the logits.
            top_k: Maximal number of alternatives.
        """
        raise NotImplementedError(f"{self.name} gives no answer about a whole file.")

    def format_answer(self, answer: Mapping[str, Any]) -> str:
        """Formats a result of `answer` or `classify_files` as a line of text, without the file name."""
        return "   ".join(one_line(f"{name} {value}") for name, value in answer.items() if name != "file")

    # Exploring a corpus

    def target_texts(self, rows: Dataset) -> list[str | None]:
        """Returns the target of every row as text, None where a row has none."""
        return [None if value is None else str(value) for value in rows[self.target_column]]

    def target_units(self, target: str, options: Any = None) -> list[str]:
        """Returns the units of a target that are counted: its class, or its words.

        Args:
            target: A target, as returned by `target_texts`.
        """
        return [target]

    def target_groups(self, rows: Dataset) -> list[str] | None:
        """Returns the classes in the order of their ids, or None for a task without classes."""
        return None
