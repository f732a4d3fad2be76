"""The rows of an evaluation: training and evaluation skip the same ones."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from command_line import run
from datasets import DatasetDict

from hf_speech.data import make_corpus
from hf_speech.errors import CorpusError, RecipeError
from hf_speech.evaluation import select_rows
from hf_speech.inference import LoadedModel, load_model
from hf_speech.training import load_recipe, train

RATE = 8000
ASR = """
task: automatic-speech-recognition
corpus: {name: csv, train_file: FOLDER/rows.csv, text_column: text, split_column: split, bad_rows: skip}
features: {sampling_rate: 8000, num_mel_bins: 16, hop_length: 80, win_length: 200, normalization: none}
model: {frontend: subsampling, channels: 8, num_convolutions: 1, hidden_size: 8, num_hidden_layers: 1, dropout: 0.0}
training: {num_train_epochs: 1, per_device_train_batch_size: 8, dataloader_num_workers: 0}
"""


def write_rows(folder: Path, rows: list[tuple[str, float, str, str]]) -> None:
    rng = np.random.default_rng(0)
    with (folder / "rows.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "text", "split"])
        for name, seconds, text, split in rows:
            soundfile.write(folder / name, rng.normal(0, 0.1, round(seconds * RATE)), RATE)
            writer.writerow([name, text, split])


@pytest.fixture(scope="module")
def asr_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recognizer for a table with all kinds of bad rows in train and test."""
    folder = tmp_path_factory.mktemp("rows")
    good = [
        (f"{split}{index}.wav", 1.0, "ab b", split) for split in ("train", "validation", "test") for index in range(4)
    ]
    bad = [
        (f"{kind}-{split}.wav", seconds, text, split)
        for split in ("train", "test")
        for kind, seconds, text in (
            ("long", 35.0, "a"),
            ("short", 0.05, "a"),
            ("silent", 1.0, ""),
            ("fast", 0.2, "ab" * 20),
        )
    ]
    write_rows(folder, good + bad)
    (folder / "test3.wav").write_text("no sound")
    recipe = folder / "recipe.yaml"
    recipe.write_text(ASR.replace("FOLDER", str(folder)))
    return train(load_recipe(recipe), folder / "run").run_dir


def counts(folder: Path, name: str) -> tuple[int, int]:
    content = json.loads((folder / "evaluation" / f"{name}.json").read_text())
    return content["num_utterances"], content["num_skipped"]


def test_evaluate_uses_and_skips_the_same_rows_as_training(asr_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = counts(asr_run, "test")
    assert before == (4, 4)  # Of the transcript that is too long for its sound the model is to be asked.
    assert run("evaluate", str(asr_run)) == 0
    assert counts(asr_run, "test") == before
    assert "4 of 8 utterances" in capsys.readouterr().out


def test_the_train_split_equals_that_of_training(asr_run: Path) -> None:
    assert run("evaluate", str(asr_run), "--split", "train") == 0
    assert counts(asr_run, "train") == (4, 4)  # Utterances that are too fast were also left out.
    assert run("build-lm", str(asr_run), "--output", str(asr_run / "lm.arpa")) == 0


def test_evaluates_all_splits_together(asr_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("evaluate", str(asr_run), "--split", "all") == 0
    assert counts(asr_run, "all") == (12, 8)
    printed = capsys.readouterr().out
    assert "12 of 20 utterances" in printed
    assert "includes the utterances that the model was trained on" in printed


def test_evaluates_an_unsplit_folder_as_a_whole(
    tones_run: Path, digit_folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    output = tmp_path / "out.json"
    words = ["--corpus", "folder", "--data_dir", str(digit_folder), "--split", "all", "--output", str(output)]
    assert run("evaluate", str(tones_run), *words) == 0
    content = json.loads(output.read_text())
    assert (content["num_utterances"], content["num_skipped"], content["split"]) == (60, 0, "all")
    assert "all split: 60 utterances" in capsys.readouterr().out


def test_evaluates_a_table_with_only_test_rows(tones_run: Path, digit_folder: Path, tmp_path: Path) -> None:
    files = sorted(digit_folder.glob("*/*.wav"))[::6]
    (tmp_path / "new.csv").write_text("path,label\n" + "".join(f"{file},{file.parent.name}\n" for file in files))
    words = ["--corpus", "csv", "--test_file", str(tmp_path / "new.csv"), "--output", str(tmp_path / "out.json")]
    assert run("evaluate", str(tones_run), *words) == 0
    assert json.loads((tmp_path / "out.json").read_text())["num_utterances"] == len(files)


@pytest.fixture
def loaded(tones_run: Path) -> LoadedModel:
    return load_model(tones_run, device="cpu")


def folder_corpus(folder: Path, **options: Any) -> tuple[Any, DatasetDict]:
    corpus = make_corpus("folder", data_dir=str(folder), **options)
    return corpus, corpus.load()


def test_rejects_or_skips_bad_rows_with_reasons(loaded: LoadedModel, digit_folder: Path) -> None:
    (digit_folder / "low" / "speaker0_0.wav").write_bytes(b"")
    corpus, splits = folder_corpus(digit_folder)
    with pytest.raises(CorpusError, match=r"1 of the 60 utterances .* is bad \(1 empty\)"):
        select_rows(loaded, splits, "all", corpus, trained_on=False)
    corpus, splits = folder_corpus(digit_folder, bad_rows="skip")
    selection = select_rows(loaded, splits, "all", corpus, trained_on=False)
    assert len(selection.rows) == 59
    assert [(finding.count, "speaker0_0.wav" in finding.examples[0]) for finding in selection.left_out] == [(1, True)]


def test_a_class_missing_in_train_counts_only_in_another_corpus(loaded: LoadedModel, digit_folder: Path) -> None:
    corpus, splits = folder_corpus(digit_folder, bad_rows="skip", test_fraction=0.5)
    splits["train"] = splits["train"].filter(lambda row: row["label"] == 0)
    own = select_rows(loaded, splits, "test", corpus)
    assert set(own.rows["label"]) == {0}
    assert len(splits["test"]) == len(own.rows) + own.left_out[0].count
    assert set(select_rows(loaded, splits, "test", corpus, trained_on=False).rows["label"]) == {0, 1}


def test_reports_a_wrong_split(loaded: LoadedModel, digit_folder: Path) -> None:
    corpus, splits = folder_corpus(digit_folder)
    with pytest.raises(RecipeError, match=r"no split 'tset': did you mean 'test'\?"):
        select_rows(loaded, splits, "tset", corpus)


def test_does_not_decode_other_splits(loaded: LoadedModel, digit_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hf_speech.data import inspection

    corpus, splits = folder_corpus(digit_folder, test_fraction=0.5)
    decoded: list[str] = []
    decode = inspection._decode

    def spy(source: dict[str, Any], *arguments: Any) -> Any:
        decoded.append(source["path"])
        return decode(source, *arguments)

    monkeypatch.setattr(inspection, "_decode", spy)
    selection = select_rows(loaded, splits, "test", corpus)
    assert sorted(decoded) == sorted(source["path"] for source in selection.rows["audio"])
