"""The parts of an experiment: single runs, folds, comparisons and searches.

Each gives one small record: the metrics of its evaluation files, and their origin.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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

# Names of the folders of corpora and runs in recorded commands, in place of those on the machine that ran them.
CORPORA = "CORPORA"
RUNS = "runs/experiments"


@dataclass(frozen=True)
class Item:
    """One part of an experiment.

    Attributes:
        name: Name of its run folder and of its record.
        what: What it is, in a few words.
        recipe: The recipe.
        folder: Folder of its corpus among all corpora.
        overrides: Command-line words; folders of other corpora begin with `CORPORA/`.
        minutes: Roughly how long it takes on one CPU core, to plan by.
        split: The split whose metric counts; the test split is left alone if that is "validation".
        folds: Of a corpus in folds: how many trainings make this one figure.
        train_split: Whether the training split is measured too, to show overfitting.
        note: A remark about the figure.
        chosen_on: The speakers that settings were chosen on; the metric over all others is given as well.
        base: The item whose model the training starts from, which has to be run before.
        tested_on: A corpus of recordings whose test split is measured, where the recipe trains on synthesized speech;
            `folder` is then its folder.
    """

    name: str
    what: str
    recipe: str
    folder: str
    overrides: tuple[str, ...] = ()
    minutes: float = 0
    split: str = "test"
    folds: int = 0
    train_split: bool = False
    note: str = ""
    chosen_on: tuple[str, ...] = ()
    base: str = ""
    tested_on: str = ""

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits of the recipe's corpus that are evaluated."""
        if self.tested_on:
            return ("validation",)
        return tuple(dict.fromkeys(("validation", self.split)))

    def run(self, folders: ExperimentFolders) -> dict[str, Any]:
        """Runs it, or the missing part of it, and gives its record."""
        numbers: Iterable[int | None] = range(self.folds) if self.folds else [None]
        records = [self._train(folders, fold).to_dict() for fold in numbers]
        made: dict[str, Any] = {"kind": "run", "records": records}
        if self.chosen_on:
            made["others"] = self._others(folders)
        return made

    def _others(self, folders: ExperimentFolders) -> dict[str, int]:
        """Counts the utterances, and the correct ones, of the speakers that no setting was chosen on."""
        counts = {"speakers": 0, "utterances": 0, "right": 0}
        for run_dir in self._run_dirs(folders):
            report = json.loads((run_dir / "evaluation" / f"{self.split}.json").read_text(encoding="utf-8"))
            for speaker, row in report["per_speaker"].items():
                if speaker not in self.chosen_on:
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
        """The recipe, and the command that trains it."""
        start = ["--init_from", str(folders.runs / self.base)] if self.base else []
        words = [*self.overrides, *start, *(["--fold", str(fold)] if fold is not None else [])]
        quoted, place = ([], []) if self.tested_on else (folders.quoted(self.folder), folders.data_dir(self.folder))
        command = shlex.join(["hf-speech", "train", self.recipe, *quoted, *words])
        return load_recipe(self.recipe, [*place, *map(folders.placed, words)]), command

    def _test_on_recordings(
        self, folders: ExperimentFolders, run_dir: Path, beam: BeamOptions | None = None
    ) -> RunRecord:
        """Measures a model of synthesized speech on the test split of `tested_on`, greedily or by a beam search."""
        file = run_dir / "evaluation" / ("test.json" if beam is None else "test-lm.json")
        if not file.is_file():
            run = f"{RUNS}/{self.name}"
            words = ["hf-speech", "evaluate", run, "--corpus.name", self.tested_on, *folders.quoted(self.folder)]
            words += [] if beam is None else ["--language_model", f"{run}/{LANGUAGE_MODEL}"]
            place = folders.data_dir(self.folder)
            corpus = make_corpus(self.tested_on, data_dir=place[1] if place else None)
            loaded = load_model(run_dir)
            rows = select_rows(loaded, corpus.load(), "test", corpus, trained_on=False).rows
            command = shlex.join(words)
            report = evaluate_model(loaded, rows, corpus=corpus.name, split="test", command=command, beam=beam)
            report.save(file)
        return read_run(run_dir)

    def _command(self, verb: str, over: Sequence[str], folders: ExperimentFolders, *words: str) -> str:
        """The command that runs all variants or trials, as it is recorded."""
        axes = [word for axis in over for word in ("--over", axis)]
        own = [self.recipe, *self.overrides, *axes, *words, *folders.quoted(self.folder)]
        return shlex.join(["hf-speech", verb, *own])

    def is_done(self, folders: ExperimentFolders) -> bool:
        """Whether it has been run completely."""
        return all(is_finished(run_dir, self.splits) for run_dir in self._run_dirs(folders))

    def _run_dirs(self, folders: ExperimentFolders) -> list[Path]:
        """Its run folder, or that of each fold."""
        names = [f"{self.name}-{fold}" for fold in range(self.folds)] or [self.name]
        return [folders.runs / name for name in names]


