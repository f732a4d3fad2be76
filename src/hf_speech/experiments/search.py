"""Hyperparameter search: Optuna proposes values for keys of a recipe, and the validation metric decides.

The Trainer's `hyperparameter_search` varies only training arguments. Here any key of a recipe can vary, and each trial
has a run folder, so this is a thin loop around Optuna's ask and tell. The study is a journal in the output folder: an
interrupted search resumes the interrupted trial from its last checkpoint. When all trials are done, the best one is
evaluated once on the test split.
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
from hf_speech.experiments.compare import format_interval, format_value, title_with_unit
from hf_speech.experiments.runs import RunRecord, finish_run, read_run
from hf_speech.experiments.variants import Axis, overrides_of, parse_range
from hf_speech.inference import load_model
from hf_speech.tasks import Task, metric_named
from hf_speech.training import Recipe, load_recipe, run_folder
from hf_speech.training.building import make_feature_extractor

JOURNAL = "study.log"


@dataclass(frozen=True)
class SearchResult:
    """The result of a search.

    Attributes:
        metric: The metric that was optimized on the validation split.
        command: The command that runs the search.
        trials: Number, outcome ("complete", "pruned" or "fail"), settings and value of each trial.
        best: Number of the best trial.
        record: Results of the best trial, including those on the test split.
        run_dir: Run folder of the best trial, which the files do not contain.
    """

    metric: str
    command: str
    trials: list[dict[str, Any]]
    best: int
    record: RunRecord
    run_dir: Path = Path()

    def rows(self) -> list[list[str]]:
        """Returns the cells of each trial; a star marks the best."""
        return [
            [
                f"{'* ' if trial['number'] == self.best else ''}{trial['number']}",
                *(_short(value) for value in trial["settings"].values()),
                format_value(self.metric, trial["value"]) if trial["outcome"] == "complete" else trial["outcome"],
            ]
            for trial in self.trials
        ]

    def head(self) -> list[str]:
        """Returns the names of the columns."""
        return ["trial", *self.trials[0]["settings"], title_with_unit(f"validation {self.metric}", self.metric)]

    def text(self) -> str:
        """Returns the table for a terminal."""
        return format_text(self.head(), self.rows())

    def markdown(self) -> str:
        """Returns the table in Markdown, with the command that makes it and the result on the test split."""
        table = f"`{self.command}`\n\n{format_markdown(self.head(), self.rows())}\n"
        if (value := self.record.value("test")) is None:
            return table
        result, interval = metric_named(self.metric).format(value), self.record.interval("test")
        result = f"**{result}** ({format_interval(self.metric, interval)})"
        return f"{table}\nThe best trial, evaluated once on the test split: {result}.\n"

    def to_dict(self) -> dict[str, Any]:
        """Returns data for JSON, the inverse of `from_dict`."""
        content = {key: getattr(self, key) for key in ("metric", "command", "trials", "best")}
        return {**content, "record": self.record.to_dict()}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> SearchResult:
        """Returns the result that `to_dict` was called on."""
        return cls(**{**content, "record": RunRecord.from_dict(content["record"])})

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
        axes: The keys that vary, each with a list of values or one range.
        overrides: Command-line arguments for all trials.
        trials: Total number of trials, including those of an earlier, interrupted search.
        output_dir: Folder for the run folders, the journal and the table; runs/search-NAME by default.
        seed: Seed of the proposals.
        prune: Whether to stop a trial that is worse than the median of the others at the same epoch.
        command: The command that runs the search, for the record.

    Returns:
        All trials and the best one. The table has been saved.

    Raises:
        RecipeError: If Optuna is not installed, a key is wrong, the corpus has no validation split, the folder has a
            different search, or no trial could be trained.
    """
    optuna = _import_optuna()
    space = {axis.keys[0]: _distribution(optuna, axis) for axis in axes}
    # Checked before the first trial, so that a wrong key costs no time.
    first = load_recipe(recipe, [*overrides, *overrides_of({axis.keys[0]: _example_value(axis) for axis in axes})])
    make_feature_extractor(first)
    if not first.corpus.load()["validation"]:
        raise RecipeError(
            "The corpus has no validation split to compare the trials on: add one, for example with "
            "--validation_fraction 0.1."
        )
    folder = output_dir or Path("runs") / f"search-{first.name}"
    with run_folder.locked(folder):
        study = _open_study(optuna, folder, first.task, seed)
        if study.trials and study.trials[0].distributions != space:
            raise RecipeError(
                f"{folder} has a search over other keys or values: remove it, or choose another --output_dir."
            )
        _check_same_recipe(first, folder, space)
        _run_trials(optuna, study, space, recipe, overrides, trials, folder, first.task, prune)
        result = _conclude(optuna, study, folder, first.task, command)
        result.save(folder)
    return result


