"""The items of an experiment: runs, cross-validations, comparisons and searches.

Each item returns a record of its metrics and their origin.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from hf_speech.common.fingerprint import LANGUAGE_MODEL
from hf_speech.data import make_corpus
from hf_speech.errors import CorpusError
from hf_speech.evaluation import evaluate_model
from hf_speech.evaluation.rows import select_rows
from hf_speech.experiments.compare import compare
from hf_speech.experiments.runs import RunRecord, finish_run, is_finished, read_run
from hf_speech.experiments.search import search
from hf_speech.experiments.variants import parse_axis
from hf_speech.inference import BeamOptions, load_model
from hf_speech.training import Recipe, load_recipe

# Recorded commands use these in place of the local folders of corpora and runs.
CORPORA = "CORPORA"
RUNS = "runs/experiments"


@dataclass(frozen=True)
class Item:
    """One part of an experiment: a training run, or one run per fold of a cross-validation.

    Attributes:
        name: Name of the run folder and of the record.
        description: A short description for the table.
        recipe: The recipe.
        folder: Folder of the corpus, relative to the folder of all corpora.
        overrides: Command-line arguments; paths in other corpora begin with `CORPORA/`.
        minutes: Approximate duration on one CPU core.
        split: The split whose metric is reported. If "validation", the test split is not evaluated.
        folds: Number of folds of a cross-validation, whose metric is reported over all folds; 0 for a single run.
        train_split: Whether to evaluate the training split too, to show overfitting.
        note: A remark on the result.
        tuned_on: Speakers on which settings were chosen; the metric over the other speakers is also reported.
        base: Name of the item whose model the training starts from, which must be run first.
        tested_on: For a recipe that trains on synthesized speech: the corpus of recordings whose test split is
            evaluated. `folder` is then the folder of this corpus.
        test_options: Options of `tested_on`.
        is_labeled: Whether the model learns labels. A base model that only learns a teacher's states is not evaluated.
    """

    name: str
    description: str
    recipe: str
    folder: str
    overrides: tuple[str, ...] = ()
    minutes: float = 0
    split: str = "test"
    folds: int = 0
    train_split: bool = False
    note: str = ""
    tuned_on: tuple[str, ...] = ()
    base: str = ""
    tested_on: str = ""
    test_options: Mapping[str, Any] = field(default_factory=dict)
    is_labeled: bool = True

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits of the recipe's corpus that are evaluated."""
        if not self.is_labeled:
            return ()
        if self.tested_on:
            return ("validation",)
        return tuple(dict.fromkeys(("validation", self.split)))

    def run(self, folders: ExperimentFolders) -> dict[str, Any]:
        """Runs the item, skipping what is already done, and returns its record."""
        folds: Iterable[int | None] = range(self.folds) if self.folds else [None]
        record: dict[str, Any] = {"kind": "run", "records": [self._train(folders, fold).to_dict() for fold in folds]}
        if self.tuned_on:
            record["others"] = self._count_other_speakers(folders)
        return record

    def _count_other_speakers(self, folders: ExperimentFolders) -> dict[str, int]:
        """Counts all and the correct utterances of the speakers on which no setting was chosen."""
        counts = {"speakers": 0, "utterances": 0, "right": 0}
        for run_dir in self._run_dirs(folders):
            report = json.loads((run_dir / "evaluation" / f"{self.split}.json").read_text(encoding="utf-8"))
            for speaker, row in report["per_speaker"].items():
                if speaker not in self.tuned_on:
                    counts["speakers"] += 1
                    counts["utterances"] += row["num_utterances"]
                    counts["right"] += round(row["accuracy"] * row["num_utterances"])
        return counts

    def _train(self, folders: ExperimentFolders, fold: int | None) -> RunRecord:
        run_dir = folders.runs / (self.name if fold is None else f"{self.name}-{fold}")
        recipe, command = self._prepare(folders, fold)
        record = finish_run(recipe, run_dir, command, self.splits)
        if self.tested_on:
            record = self._test_on_recordings(folders, run_dir)
        if self.train_split and not (run_dir / "evaluation" / "train.json").is_file():
            rows = recipe.corpus.load()["train"]
            command = f"hf-speech evaluate {run_dir} --split train"
            report = evaluate_model(
                load_model(run_dir), rows, corpus=recipe.corpus.name, split="train", command=command
            )
            report.save(run_dir / "evaluation" / "train.json")
            record = finish_run(recipe, run_dir, command, self.splits)
        return record

    def _prepare(self, folders: ExperimentFolders, fold: int | None) -> tuple[Recipe, str]:
        """Returns the recipe, and the command that trains it."""
        init_from = ["--init_from", f"{RUNS}/{self.base}"] if self.base else []
        arguments = [*self.overrides, *init_from, *(["--fold", str(fold)] if fold is not None else [])]
        data_dir, recorded = [], []
        if not self.tested_on:
            data_dir, recorded = folders.data_dir(self.folder), folders.recorded_data_dir(self.folder)
        command = shlex.join(["hf-speech", "train", self.recipe, *recorded, *arguments])
        return load_recipe(self.recipe, [*data_dir, *map(folders.resolve, arguments)]), command

    def _test_on_recordings(
        self, folders: ExperimentFolders, run_dir: Path, beam: BeamOptions | None = None
    ) -> RunRecord:
        """Evaluates a model on the test split of `tested_on`, by greedy decoding or beam search."""
        file = run_dir / "evaluation" / ("test.json" if beam is None else "test-lm.json")
        if not file.is_file():
            run = f"{RUNS}/{self.name}"
            recorded = folders.recorded_data_dir(self.folder)
            words = ["hf-speech", "evaluate", run, "--corpus.name", self.tested_on, *recorded]
            words += [word for key, value in self.test_options.items() for word in (f"--{key}", json.dumps(value))]
            words += [] if beam is None else ["--language_model", f"{run}/{LANGUAGE_MODEL}"]
            data_dir = folders.data_dir(self.folder)
            corpus = make_corpus(self.tested_on, data_dir=data_dir[1] if data_dir else None, **self.test_options)
            loaded = load_model(run_dir)
            rows = select_rows(loaded, corpus.load(), "test", corpus, trained_on=False).rows
            command = shlex.join(words)
            report = evaluate_model(loaded, rows, corpus=corpus.name, split="test", command=command, beam=beam)
            report.save(file)
        return read_run(run_dir)

    def _command(self, verb: str, over: Sequence[str], folders: ExperimentFolders, *options: str) -> str:
        """Returns the command to record for all variants or trials."""
        axes = [word for axis in over for word in ("--over", axis)]
        arguments = [self.recipe, *self.overrides, *axes, *options, *folders.recorded_data_dir(self.folder)]
        return shlex.join(["hf-speech", verb, *arguments])

    def is_done(self, folders: ExperimentFolders) -> bool:
        """Returns whether the item is finished."""
        return all(is_finished(run_dir, self.splits) for run_dir in self._run_dirs(folders))

    def _run_dirs(self, folders: ExperimentFolders) -> list[Path]:
        """Returns the run folder, or that of each fold."""
        names = [f"{self.name}-{fold}" for fold in range(self.folds)] or [self.name]
        return [folders.runs / name for name in names]


