"""Hyperparameter searches: proposals, selection, and interruptions."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from transformers.trainer_callback import TrainerControl, TrainerState

from hf_speech.cli.app import main
from hf_speech.errors import RecipeError, TrainingError
from hf_speech.experiments import parse_axis, read_run, search
from hf_speech.experiments.search import _Reporter
from hf_speech.training import run as training_run
from hf_speech.training.run_folder import locked

optuna = pytest.importorskip("optuna")

QUICK = ["--training.report_to", "none", "--training.per_device_train_batch_size", "20"]
AXES = [
    parse_axis("training.num_train_epochs=1..3"),
    parse_axis("model.hidden_size=4,8"),
    parse_axis("training.learning_rate=1e-3..1e-1:log"),
]
COMMAND = "hf-speech search tones"


@pytest.fixture(scope="module")
def searched(tones_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a search of three trials; tests only read it."""
    folder = tmp_path_factory.mktemp("search") / "out"
    search(str(tones_recipe), AXES, QUICK, trials=3, output_dir=folder, command=COMMAND)
    return folder


def test_samples_values_from_the_given_ranges(searched: Path) -> None:
    rows = list(csv.DictReader((searched / "search.csv").open()))
    assert [row["trial"] for row in rows] == ["0", "1", "2"]
    for row in rows:
        assert row["training.num_train_epochs"] in ("1", "2", "3")
        assert row["model.hidden_size"] in ("4", "8")
        assert 1e-3 <= float(row["training.learning_rate"]) <= 1e-1
        record = read_run(searched / f"trial-00{row['trial']}")
        assert float(row["validation_accuracy"]) == record.value("validation")
        recipe = (searched / f"trial-00{row['trial']}" / "recipe.yaml").read_text()
        assert f"hidden_size: {row['model.hidden_size']}\n" in recipe
    assert len({row["training.learning_rate"] for row in rows}) == 3