def _check_same_recipe(recipe: Recipe, folder: Path, searched: Collection[str]) -> None:
    """Raises RecipeError if the folder has trials of another recipe."""
    for written in sorted(folder.glob("trial-*/recipe.yaml"))[:1]:
        differing = run_folder.differing_keys(recipe, written)
        differing = {key: values for key, values in differing.items() if key not in searched and key != "name"}
        if differing:
            listed = "; ".join(f"{key} is {old!r} there and {new!r} here" for key, (old, new) in differing.items())
            raise RecipeError(f"{folder} has trials of another recipe ({listed}): choose another --output_dir.")


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
    """Resumes interrupted trials, then runs the remaining ones."""

    def run(trial: Any) -> None:
        settings = {key: str(value) for key, value in trial.params.items()}
        run_dir = _folder(folder, trial.number)
        print(f"[{trial.number + 1}/{trials}] {', '.join(f'{key}={value}' for key, value in settings.items())}")
        arguments = [recipe, *overrides, *overrides_of(settings)]
        callback = _Reporter(trial, task.best_metric)
        try:
            resolved = load_recipe(recipe, arguments[1:])
            record = finish_run(
                resolved,
                run_dir,
                shlex.join(["hf-speech", "train", *arguments, "--output_dir", str(run_dir)]),
                splits=["validation"],
                callbacks=[callback] if prune else [],
            )
        except PreemptedError:
            raise  # The trial continues when the search is resumed.
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
    """Replaces Optuna's journal lock, which would survive a killed process; `run_folder.locked` protects the folder."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


class _Reporter(TrainerCallback):
    """Reports a trial's metric to Optuna after each evaluation, and stops the trial if Optuna prunes it."""

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
        raise RecipeError("A search needs Optuna, which is not installed: pip install 'hf_speech[search]'.") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _distribution(optuna: Any, axis: Axis) -> Any:
    """Returns Optuna's distribution for an axis."""
    values = [value for choice in axis.choices for value in choice]
    if len(axis.keys) > 1:
        raise RecipeError(f"A search varies each key separately: use one --over each for {' and '.join(axis.keys)}.")
    interval = parse_range(values[0]) if len(values) == 1 else None
    if interval is None:
        return optuna.distributions.CategoricalDistribution(values)
    if interval.integer:
        return optuna.distributions.IntDistribution(int(interval.low), int(interval.high), log=interval.log)
    return optuna.distributions.FloatDistribution(interval.low, interval.high, log=interval.log)


def _example_value(axis: Axis) -> str:
    """Returns a value of an axis, to validate its key with."""
    value = axis.choices[0][0]
    interval = parse_range(value)
    if interval is None:
        return value
    return str(int(interval.low)) if interval.integer else str(interval.low)


def _open_study(optuna: Any, folder: Path, task: Task, seed: int) -> Any:
    """Returns the study of the folder's journal, or a new one."""
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
    # With the same seed, a resumed search would propose the same values again.
    study.sampler = optuna.samplers.TPESampler(seed=seed + len(study.trials))
    return study


def _repair(journal: Path) -> None:
    """Removes an incomplete last line, which a killed search leaves behind."""
    if not journal.is_file():
        return
    content = journal.read_bytes()
    complete = content[: content.rfind(b"\n") + 1]
    for number, line in enumerate(complete.splitlines(), start=1):
        try:
            json.loads(line)
        except ValueError as error:
            raise RecipeError(
                f"Line {number} of {journal} is damaged: remove the folder, or choose another --output_dir."
            ) from error
    if complete != content:
        print(f"Removing the incomplete last line of {journal}.")
        write_bytes(journal, complete)


def _conclude(optuna: Any, study: Any, folder: Path, task: Task, command: str) -> SearchResult:
    """Evaluates the best trial once on the test split, and returns the result of the search."""
    complete = study.get_trials(states=[optuna.trial.TrialState.COMPLETE])
    if not complete:
        raise RecipeError(f"No trial in {folder} could be trained: see the messages above.")
    best = study.best_trial.number
    run_dir = _folder(folder, best)
    if "test" not in read_run(run_dir).evaluations:
        recipe = load_recipe(run_dir / "recipe.yaml")
        rows = recipe.corpus.load()["test"]
        if len(rows):
            report = evaluate_model(
                load_model(run_dir),
                rows,
                corpus=recipe.corpus.name,
                split="test",
                command=f"hf-speech evaluate {run_dir} --split test",
                bad_rows=recipe.corpus.bad_rows,
            )
            report.save(run_dir / "evaluation" / "test.json")
    trials = [
        {"number": trial.number, "outcome": trial.state.name.lower(), "settings": trial.params, "value": trial.value}
        for trial in study.trials
    ]
    return SearchResult(task.best_metric, command, trials, best, read_run(run_dir), run_dir)


def _folder(folder: Path, number: int) -> Path:
    return folder / f"trial-{number:03d}"


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