@dataclass(frozen=True)
class ComparisonItem(Item):
    """A comparison of variants.

    Attributes:
        over: The keys that vary and their values, in the syntax of `--over`.
    """

    over: tuple[str, ...] = ()

    def run(self, folders: ExperimentFolders) -> dict[str, Any]:
        """Runs the variants that are not finished, and returns the record of the comparison."""
        command = self._command("compare", self.over, folders)
        axes = [parse_axis(axis) for axis in self.over]
        overrides = [*folders.data_dir(self.folder), *self.overrides]
        comparison = compare(self.recipe, axes, overrides, folders.runs / self.name, command)
        return {"kind": "comparison", **comparison.to_dict()}

    def is_done(self, folders: ExperimentFolders) -> bool:
        """Returns whether the table has been written."""
        return (folders.runs / self.name / "comparison.json").is_file()


@dataclass(frozen=True)
class SearchItem(Item):
    """A hyperparameter search.

    Attributes:
        over: The keys that vary with their values or ranges, in the syntax of `--over`.
        trials: Number of trials.
    """

    over: tuple[str, ...] = ()
    trials: int = 12

    def run(self, folders: ExperimentFolders) -> dict[str, Any]:
        """Runs the trials that are not finished, and returns the record of the search."""
        command = self._command("search", self.over, folders, "--trials", str(self.trials))
        axes = [parse_axis(axis) for axis in self.over]
        overrides = [*folders.data_dir(self.folder), *self.overrides]
        folder = folders.runs / self.name
        result = search(self.recipe, axes, overrides, trials=self.trials, output_dir=folder, command=command)
        return {"kind": "search", **result.to_dict()}

    def is_done(self, folders: ExperimentFolders) -> bool:
        """Returns whether the table has been written."""
        return (folders.runs / self.name / "search.json").is_file()


@dataclass(frozen=True)
class Experiment:
    """A group of items with one section on the results page.

    Attributes:
        name: Name on the command line.
        title: Heading of the section.
        published: The published result and its source.
        items: The items.
    """

    name: str
    title: str
    published: str
    items: tuple[Item, ...]


@dataclass(frozen=True)
class ExperimentFolders:
    """The folders of the experiments.

    Attributes:
        corpora: Folder of all corpora, None to download those that can be downloaded.
        runs: Folder of the run folders.
        records: Folder of the records.
    """

    corpora: Path | None
    runs: Path
    records: Path

    def data_dir(self, folder: str) -> list[str]:
        """Returns the command-line arguments for the folder of a corpus."""
        if self.corpora is None:
            return []
        if not (self.corpora / folder).exists():
            raise CorpusError(f"{self.corpora} has no {folder}: put the corpus there, or run other experiments.")
        return ["--data_dir", str(self.corpora / folder)]

    def resolve(self, word: str) -> str:
        """Returns a command-line argument with the local folders in place of `CORPORA/` and `runs/experiments/`."""
        word = word.replace(f"{RUNS}/", f"{self.runs.absolute()}/")
        return word if self.corpora is None else word.replace(f"{CORPORA}/", f"{self.corpora}/")

    def recorded_data_dir(self, folder: str) -> list[str]:
        """Returns the arguments of `data_dir` for a recorded command, without local folders."""
        return [] if self.corpora is None else ["--data_dir", str(PurePosixPath(CORPORA, folder))]

    def without_local_paths(self, record: Any) -> Any:
        """Returns a record with `CORPORA` and `runs/experiments` in place of the local folders."""
        text = json.dumps(record)
        for folder, name in ((self.runs, RUNS), (self.corpora, CORPORA)):
            if folder is not None:
                text = text.replace(json.dumps(str(folder))[1:-1], name)
        return json.loads(text)