def test_rejects_a_search_without_validation(tones_recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no validation split to compare the trials on"):
        search(str(tones_recipe), AXES, [*QUICK, "--validation_fraction", "0"], trials=3, output_dir=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_only_the_best_trial_is_tested(searched: Path) -> None:
    content = json.loads((searched / "search.json").read_text())
    values = [trial["value"] for trial in content["trials"]]
    assert values[content["best"]] == max(values)
    tested = [trial for trial in range(3) if (searched / f"trial-00{trial}" / "evaluation" / "test.json").is_file()]
    assert tested == [content["best"]]
    accuracy = content["record"]["evaluations"]["test"]["metrics"]["accuracy"]
    assert f"evaluated once on the test split: **{accuracy:.2%}** (" in (searched / "search.md").read_text()
    assert content["command"] == COMMAND


def test_a_finished_search_only_adds_more_trials(
    searched: Path, tones_recipe: Path, tmp_path: Path, trained: list[str]
) -> None:
    folder = tmp_path / "out"
    shutil.copytree(searched, folder)
    search(str(tones_recipe), AXES, QUICK, trials=3, output_dir=folder)
    assert trained == []
    result = search(str(tones_recipe), AXES, QUICK, trials=4, output_dir=folder)
    assert trained == ["trial-003"]
    settings = [trial["settings"]["training.learning_rate"] for trial in result.trials]
    assert len(set(settings)) == 4, "going on does not propose the same again"


def test_finishes_an_interrupted_trial_first(
    searched: Path, tones_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: list[str]
) -> None:
    folder = tmp_path / "out"
    save = training_run._save

    def interrupt(recipe, parts, run_dir, history):
        if run_dir.name == "trial-001":
            raise KeyboardInterrupt
        save(recipe, parts, run_dir, history)

    monkeypatch.setattr(training_run, "_save", interrupt)
    with pytest.raises(KeyboardInterrupt):
        search(str(tones_recipe), AXES, QUICK, trials=2, output_dir=folder)
    assert trained == ["trial-000"]
    monkeypatch.setattr(training_run, "_save", save)
    result = search(str(tones_recipe), AXES, QUICK, trials=2, output_dir=folder)
    assert trained == ["trial-000", "trial-001"]
    assert [trial["outcome"] for trial in result.trials] == ["complete", "complete"]


@pytest.mark.slow
def test_reports_and_skips_a_failing_trial(
    tones_recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    axes = [parse_axis("model.hidden_size=8,0")]
    result = search(str(tones_recipe), axes, [*QUICK, "--training.max_steps", "1"], trials=4, output_dir=tmp_path / "o")
    outcomes = {trial["settings"]["model.hidden_size"]: trial["outcome"] for trial in result.trials}
    assert outcomes == {"8": "complete", "0": "fail"}
    printed = " ".join(capsys.readouterr().out.split())
    assert "failed: The recipe's section model: " in printed
    assert "hidden_size must lie between 1 and 65,536, and 0 does not." in printed
    with pytest.raises(RecipeError, match=r"No trial in .* could be trained"):
        search(str(tones_recipe), [parse_axis("model.hidden_size=0,-1")], QUICK, trials=1, output_dir=tmp_path / "p")


@pytest.mark.slow
def test_prunes_bad_trials(tones_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a pruner that stops every second trial after its first epoch."""
    monkeypatch.setattr(
        optuna.pruners.MedianPruner, "prune", lambda self, study, trial: trial.number % 2 == 1, raising=True
    )
    axes = [parse_axis("training.learning_rate=1e-3..1e-2")]
    words = [*QUICK, "--training.num_train_epochs", "3"]
    result = search(str(tones_recipe), axes, words, trials=2, output_dir=tmp_path / "out", prune=True)
    assert [trial["outcome"] for trial in result.trials] == ["complete", "pruned"]
    for trial, epochs in ((0, 3), (1, 1)):
        log = json.loads((tmp_path / "out" / f"trial-00{trial}" / "training.json").read_text())["log"]
        assert len([entry for entry in log if "eval_loss" in entry]) == epochs
    assert result.rows()[1][-1] == "pruned"


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        (["model.hidden_siz=4,8"], "did you mean 'model.hidden_size'"),
        (["features.win_length=-1,200"], "win_length"),
        (["model.hidden_size+model.dropout=4+0.1,8+0.2"], "A search varies each key separately"),
    ],
)
def test_rejects_a_wrong_key_before_the_first_trial(
    tones_recipe: Path, tmp_path: Path, trained: list[str], axes: list[str], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        search(str(tones_recipe), [parse_axis(axis) for axis in axes], QUICK, trials=1, output_dir=tmp_path / "out")
    assert trained == []


def test_does_not_continue_another_search(searched: Path, tones_recipe: Path) -> None:
    with pytest.raises(RecipeError, match="has a search over other keys or values"):
        search(str(tones_recipe), AXES[:2], QUICK, trials=3, output_dir=searched)


def test_runs_from_the_command_line(
    searched: Path, tones_recipe: Path, trained: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["search", str(tones_recipe), "--over", "training.num_train_epochs=1..3", "--over", "model.hidden_size=4,8"]
    words += ["--over", "training.learning_rate=1e-3..1e-1:log", "--trials", "3", "--output_dir", str(searched), *QUICK]
    with pytest.raises(SystemExit) as exit_:
        main(words)
    assert not exit_.value.code
    assert trained == []
    printed = capsys.readouterr().out
    assert "validation accuracy (%)" in printed
    assert f"The best trial is in {searched / 'trial-00'}" in printed
    assert "on the test split. To train it again:\n  hf-speech train" in printed


def test_trials_of_another_recipe_are_not_put_into_one_table(searched: Path, tones_recipe: Path) -> None:
    words = [*QUICK, "--training.weight_decay", "0.5", "--model.dropout", "0.3"]
    with pytest.raises(
        RecipeError, match=r"model\.dropout is 0\.0 there and 0\.3 here; training\.weight_decay is 0\.01"
    ):
        search(str(tones_recipe), AXES, words, trials=4, output_dir=searched)
    assert not (searched / "trial-003").exists()


@pytest.mark.parametrize("cut", [1, 20])
def test_a_search_killed_while_writing_its_journal_continues(
    searched: Path, tones_recipe: Path, tmp_path: Path, trained: list[str], cut: int
) -> None:
    folder = tmp_path / "out"
    shutil.copytree(searched, folder)
    (folder / "study.log").write_bytes((folder / "study.log").read_bytes()[:-cut])
    (folder / "study.log.lock").symlink_to("study.log")  # A stale lock of Optuna.
    result = search(str(tones_recipe), AXES, QUICK, trials=3, output_dir=folder)
    assert [trial["outcome"] for trial in result.trials] == ["complete"] * 3
    assert trained == []


def test_reports_a_damaged_journal(searched: Path, tones_recipe: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    shutil.copytree(searched, folder)
    lines = (folder / "study.log").read_text().splitlines(keepends=True)
    (folder / "study.log").write_text("".join([*lines[:2], "{oops\n", *lines[2:]]))
    with pytest.raises(RecipeError, match=r"Line 3 of .*study\.log is damaged"):
        search(str(tones_recipe), AXES, QUICK, trials=3, output_dir=folder)


def test_rejects_two_searches_in_one_folder(searched: Path, tones_recipe: Path) -> None:
    with locked(searched), pytest.raises(TrainingError, match="Another training is running"):
        search(str(tones_recipe), AXES, QUICK, trials=3, output_dir=searched)


def test_a_trial_reports_its_metric_by_the_number_of_the_epoch() -> None:
    class Trial:
        def __init__(self) -> None:
            self.reported: dict[int, float] = {}

        def report(self, value: float, step: int) -> None:
            self.reported[step] = value

        def should_prune(self) -> bool:
            return len(self.reported) == 3

    trial, control = Trial(), TrainerControl()
    reporter = _Reporter(trial, "accuracy")
    for epoch, value in ((None, 0.1), (0.9999, 0.2), (2.0001, 0.3)):
        reporter.on_evaluate(None, TrainerState(epoch=epoch), control, {"eval_accuracy": value})
    reporter.on_evaluate(None, TrainerState(epoch=3.0), control, {"eval_loss": 1.0})
    assert trial.reported == {0: 0.1, 1: 0.2, 2: 0.3}
    assert reporter.pruned
    assert control.should_training_stop
