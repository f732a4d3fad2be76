"""What a task is: all that differs between classifying an utterance and transcribing it.

Training and evaluation know only this interface and contain no `if task == ...`. Decisions:

* A task is stateless, one instance a task in `TASKS`. What a trained model has learned to say lives in its
  config (class names) or in its tokenizer (characters), and is handed in.
* Evaluation wants intervals as well as figures, so a task's metrics are functions of *counts that add up over
  utterances* (hits per class; substitutions, deletions and insertions). A split, one speaker, and 2,000
  bootstrap resamples are then the same computation: sum the counts, apply `metrics_from_counts`.
* From the model to the metrics travel ids, never logits: memory stays flat while the Trainer evaluates.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
import torch
from datasets import Dataset, DatasetDict
from transformers import EvalPrediction, PreTrainedConfig

from hf_speech.data.audio import source_name
from hf_speech.data.inspection import InspectionReport
from hf_speech.errors import RecipeError

Record: TypeAlias = dict[str, Any]
"""One evaluated utterance: `reference`, `prediction`, `correct` and what else the task knows about it."""

# What the feature extractor has that leaves nothing out.
WHOLE_SOUND: Mapping[str, Any] = {"offset": 0.0, "max_duration": None, "time_average": False}
TASK_OF_COLUMN = {"label": "audio-classification", "text": "automatic-speech-recognition"}


class Task(ABC):
    """All that training and evaluation must ask a task.

    Attributes:
        name: The Hub's name of the task, which is also the name of the transformers pipeline.
        target_column: The corpus column to be predicted.
        auto_model_class: The transformers Auto class that loads such a model.
        architecture_suffixes: Endings of the class names of such models, as `config.architectures` has them.
        model_types: The model families that do this task, as `model_type` in their configs.
        default_model_type: The family a recipe gets that names none.
        best_metric: The metric that chooses the best checkpoint.
        metrics: The metrics that may choose it in its place.
        greater_is_better: Whether more of these metrics is better.
        proportions: The metrics that are a share of the utterances, each right or wrong, so that an interval
            has a formula; the intervals of the others are bootstrapped.
        text_options: The dataclass of the recipe's section `text`, for a task that writes.
        can_join: Whether two utterances, one after the other, have a target together.
        hears_everything: Whether the target is about all of the sound, so that no part of it can be left out.
    """

    name: ClassVar[str]
    target_column: ClassVar[str]
    auto_model_class: ClassVar[type]
    architecture_suffixes: ClassVar[tuple[str, ...]]
    model_types: ClassVar[tuple[str, ...]]
    default_model_type: ClassVar[str]
    best_metric: ClassVar[str]
    metrics: ClassVar[tuple[str, ...]]
    greater_is_better: ClassVar[bool]
    proportions: ClassVar[frozenset[str]] = frozenset()
    text_options: ClassVar[type | None] = None
    can_join: ClassVar[bool] = False
    hears_everything: ClassVar[bool] = False

    # Before training

    def check_features(self, features: Mapping[str, Any]) -> None:
        """Refuses features that leave out sound which this task needs.

        Args:
            features: Arguments of `SpeechFeatureExtractor`.

        Raises:
            RecipeError: If sound is cut off, or frames are averaged, and the task is about all of them.
        """
        for key, whole in WHOLE_SOUND.items():
            if self.hears_everything and features.get(key, whole) != whole:
                raise RecipeError(f"{self.name} is about all of the sound: leave out features.{key}.")

    def check_columns(self, rows: Dataset | DatasetDict) -> None:
        """Refuses a corpus that was made for another task.

        Args:
            rows: One split or all of them, with the columns of `hf_speech.data`.

        Raises:
            RecipeError: If the corpus has no column that this task can predict.
        """
        for split in rows.values() if isinstance(rows, DatasetDict) else [rows]:
            if self.target_column in split.column_names:
                continue
            for column, task in TASK_OF_COLUMN.items():
                if column in split.column_names:
                    raise RecipeError(
                        f"This corpus is for {task} (it gives `{column}`, no `{self.target_column}`), but "
                        f"the task is {self.name}: choose another corpus, or a model for {task}."
                    )
            raise RecipeError(
                f"This corpus has no column `{self.target_column}`, which {self.name} predicts; it has "
                f"{', '.join(split.column_names)}."
            )

    def make_tokenizer(self, dataset_dict: DatasetDict, options: Any = None) -> Any:
        """Makes what turns text into ids and back, for a task that needs more than the class names in the config.

        Args:
            dataset_dict: The inspected corpus.
            options: The recipe's section `text`, an instance of `text_options`.
        """
        return None

    def load_lexicon(
        self, dataset_dict: DatasetDict, options: Any = None, lexicon_of_corpus: Path | None = None
    ) -> Any:
        """Loads the pronunciations of the training transcripts, for a task that has transcripts.

        Args:
            dataset_dict: The inspected corpus.
            options: The recipe's section `text`, an instance of `text_options`.
            lexicon_of_corpus: The dictionary that comes with the corpus, if one does.

        Returns:
            A `Lexicon`, or `None` if the recipe has none.
        """
        return None

    @abstractmethod
    def config_arguments(self, dataset_dict: DatasetDict, tokenizer: Any = None) -> dict[str, Any]:
        """What the corpus decides in the model's config: class names, or the size of the vocabulary."""

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
            dataset_dict: The inspected corpus.
            report: The report of that inspection.
            bad_rows: What the corpus's option of that name says to do with them.
            frames_of: The number of logit frames that the model makes of so many seconds.
            tokenizer: What `make_tokenizer` gave.
            options: The recipe's section `text`, an instance of `text_options`.

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
        """Looks at the target of one training utterance, where there is no whole corpus to inspect.

        Args:
            row: The utterance.
            seconds: How long it lasts.
            frames_of: The number of logit frames that the model makes of so many seconds.
            tokenizer: What `make_tokenizer` gave.
            options: The recipe's section `text`, an instance of `text_options`.

        Returns:
            Why it cannot be learned from, in a sentence; None if it can.
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

    @abstractmethod
    def collate_targets(self, targets: Sequence[int | torch.Tensor]) -> torch.Tensor:
        """The model's `labels` of a batch: `(batch,)`, or `(batch, characters)` padded with -100."""

    # While training

    @abstractmethod
    def preprocess_logits_for_metrics(
        self, logits: torch.Tensor | tuple[torch.Tensor, ...], labels: torch.Tensor | None
    ) -> torch.Tensor:
        """Logits to ids, a batch at a time on the device: for `Trainer(preprocess_logits_for_metrics=)`."""

    @abstractmethod
    def compute_metrics(self, prediction: EvalPrediction, tokenizer: Any = None) -> dict[str, float]:
        """The metrics of gathered ids, as `Trainer(compute_metrics=)` wants it."""

    def sample_lines(self, prediction: EvalPrediction, tokenizer: Any = None, count: int = 3) -> list[str]:
        """A few utterances as they were understood, for the training log; none where the metrics say it all.

        Args:
            prediction: The gathered ids that `compute_metrics` gets.
            tokenizer: What `make_tokenizer` gave.
            count: Number of utterances, the same ones at every evaluation.
        """
        return []

    # Evaluation

    def load_tokenizer(self, folder: str, **hub_arguments: Any) -> Any:
        """Loads what turns ids into text, for a task that needs more than the class names in the config.

        Args:
            folder: A model folder or Hub id.
            **hub_arguments: `revision` and the like, for `from_pretrained`.
        """
        return None

    @abstractmethod
    def references(self, rows: Dataset, config: PreTrainedConfig, tokenizer: Any = None) -> list[str]:
        """The true class names or transcripts of a split, in the model's own terms.

        Args:
            rows: The split.
            config: The model's config.
            tokenizer: What `load_tokenizer` gave.

        Raises:
            CorpusError: If a row has no target, or a class the model has never heard of.
        """

    @abstractmethod
    def decode(self, logits: np.ndarray, config: PreTrainedConfig, tokenizer: Any = None) -> Record:
        """What a model says about one utterance.

        Args:
            logits: `(num_labels,)` or `(frames, vocabulary)` float32.
            config: The model's config.
            tokenizer: What `load_tokenizer` gave.

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
            counts: Sums `(..., counts)` over utterances of the rows of one `tally`.

        Returns:
            For each metric an array `(...)`.
        """

    @abstractmethod
    def breakdowns(self, records: Sequence[Record], config: PreTrainedConfig) -> dict[str, dict[str, dict[str, float]]]:
        """Tables beyond the split's metrics, by the name they have in a report, such as `per_class`."""

    @abstractmethod
    def confusions(self, records: Sequence[Record]) -> list[tuple[str, str, int]]:
        """What was taken for what, most frequent first: (reference, prediction, how often)."""

    @abstractmethod
    def confusion_matrix(
        self, records: Sequence[Record], config: PreTrainedConfig
    ) -> tuple[list[str], np.ndarray] | None:
        """Names and counts `(names, names)`, a row for each reference, or None for a task without classes."""
