"""Hyper-parameters by search: Optuna proposes values for any keys of a recipe, the validation split decides.

The Trainer's own `hyperparameter_search` varies training arguments only; here any key of a recipe can vary, and each
trial has a run folder. So this is a thin loop around Optuna's ask and tell. The study is a journal in the output
folder: an interrupted search continues the interrupted trial from its last checkpoint. The test split is evaluated
once, with the best trial, when all others are done.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from transformers.trainer_callback import TrainerControl, TrainerState
from transformers.training_args import TrainingArguments

from hf_speech.common.files import write_bytes, write_json, write_text
from hf_speech.common.tables import format_csv, format_markdown, format_text
from hf_speech.errors import HFSpeechError, PreemptedError, RecipeError
from hf_speech.evaluation import evaluate_model
from hf_speech.experiments.compare import figure, with_unit
from hf_speech.experiments.runs import RunRecord, finish_run, read_run
from hf_speech.experiments.variants import Axis, overrides_of, parse_range
from hf_speech.inference import load_model
from hf_speech.tasks import Task
from hf_speech.training import Recipe, load_recipe, run_folder
from hf_speech.training.building import make_feature_extractor

JOURNAL = "study.log"


@dataclass(frozen=True)
class SearchResult:
    """The result of a search.

    Attributes:
        metric: The metric that decided, on the validation split.
        command: The command that makes the search.
        trials: Number, outcome ("complete", "pruned" or "fail"), settings, value and minutes of each trial.
        best: Number of the best trial.
        run_dir: Its run folder.
        record: Its run, test included.
    """

    metric: str
    command: str
    trials: list[dict[str, Any]]
    best: int
    run_dir: Path
    record: RunRecord

    def rows(self) -> list[list[str]]:
        """The cells of each trial; the best is marked with a star."""
        return [
            [
                f"{'* ' if trial['number'] == self.best else ''}{trial['number']}",
                *(_short(value) for value in trial["settings"].values()),
                figure(self.metric, trial["value"]) if trial["outcome"] == "complete" else trial["outcome"],
            ]
            for trial in self.trials
        ]

    def head(self) -> list[str]:
        """Names of the columns."""
        return ["trial", *self.trials[0]["settings"], with_unit(f"validation {self.metric}", self.metric)]

    def text(self) -> str:
        """The table for a terminal."""
        return format_text(self.head(), self.rows())

    def markdown(self) -> str:
        """The table in markdown, with the command that makes it."""
        return f"`{self.command}`\n\n{format_markdown(self.head(), self.rows())}\n"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        kept = {key: getattr(self, key) for key in ("metric", "command", "trials", "best")}
        return {**kept, "record": self.record.to_dict()}

    def save(self, folder: Path) -> None:
        """Writes search.csv, search.md and search.json."""
        rows = [[t["number"], *t["settings"].values(), t["outcome"], t["value"]] for t in self.trials]
        head = ["trial", *self.trials[0]["settings"], "outcome", f"validation_{self.metric}"]
        write_text(folder / "search.csv", format_csv(head, rows))
        write_text(folder / "search.md", self.markdown())
        write_json(folder / "search.json", self.to_dict())


def search(
    recipe: str,
    axes: Sequence[Axis],
    overrides: Sequence[str] = (),
    *,
    trials: int = 20,
    output_dir: Path | None = None,
    seed: int = 0,
    prune: bool = False,
    command: str = "hf_speech.experiments.search(recipe, axes)",
) -> SearchResult:
    """Searches for the best values of some keys of a recipe.

    Args:
        recipe: A YAML file, or the name of a recipe of the package.
        axes: A key each, with its values or one range.
        overrides: Command-line words for all trials.
        trials: Trials in all, those of an earlier, interrupted search included.
        output_dir: Where run folders, journal and table go; runs/search-NAME by default.
        seed: Seed of the proposals.
        prune: Whether a trial that is worse than most others at the same epoch is stopped.
        command: The command that makes the search.

    Returns:
        All trials and the best one, whose table has been written too.

    Raises:
        RecipeError: If Optuna is not installed, a key is wrong, the folder has trials of another recipe, or no trial
            could be trained.
    """
    optuna = _import_optuna()
    space = {axis.keys[0]: _distribution(optuna, axis) for axis in axes}
    # Checked before the first trial, so that a wrong key costs no time.
    first = load_recipe(recipe, [*overrides, *overrides_of({axis.keys[0]: _an_example(axis) for axis in axes})])
    make_feature_extractor(first)
    if not first.corpus.load()["validation"]:
        raise RecipeError(
            "There is no validation split to decide between the trials by: give the corpus one, such as by "
            "--validation_fraction 0.1."
        )
    folder = output_dir or Path("runs") / f"search-{first.name}"
    with run_folder.locked(folder):
        study = _open_study(optuna, folder, first.task, seed)
        if study.trials and study.trials[0].distributions != space:
            raise RecipeError(f"{folder} has a search over something else: remove it, or give another --output_dir.")
        _check_same_recipe(first, folder, space)
        _run_trials(optuna, study, space, recipe, overrides, trials, folder, first.task, prune)
        result = _conclude(optuna, study, folder, first.task, command)
        result.save(folder)
    return result


def _check_same_recipe(recipe: Recipe, folder: Path, searched: Collection[str]) -> None:
    """Refuses to compare trials of different recipes in one table."""
    for written in sorted(folder.glob("trial-*/recipe.yaml"))[:1]:
        differing = run_folder.differing_keys(recipe, written)
        kept = {key: values for key, values in differing.items() if key not in searched and key != "name"}
        if kept:
            listed = "; ".join(f"{key} is {there!r} there and {here!r} here" for key, (there, here) in kept.items())
            raise RecipeError(f"{folder} has trials of another recipe ({listed}): give another --output_dir.")


def _run_trials(
    optuna: Any,
    study: Any,
    space: dict[str, Any],
    recipe: str,
    overrides: Sequence[str],
    trials: int,
    folder: Path,
    task: Task,
    prune: bool,
) -> None:
    """Runs the trials that are missing, those that were interrupted first."""

    def run(trial: Any) -> None:
        settings = {key: str(value) for key, value in trial.params.items()}
        run_dir = _folder(folder, trial.number)
        print(f"[{trial.number + 1}/{trials}] {', '.join(f'{key}={value}' for key, value in settings.items())}")
        words = [recipe, *overrides, *overrides_of(settings)]
        callback = _Reporter(trial, task.best_metric)
        try:
            resolved = load_recipe(recipe, words[1:])
            record = finish_run(
                resolved,
                run_dir,
                shlex.join(["hf-speech", "train", *words, "--output_dir", str(run_dir)]),
                splits=["validation"],
                callbacks=[callback] if prune else [],
            )
        except PreemptedError:
            raise  # The trial goes on when the search does.
        except HFSpeechError as error:
            print(f"Trial {trial.number} failed: {error}")
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            return
        if callback.pruned:
            study.tell(trial.number, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(trial.number, record.value("validation"))

    for frozen in study.get_trials(states=[optuna.trial.TrialState.RUNNING]):
        run(optuna.trial.Trial(study, frozen._trial_id))
    while len(study.trials) < trials:
        run(study.ask(space))


class _NoLock:
    """In place of Optuna's lock of the journal, which outlives a process that is killed: the folder is locked."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


