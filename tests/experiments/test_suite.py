"""The experiments and their page: each is run once, and all metrics come from files."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from stub_voices import Tones

from hf_speech.cli.app import main
from hf_speech.data.voices import ENGINES
from hf_speech.errors import CorpusError, RecipeError
from hf_speech.evaluation import wilson_interval
from hf_speech.experiments import (
    EXPERIMENTS,
    Experiment,
    ExperimentFolders,
    page,
    read_run,
    render,
    run_experiments,
    runner,
)
from hf_speech.experiments.page import NOT_YET
from hf_speech.experiments.runs import RunRecord
from hf_speech.experiments.suite import CORPORA, RUNS, ComparisonItem, Item, SearchItem
from hf_speech.training import run as training_run

REPOSITORY = Path(__file__).resolve().parents[2]
STEP = ("--training.max_steps", "1", "--training.report_to", "none", "--training.dataloader_num_workers", "0")
SMALL = (
    Experiment(
        "small",
        "A small experiment",
        "nothing at all.",
        (
            Item(
                "small-plain",
                "plain",
                "published/mfcc_lstm_emotion",
                "ravdess",
                (*STEP, "--test_fraction", "0.2"),
                split="validation",
                train_split=True,
                note="One step.",
            ),
            Item(
                "small-folds",
                "in folds",
                "emotion",
                "ravdess",
                (*STEP, "--num_folds", "2"),
                folds=2,
                tuned_on=("05", "21"),
            ),
            Item(
                "small-crossed",
                "crossed",
                "emotion",
                ".",
                (*STEP, "--num_folds", "2", "--corpus", "[{name: ravdess, weight: 1}, {name: crema_d, weight: 0}]"),
                folds=2,
            ),
            ComparisonItem("small-table", "in two ways", "emotion", "ravdess", STEP, over=("model.hidden_size=4,8",)),
            SearchItem(
                "small-search", "searched", "emotion", "ravdess", STEP, over=("model.dropout=0.1..0.5",), trials=2
            ),
            Item("small-later", "for another day", "emotion", "ravdess", STEP),
        ),
    ),
)
NAMES = [item.name for item in SMALL[0].items]


@pytest.fixture(autouse=True)
def experiments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "EXPERIMENTS", SMALL)
    monkeypatch.setattr(page, "EXPERIMENTS", SMALL)


@pytest.fixture(scope="module")
def done(small_corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[ExperimentFolders, Path]:
    """A folder in which all experiments but the last were run, and the page; tests only read them."""
    root = tmp_path_factory.mktemp("experiments")
    folders = ExperimentFolders(small_corpora, root / "runs", root / "docs" / "results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "EXPERIMENTS", SMALL)
        patch.setattr(page, "EXPERIMENTS", SMALL)
        run_experiments(NAMES[:-1], folders, root / "docs" / "results.md", lambda line: None)
    return folders, root / "docs" / "results.md"


def test_every_metric_comes_from_an_evaluation_file(done: tuple[ExperimentFolders, Path]) -> None:
    folders, path = done
    text = path.read_text()
    run = json.loads((folders.runs / "small-plain" / "evaluation" / "validation.json").read_text())
    low, high = run["confidence"]["accuracy"]
    row = next(line for line in text.splitlines() if line.startswith("| plain (one step) |"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert not (folders.runs / "small-plain" / "evaluation" / "test.json").exists()
    assert cells[1] == f"validation ({run['num_utterances']})"
    assert cells[2] == f"**{100 * run['metrics']['accuracy']:.2f}%** accuracy"
    assert cells[3] == f"{100 * low:.1f} to {100 * high:.1f}"
    train = json.loads((folders.runs / "small-plain" / "evaluation" / "train.json").read_text())
    assert cells[4] == f"{100 * train['metrics']['accuracy']:.2f}"
    assert cells[5] == f"{run['num_parameters']:,}"
    assert cells[7].startswith(f"`hf-speech train published/mfcc_lstm_emotion --data_dir {CORPORA}/ravdess --training.")


def test_shows_no_metric_of_a_model_that_learns_without_labels(done: tuple[ExperimentFolders, Path]) -> None:
    folders, _ = done
    record = json.loads((folders.records / "small-plain.json").read_text())
    item = dataclasses.replace(SMALL[0].items[0], is_labeled=False)
    assert item.splits == ()
    record["records"][0]["evaluations"] = {}
    (row,) = page._rows(item, record, train=True)
    assert row[1:5] == ["", "", "", ""]
    assert row[5] == f"{record['records'][0]['num_parameters']:,}"


def test_reads_the_number_of_parameters_of_an_older_record(done: tuple[ExperimentFolders, Path]) -> None:
    folders, _ = done
    content = json.loads((folders.records / "small-plain.json").read_text())["records"][0]
    number = content.pop("num_parameters")
    assert RunRecord.from_dict(content).num_parameters == number > 0


def test_folds_give_one_metric(done: tuple[ExperimentFolders, Path]) -> None:
    folders, path = done
    reports = [
        json.loads((folders.runs / f"small-folds-{fold}" / "evaluation" / "test.json").read_text()) for fold in (0, 1)
    ]
    tested = [set(report["per_speaker"]) for report in reports]
    assert tested[0] | tested[1] == {"01", "05", "09", "13", "21", "23"}
    assert not tested[0] & tested[1]
    right = sum(round(report["metrics"]["accuracy"] * report["num_utterances"]) for report in reports)
    low, high = wilson_interval(right, 48)
    row = next(line for line in path.read_text().splitlines() if line.startswith("| in folds ("))
    assert f"| test (48) | **{100 * right / 48:.2f}%** accuracy | {100 * low:.1f} to {100 * high:.1f} |" in row


def test_each_corpus_of_a_mixture_has_a_row(done: tuple[ExperimentFolders, Path]) -> None:
    folders, path = done
    reports = [
        json.loads((folders.runs / f"small-crossed-{fold}" / "evaluation" / "test.json").read_text())["per_corpus"]
        for fold in (0, 1)
    ]
    for corpus, count in (("ravdess", 48), ("crema_d", 16)):
        right = sum(round(report[corpus]["accuracy"] * report[corpus]["num_utterances"]) for report in reports)
        row = next(line for line in path.read_text().splitlines() if line.startswith(f"| crossed, {corpus} |"))
        assert f"| test ({count}) | **{100 * right / count:.2f}%** accuracy |" in row
    record = json.loads((folders.records / "small-crossed.json").read_text())["records"][1]
    assert record["command"].startswith(f"hf-speech train emotion --data_dir {CORPORA} --training")


def test_shows_the_metric_of_speakers_not_used_for_selection(done: tuple[ExperimentFolders, Path]) -> None:
    folders, path = done
    speakers = {
        name: row
        for fold in (0, 1)
        for name, row in json.loads((folders.runs / f"small-folds-{fold}" / "evaluation" / "test.json").read_text())[
            "per_speaker"
        ].items()
    }
    right = sum(round(8 * speakers[name]["accuracy"]) for name in ("01", "09", "13", "23"))
    low, high = wilson_interval(right, 32)
    expected = f"accuracy on the 4 other speakers: {100 * right / 32:.2f}%, {100 * low:.1f} to {100 * high:.1f}"
    assert f"| in folds ({expected}) |" in path.read_text()


def test_the_page_contains_tables_and_searches(done: tuple[ExperimentFolders, Path]) -> None:
    folders, path = done
    text = path.read_text()
    assert (
        f"### In two ways\n\n`hf-speech compare emotion {' '.join(STEP)} --over model.hidden_size=4,8 --data_dir"
        in text
    )
    assert "### Searched\n\n`hf-speech search emotion" in text
    assert "The best trial, evaluated once on the test split: **" in text
    best = json.loads((folders.runs / "small-search" / "search.json").read_text())["best"]
    tested = read_run(folders.runs / "small-search" / f"trial-00{best}").value("test")
    assert f"**{100 * tested:.2f}%**" in text


def test_the_page_marks_experiments_that_were_not_run(done: tuple[ExperimentFolders, Path]) -> None:
    row = next(line for line in done[1].read_text().splitlines() if line.startswith("| for another day |"))
    assert NOT_YET in row
    assert "`make experiments EXPERIMENT=small-later`" in row


def test_records_contain_no_local_paths(done: tuple[ExperimentFolders, Path]) -> None:
    folders, path = done
    for file in (path, *folders.records.iterdir()):
        for folder in (folders.corpora, folders.runs):
            assert str(folder) not in file.read_text(), file
    record = json.loads((folders.records / "small-table.json").read_text())["records"][0]
    assert record["command"].endswith(f" --output_dir {RUNS}/small-table/hidden_size=4")


def test_the_page_is_made_only_from_the_records(
    done: tuple[ExperimentFolders, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders, path = done
    assert render(folders.records) == path.read_text()
    (tmp_path / "docs").mkdir()
    shutil.copytree(folders.records, tmp_path / "docs" / "results")
    with pytest.raises(SystemExit) as exit_:
        main(["experiments", "--only_page", "--page", str(tmp_path / "docs" / "results.md")])
    assert not exit_.value.code
    assert (tmp_path / "docs" / "results.md").read_text() == path.read_text()


def test_does_not_repeat_finished_experiments(
    done: tuple[ExperimentFolders, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folders, path = done
    before = path.read_text()
    monkeypatch.setattr(training_run, "make_trainer", lambda *arguments: pytest.fail("trained again"))
    lines: list[str] = []
    run_experiments(NAMES[:-1], folders, path, lines.append)
    assert path.read_text() == before
    assert lines[0] == "[1/5] small-plain: plain (done)"


def test_reports_unknown_names_and_missing_corpora(done: tuple[ExperimentFolders, Path], tmp_path: Path) -> None:
    folders, path = done
    with pytest.raises(RecipeError, match="There is no experiment 'smal': choose from small, small-plain"):
        run_experiments(["smal"], folders, path)
    nowhere = ExperimentFolders(tmp_path, tmp_path / "runs", tmp_path / "results")
    with pytest.raises(CorpusError, match="has no ravdess: put the corpus there"):
        run_experiments(["small-later"], nowhere, tmp_path / "page.md")
    assert [item.name for item in runner.choose_items(["small-later", "small"])] == ["small-later", *NAMES[:-1]]


def test_lists_all_experiments(done: tuple[ExperimentFolders, Path], capsys: pytest.CaptureFixture[str]) -> None:
    folders, path = done
    with pytest.raises(SystemExit) as exit_:
        main(["experiments", "--list", "--runs", str(folders.runs), "--page", str(path)])
    assert not exit_.value.code
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == NAMES
    assert "done" in lines[0]
    assert "about" in lines[-1]


def test_the_page_in_docs_matches_its_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "EXPERIMENTS", EXPERIMENTS)
    assert (REPOSITORY / "docs" / "results.md").read_text(encoding="utf-8") == render(REPOSITORY / "docs" / "results")


def test_tests_a_model_of_synthesized_words_on_recordings(
    digit_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_SPEECH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(ENGINES, "tones", Tones())
    words = ("--voices", "[tones:1+2+3+4]", "--words", "[low, high]", "--train_speakers", "4", "--test_speakers", "1")
    item = Item("words", "words", "words_from_text", digit_folder.name, (*STEP, *words), tested_on="folder")
    folders = ExperimentFolders(digit_folder.parent, tmp_path / "runs", tmp_path / "records")
    record = item.run(folders)["records"][0]
    assert record["evaluations"]["validation"]["corpus"] == "synthetic"
    test = record["evaluations"]["test"]
    assert (test["corpus"], test["num_utterances"]) == ("folder", 6), "a tenth of the recordings"
    assert test["command"] == "hf-speech evaluate runs/experiments/words --corpus.name folder --data_dir CORPORA/tones"
    assert record["command"].startswith("hf-speech train words_from_text --training.max_steps")
    assert item.is_done(folders)
