"""Training on a streamed split, with one process and with two."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from tests.training.launching import launch_two
from transformers.trainer_utils import get_last_checkpoint

from hf_speech.errors import CorpusError, RecipeError
from hf_speech.training import load_recipe, train
from hf_speech.training.preparation import prepare

pytestmark = pytest.mark.usefixtures("impatient_streams")

REPOSITORY = Path(__file__).resolve().parents[2]
STEPS = 40
STREAM = ["--corpus.name", "hub", "--corpus.streaming", "true", "--corpus.stream_train", "true"]
STREAM += ["--corpus.max_rows", "30", "--corpus.text_column", "text"]


@pytest.fixture(scope="module")
def beeps(beeps_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The beeps in the layout of a Hub repository: two Parquet files for training, one for each other split."""
    folder = tmp_path_factory.mktemp("repository")
    for split, rows in load_recipe(beeps_recipe).corpus.load().items():
        content = [
            {"audio": {"path": Path(row["audio"]["path"]).name, "bytes": Path(row["audio"]["path"]).read_bytes()}}
            | {"text": row["text"]}
            for row in rows
        ]
        shards = 2 if split == "train" else 1
        for index in range(shards):
            Dataset.from_list(content[index::shards]).to_parquet(
                str(folder / f"{split}-{index:05}-of-{shards:05}.parquet")
            )
    return folder


@pytest.fixture
def recipe(beeps_recipe: Path, tmp_path: Path) -> Path:
    """The recipe of the beeps with the stream as its corpus."""
    path = tmp_path / "streamed.yaml"
    lines = beeps_recipe.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(line for line in lines if not line.startswith("corpus:")) + "\n")
    return path


def words(folder: Path, *more: str) -> list[str]:
    return [*STREAM, "--corpus.data_dir", str(folder), "--training.max_steps", str(STEPS), *more]


def log(run: Path) -> list[dict[str, float]]:
    last = get_last_checkpoint(str(run / "checkpoints"))
    return json.loads((Path(last) / "trainer_state.json").read_text())["log_history"]


@pytest.mark.parametrize("averaging", ["0", "0.9"])
def test_streamed_training_learns_and_resumes_exactly(
    beeps: Path, recipe: Path, tmp_path: Path, averaging: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = words(beeps, "--training.eval_steps", "10", "--training.weight_averaging", averaging)
    options += ["--augmentation.noise_snr", "[20,30]", "--training.load_best_model_at_end", "false"]
    whole = train(load_recipe(recipe, options), tmp_path / "whole")
    assert (
        "Training reads the whole split train from the stream; the 30 inspected utterances" in capsys.readouterr().out
    )
    evaluations = [entry for entry in log(whole.run_dir) if "eval_wer" in entry]
    assert [entry["step"] for entry in evaluations] == [10, 20, 30, 40]
    assert evaluations[-1]["eval_cer"] < evaluations[0]["eval_cer"]
    assert whole.metrics["test"]["cer"] == pytest.approx(evaluations[-1]["eval_cer"], abs=0.3)

    broken = tmp_path / "broken"
    shutil.copytree(whole.run_dir, broken)
    for name in (f"checkpoint-{STEPS}", "evaluation", "model.safetensors"):
        path = broken / name if name != f"checkpoint-{STEPS}" else broken / "checkpoints" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    train(load_recipe(recipe, options), broken, resume=True)
    weights, again = (load_file(run / "model.safetensors") for run in (whole.run_dir, broken))
    for name, weight in weights.items():
        torch.testing.assert_close(again[name], weight, atol=0, rtol=0)


def test_saves_the_average_between_epochs(beeps: Path, recipe: Path, tmp_path: Path) -> None:
    options = words(beeps, "--training.eval_steps", "20", "--training.weight_averaging", "0.9")
    run = train(load_recipe(recipe, options), tmp_path / "run").run_dir
    folder = run / "checkpoints" / "checkpoint-20"
    average, waiting = load_file(folder / "model.safetensors"), load_file(folder / "unaveraged.safetensors")
    assert average.keys() >= waiting.keys()
    assert max(float((average[name] - waiting[name]).abs().max()) for name in waiting) > 1e-3


def test_trains_on_a_stream_without_other_splits(beeps: Path, recipe: Path, tmp_path: Path) -> None:
    """Without validation and test splits."""
    folder = tmp_path / "train_only"
    folder.mkdir()
    for path in beeps.glob("train-*"):
        shutil.copy(path, folder)
    options = words(folder, "--corpus.validation_fraction", "0", "--corpus.test_fraction", "0")
    options += ["--training.load_best_model_at_end", "false", "--training.max_steps", "2"]
    result = train(load_recipe(recipe, options), tmp_path / "run")
    assert result.metrics == {}
    assert (result.run_dir / "model.safetensors").is_file()


def test_rejects_options_that_need_a_whole_corpus(beeps: Path, recipe: Path) -> None:
    with pytest.raises(RecipeError, match=r"set training\.max_steps"):
        prepare(load_recipe(recipe, [*STREAM, "--corpus.data_dir", str(beeps)]))
    for key, value in (
        ("augmentation.joining", "0.5"),
        ("augmentation.tempo_copies", "[0.9]"),
        ("training.cache_features", "true"),
        ("training.max_batch_seconds", "20"),
        ("training.teacher", "{model: openai/whisper-tiny.en}"),
    ):
        with pytest.raises((RecipeError, CorpusError), match=f"{key} needs all utterances in advance"):
            prepare(load_recipe(recipe, words(beeps, f"--{key}", value)))


def test_one_sentence_error_for_a_bad_utterance(beeps: Path, recipe: Path, tmp_path: Path) -> None:
    """The error comes from a loader process, without its traceback; or the utterance is skipped with a report."""
    # The sample that is inspected is drawn first: of so few rows it would hold the bad one.
    options = words(
        beeps, "--training.dataloader_num_workers", "1", "--corpus.max_rows", "5", "--text.vocabulary", "ab "
    )
    with pytest.raises(CorpusError) as caught:
        train(load_recipe(recipe, options), tmp_path / "refused")
    assert "\n" not in str(caught.value)
    assert "has 'c'" in str(caught.value)


def test_reports_skipped_utterances(
    beeps: Path, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = words(beeps, "--text.vocabulary", "ab ", "--corpus.bad_rows", "skip", "--training.max_steps", "4")
    train(load_recipe(recipe, options), tmp_path / "run")
    assert "utterances of the stream were left out, such as:" in capsys.readouterr().out


@pytest.mark.slow
def test_two_processes_share_a_stream(beeps: Path, recipe: Path, tmp_path: Path) -> None:
    """Each process reads its part, with batches of different lengths, and one model is trained."""
    options = words(beeps, "--training.eval_steps", "20", "--training.per_device_train_batch_size", "4")
    script = REPOSITORY / "scripts" / "train.py"
    done = launch_two(script, str(recipe), "--output_dir", str(tmp_path / "two"), *options)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("utterances inspected") == 1  # Only the first process prints.
    losses = [entry["eval_loss"] for entry in log(tmp_path / "two") if "eval_loss" in entry]
    assert len(losses) == 2
    assert losses[1] < 0.8 * losses[0]