@dataclass(frozen=True)
class Table(Item):
    """A comparison of variants.

    Attributes:
        over: What varies, as `--over` takes it.
    """

    over: tuple[str, ...] = ()

    def run(self, folders: ExperimentFolders) -> dict[str, Any]:
        """Runs the variants that are missing."""
        command = self._command("compare", self.over, folders)
        axes = [parse_axis(axis) for axis in self.over]
        overrides = [*folders.data_dir(self.folder), *self.overrides]
        made = compare(self.recipe, axes, overrides, folders.runs / self.name, command).to_dict()
        return {"kind": "comparison", **made}

    def is_done(self, folders: ExperimentFolders) -> bool:
        """Whether the table is there."""
        return (folders.runs / self.name / "comparison.json").is_file()


@dataclass(frozen=True)
class Search(Item):
    """A search for hyper-parameters.

    Attributes:
        over: What is searched, as `--over` takes it.
        trials: Number of trials.
    """

    over: tuple[str, ...] = ()
    trials: int = 12

    def run(self, folders: ExperimentFolders) -> dict[str, Any]:
        """Runs the trials that are missing."""
        command = self._command("search", self.over, folders, "--trials", str(self.trials))
        axes = [parse_axis(axis) for axis in self.over]
        overrides = [*folders.data_dir(self.folder), *self.overrides]
        folder = folders.runs / self.name
        made = search(self.recipe, axes, overrides, trials=self.trials, output_dir=folder, command=command)
        return {"kind": "search", **made.to_dict()}

    def is_done(self, folders: ExperimentFolders) -> bool:
        """Whether the table is there."""
        return (folders.runs / self.name / "search.json").is_file()


@dataclass(frozen=True)
class Experiment:
    """One of the published experiments.

    Attributes:
        name: What the command line calls it.
        title: Its heading.
        published: What was published, with its source.
        items: What is run for it.
    """

    name: str
    title: str
    published: str
    items: tuple[Item, ...]


@dataclass(frozen=True)
class ExperimentFolders:
    """The folders of the experiments.

    Attributes:
        corpora: Folder of all corpora, None to download what can be.
        runs: Folder of the run folders.
        records: Folder of the records.
    """

    corpora: Path | None
    runs: Path
    records: Path

    def data_dir(self, folder: str) -> list[str]:
        """The words that say where a corpus is."""
        if self.corpora is None:
            return []
        if not (self.corpora / folder).exists():
            raise CorpusError(f"{self.corpora} has no {folder}: put the corpus there, or leave the experiment out.")
        return ["--data_dir", str(self.corpora / folder)]

    def placed(self, word: str) -> str:
        """A command-line word with the folders of all corpora and of the runs in place of their names."""
        word = word.replace(f"{RUNS}/", f"{self.runs.absolute()}/")
        return word if self.corpora is None else word.replace(f"{CORPORA}/", f"{self.corpora}/")

    def quoted(self, folder: str) -> list[str]:
        """The same for recorded commands, without the folders of this machine."""
        return [] if self.corpora is None else ["--data_dir", str(PurePosixPath(CORPORA, folder))]

    def without_folders(self, record: Any) -> Any:
        """A record whose commands do not name the folders of this machine."""
        text = json.dumps(record)
        for folder, name in ((self.runs, RUNS), (self.corpora, CORPORA)):
            if folder is not None:
                text = text.replace(json.dumps(str(folder))[1:-1], name)
        return json.loads(text)
