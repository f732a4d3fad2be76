from __future__ import annotations

import inspect
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
import typer
from command_line import run

from hf_speech.cli.app import app
from hf_speech.decoding import build_arpa
from hf_speech.evaluation import evaluate_model
from hf_speech.experiments import search
from hf_speech.export.exporting import export_model
from hf_speech.inference import classify_files

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def low_tone(tmp_path: Path, make_tone) -> str:
    soundfile.write(tmp_path / "low.wav", make_tone(0.5, 300.0, 8000, 0.3), 8000)
    return str(tmp_path / "low.wav")


def test_train_prints_folder_metrics_and_next_steps(
    tones_recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--output-dir", str(tmp_path / "run"), "--training.max-steps", "30", "--name", "short"]
    assert run("train", str(tones_recipe), *words) == 0
    printed = capsys.readouterr().out
    assert "Corpus folder: 60 utterances inspected, 0 of them bad" in printed
    assert "accuracy on the test split of folder: 100.00%" in printed
    assert f"The model is in {tmp_path / 'run'}" in printed
    assert printed.count("\n  hf-speech") == 3
    assert (tmp_path / "run" / "model.safetensors").is_file()


def test_train_warns_if_there_is_no_evaluation_split(
    tones_recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--validation_fraction", "0", "--test_fraction", "0", "--training.load_best_model_at_end", "false"]
    words += ["--training.max_steps", "1", "--output_dir", str(tmp_path / "run")]
    assert run("train", str(tones_recipe), *words) == 0
    printed = capsys.readouterr().out
    assert "Not evaluated: folder has neither a test nor a validation split." in printed
    assert f"The model is in {tmp_path / 'run'}" in printed


def test_evaluate_uses_the_corpus_of_the_run(
    tones_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("evaluate", str(tones_run), "--output", str(tmp_path / "report.json")) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["metrics"]["accuracy"] == 1.0
    assert report["corpus"] == "folder"
    assert report["split"] == "test"
    assert "accuracy" in capsys.readouterr().out


def test_evaluate_writes_to_the_same_folder_as_training(tones_run: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(tones_run, model)
    (model / "evaluation" / "test.json").unlink()
    before = {path.name for path in (model / "evaluation").glob("*.json")}
    assert run("evaluate", str(model)) == 0
    assert {path.name for path in (model / "evaluation").glob("*.json")} - before == {"test.json"}
    assert run("evaluate", str(model), "--corpus", "folder", "--data_dir", str(tones_run.parent / "tones")) == 0
    assert (model / "evaluation" / "folder-test.json").is_file()


def test_evaluate_leaves_out_the_same_rows_as_training(
    tones_recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tones = tmp_path / "tones"
    shutil.copytree(tones_recipe.parent / "tones", tones)
    # Whichever speaker is in the test split, one of the clips of each is damaged.
    for speaker in range(3):
        (tones / "low" / f"speaker{speaker}_0.wav").write_text("no sound")
    words = ["--data_dir", str(tones), "--bad_rows", "skip", "--training.max_steps", "1"]
    assert run("train", str(tones_recipe), *words, "--output_dir", str(tmp_path / "run")) == 0
    trained = json.loads((tmp_path / "run" / "evaluation" / "test.json").read_text())
    assert (trained["num_utterances"], trained["num_skipped"]) == (19, 1)
    assert "_0.wav" in trained["skipped"][0]
    assert run("evaluate", str(tmp_path / "run")) == 0
    again = json.loads((tmp_path / "run" / "evaluation" / "test.json").read_text())
    assert (again["num_utterances"], again["num_skipped"]) == (19, 1)
    assert "1 more was not measured" in capsys.readouterr().out


def test_evaluate_on_another_corpus(tones_run: Path, digit_folder: Path, tmp_path: Path) -> None:
    words = ["--corpus", "folder", "--data_dir", str(digit_folder), "--split", "validation", "--test_fraction", "0.2"]
    assert run("evaluate", str(tones_run), *words, "--output", str(tmp_path / "r.json")) == 0
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["split"] == "validation"
    assert 0 < report["num_utterances"] < 10


def test_classify_prints_labels(tones_run: Path, low_tone: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("classify", str(tones_run), low_tone) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"{low_tone}: low ")
    assert "high" in printed
    assert run("classify", str(tones_run), low_tone, "--top-k", "1", "--format", "json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["labels"][0]["label"] == "low"
    assert len(result["labels"]) == 1


def test_classify_continues_after_a_bad_file(
    tones_run: Path, low_tone: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.wav").write_text("these are words")
    assert run("classify", str(tones_run), str(tmp_path / "notes.wav"), low_tone) == 1
    printed = capsys.readouterr()
    assert "low" in printed.out
    assert "error: " in printed.err
    assert "notes.wav" in printed.err


@pytest.fixture
def three_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Sets three threads in PyTorch, and no number of threads in the environment."""
    monkeypatch.setenv("OMP_NUM_THREADS", "3")  # restores the value after the test
    monkeypatch.delenv("OMP_NUM_THREADS")
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_threads")
def test_inference_uses_one_thread_by_default(tones_run: Path, low_tone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert run("classify", str(tones_run), low_tone) == 0
    assert torch.get_num_threads() == 3
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert run("classify", str(tones_run), low_tone) == 0
    assert torch.get_num_threads() == 1


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize(
    "words",
    [
        ["transcribe", "nowhere", "x.wav"],
        ["evaluate", "nowhere"],
        ["export", "nowhere", "--output", "exported"],
        ["tune-decoder", "nowhere", "--language_model", "x.arpa"],
        ["publish", "nowhere", "--repo_id", "anna/x"],
    ],
    ids=lambda words: words[0],
)
def test_threads_are_set_before_the_model_is_opened(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*words) == 2
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize(
    ("verb", "function", "options"),
    [
        ("search", search, ["trials", "seed", "prune"]),
        ("classify", classify_files, ["top_k"]),
        ("evaluate", evaluate_model, ["batch_size"]),
        ("export", export_model, ["int8"]),
        ("build-lm", build_arpa, ["max_words", "entropy_threshold"]),
    ],
)
def test_options_have_the_defaults_of_the_python_functions(
    verb: str, function: Callable[..., Any], options: list[str]
) -> None:
    command = typer.main.get_command(app).commands[verb]  # type: ignore[attr-defined]
    defaults = {parameter.name: parameter.default for parameter in command.params}
    parameters = inspect.signature(function).parameters
    assert {name: defaults[name] for name in options} == {name: parameters[name].default for name in options}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "nowhere.yaml"], "no recipe 'nowhere.yaml'"),
        (["train", "digits", "--training.learning_rat", "1"], "did you mean 'training.learning_rate'"),
        (["train", "--training.learning_rat", "1"], "did you mean 'training.learning_rate'"),
        (["evaluate", "runs/nowhere", "--corpus", "fsdd"], "runs/nowhere"),
        (["classify", "runs/nowhere", "x.wav"], "runs/nowhere"),
    ],
)
def test_one_sentence_error_for_mistakes(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert run(*words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["evaluate", "--noise_snr", "5"], "without --noise_folder"),
        (["tune-detector", "--noise_snr", "5"], "without --noise_folder"),
        (["evaluate", "--output", "result.csv"], "ends in .json"),
        (["evaluate", "--output", "result"], "ends in .json"),
        (["evaluate", "--training.per_device_eval_batch_size", "2"], "has no effect on a trained model"),
        (["evaluate", "--augmentation.noise_snr", "[0, 5]"], "has no effect on a trained model"),
        (["evaluate", "--features.hop_length", "80"], "has no effect on a trained model"),
        (["evaluate", "--beam_size", "5"], "choose one for speech recognition"),
        (["evaluate", "--lm_weight", "1"], "needs a language model"),
        (["align", "--output", "new"], "not for automatic-speech-recognition"),
        (["build-lm", "--output", "new.arpa"], "not for automatic-speech-recognition"),
        (["tune-decoder", "--language_model", "lm.arpa"], "not for automatic-speech-recognition"),
        (["tune-detector"], "not for keyword-spotting"),
        (["listen", "--negatives", "speech"], "need --enroll"),
        (["listen", "--output_dir", "new"], "need --enroll"),
        (["listen", "--threshold", "nan"], "--threshold"),
    ],
)
def test_options_without_effect_and_models_of_another_task_are_refused(
    tones_run: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (tones_run / "evaluation" / "test.json").read_bytes()
    assert run(words[0], str(tones_run), *words[1:]) == 2
    assert message in capsys.readouterr().err
    assert (tones_run / "evaluation" / "test.json").read_bytes() == before


@pytest.mark.parametrize("name", ["test.json", "test.csv", "test.jsonl"])
def test_evaluate_keeps_the_measured_table(
    tones_run: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_text("path,label\n")
    words = ["--corpus", "csv", "--test_file", str(tmp_path / name), "--output", str(tmp_path / name)]
    words[-1] = words[-1].replace(".csv", ".json")
    assert run("evaluate", str(tones_run), *words) == 2
    assert "choose an" in capsys.readouterr().err
    assert (tmp_path / name).read_text() == "path,label\n"


@pytest.mark.parametrize("source", ["-", "/dev/stdin", "/dev/fd/0"])
def test_classify_reads_standard_input(tones_run: Path, low_tone: str, source: str) -> None:
    words = [sys.executable, "-m", "hf_speech.cli", "classify", str(tones_run), source]
    with subprocess.Popen(["cat", low_tone], stdout=subprocess.PIPE) as pipe:
        finished = subprocess.run(words, stdin=pipe.stdout, capture_output=True, text=True)
    assert ": low " in finished.stdout, finished.stderr


def test_scripts_do_not_shadow_libraries_of_the_same_name(tmp_path: Path) -> None:
    for script, word in (("train.py", "--output"), ("evaluate.py", "--output"), ("download_data.py", "ravdess")):
        finished = subprocess.run(
            [sys.executable, REPOSITORY / "scripts" / script, "--help"],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=os.environ | {"COLUMNS": "200"},
        )
        assert finished.returncode == 0, finished.stderr
        assert word in finished.stdout


def test_script_trains(tones_recipe: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(REPOSITORY / "scripts" / "train.py"), str(tones_recipe)]
    command += ["--training.max_steps", "2", "--output_dir", str(tmp_path / "run")]
    finished = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert finished.returncode == 0, finished.stderr[-2000:]
    assert (tmp_path / "run" / "evaluation" / "test.json").is_file()


def test_label_suggests_no_training_on_an_empty_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    teacher = Path(__file__).resolve().parents[2] / "pretrained" / "fsdd-digits"
    assert run("label", str(teacher), str(tmp_path / "none.wav"), "--output", str(tmp_path / "labels.csv")) == 1
    printed = capsys.readouterr()
    assert "none.wav does not exist" in printed.err
    assert "(0 recordings, 0 rejected)" in printed.out
    assert "To train on it" not in printed.out