class _Reporter(TrainerCallback):
    """Reports a trial's metric to Optuna after each evaluation, and stops the trial if Optuna decides so."""

    def __init__(self, trial: Any, metric: str) -> None:
        self.trial = trial
        self.metric = metric
        self.pruned = False

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        value = (metrics or {}).get(f"eval_{self.metric}")
        if value is None:
            return
        self.trial.report(value, round(state.epoch or 0))
        if self.trial.should_prune():
            self.pruned = control.should_training_stop = True


def _import_optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise RecipeError("Searching needs Optuna, which is not installed: pip install 'hf_speech[search]'.") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _distribution(optuna: Any, axis: Axis) -> Any:
    """What Optuna draws an axis from."""
    values = [value for choice in axis.choices for value in choice]
    if len(axis.keys) > 1:
        raise RecipeError(f"A search varies each key by itself: give {' and '.join(axis.keys)} an --over each.")
    found = parse_range(values[0]) if len(values) == 1 else None
    if found is None:
        return optuna.distributions.CategoricalDistribution(values)
    if found.integer:
        return optuna.distributions.IntDistribution(int(found.low), int(found.high), log=found.log)
    return optuna.distributions.FloatDistribution(found.low, found.high, log=found.log)


def _an_example(axis: Axis) -> str:
    """A value that an axis may take."""
    value = axis.choices[0][0]
    found = parse_range(value)
    if found is None:
        return value
    return str(int(found.low)) if found.integer else str(found.low)


def _open_study(optuna: Any, folder: Path, task: Task, seed: int) -> Any:
    """The study of the folder's journal, or a new one."""
    journal = folder / JOURNAL
    _repair(journal)

    backend = optuna.storages.journal.JournalFileBackend(str(journal), lock_obj=_NoLock())
    study = optuna.create_study(
        study_name="search",
        storage=optuna.storages.JournalStorage(backend),
        direction="maximize" if task.greater_is_better else "minimize",
        pruner=optuna.pruners.MedianPruner(),
        load_if_exists=True,
    )
    # The same seed would propose the same values again.
    study.sampler = optuna.samplers.TPESampler(seed=seed + len(study.trials))
    return study


def _repair(journal: Path) -> None:
    """Cuts off a last line that was not written to its end, as when the search was killed."""
    if not journal.is_file():
        return
    content = journal.read_bytes()
    complete = content[: content.rfind(b"\n") + 1]
    for number, line in enumerate(complete.splitlines(), start=1):
        try:
            json.loads(line)
        except ValueError as error:
            raise RecipeError(
                f"Line {number} of {journal} is damaged: remove the folder, or give another --output_dir."
            ) from error
    if complete != content:
        print(f"The last line of {journal} is not complete: it is removed.")
        write_bytes(journal, complete)


def _conclude(optuna: Any, study: Any, folder: Path, task: Task, command: str) -> SearchResult:
    """Evaluates the best trial on the test split, once, and puts all of them together."""
    complete = study.get_trials(states=[optuna.trial.TrialState.COMPLETE])
    if not complete:
        raise RecipeError(f"No trial of {folder} could be trained: look at what was printed about them.")
    best = study.best_trial.number
    run_dir = _folder(folder, best)
    if "test" not in read_run(run_dir).evaluations:
        recipe = load_recipe(run_dir / "recipe.yaml")
        rows = recipe.corpus.load()["test"]
        if len(rows):
            words = f"hf-speech evaluate {run_dir} --split test"
            report = evaluate_model(
                load_model(run_dir),
                rows,
                corpus=recipe.corpus.name,
                split="test",
                command=words,
                bad_rows=recipe.corpus.bad_rows,
            )
            report.save(run_dir / "evaluation" / "test.json")
    trials = [
        {"number": trial.number, "outcome": trial.state.name.lower(), "settings": trial.params, "value": trial.value}
        for trial in study.trials
    ]
    return SearchResult(task.best_metric, command, trials, best, run_dir, read_run(run_dir))


def _folder(folder: Path, number: int) -> Path:
    return folder / f"trial-{number:03d}"


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
