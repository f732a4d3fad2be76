"""A grammar is trained on from synthetic voices, and tested on recordings with and without its language model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from stub_voices import Tones

from hf_speech.data.voices import ENGINES
from hf_speech.experiments import Experiment, ExperimentFolders, page, run_experiments, runner
from hf_speech.experiments.grammars import GrammarItem

GRAMMAR = "#JSGF V1.0;\npublic <s> = <w> <w> [<w>];\n<w> = YES | NO | GO | STOP | HELP;\n"
TINY = {
    "task": "automatic-speech-recognition",
    "corpus": {"name": "synthetic", "train_speakers": 2, "validation_speakers": 1, "test_speakers": 1},
    "text": {"normalizer": "lower"},
    "features": {"sampling_rate": 16_000, "normalization": "none"},
    "model": {"model_type": "conv_gru", "channels": 8, "hidden_size": 8, "stem_channels": 4, "num_hidden_layers": 1},
    "training": {"max_steps": 1, "report_to": "none", "dataloader_num_workers": 0},
}


@pytest.mark.parametrize(
    ("corpus", "folder", "options", "words"),
    [("an4", "an4", {}, ""), ("fsdd", "free-spoken-digit-dataset", {"transcripts": True}, " --transcripts true")],
    ids=["an4", "fsdd"],
)
def test_evaluates_recordings_with_and_without_the_language_model(
    small_corpora: Path,
    tmp_path: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    corpus: str,
    folder: str,
    options: dict[str, Any],
    words: str,
) -> None:
    (tmp_path / "small.jsgf").write_text(GRAMMAR)
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(TINY))
    monkeypatch.setitem(ENGINES, "tones", Tones())
    item = GrammarItem(
        "small-grammar",
        "a grammar",
        str(tmp_path / "small.yaml"),
        folder,
        ("--training.learning_rate", "1e-3"),
        tested_on=corpus,
        test_options=options,
        text=str(tmp_path / "small.jsgf"),
        voices=("tones:1+2+3+4+5",),
        sentences=12,
    )
    for module in (runner, page):
        monkeypatch.setattr(module, "EXPERIMENTS", (Experiment("small", "Small", "nothing.", (item,)),))
    folders = ExperimentFolders(small_corpora, tmp_path / "runs", tmp_path / "results")
    run_experiments(["small-grammar"], folders, tmp_path / "results.md", lambda line: None)

    record = json.loads((folders.records / "small-grammar.json").read_text())["records"][0]
    assert record["command"].startswith("hf-speech from-text ")
    assert record["command"].endswith(
        "small.yaml --sentences 12 --voices tones:1+2+3+4+5 --training.learning_rate 1e-3"
    )
    greedy, searched = (record["evaluations"][name] for name in ("test", "test-lm"))
    assert greedy["corpus"] == searched["corpus"] == corpus
    assert greedy["decoder"] is None or "language_model" not in greedy["decoder"]
    assert searched["decoder"]["language_model"]
    run = "runs/experiments/small-grammar"
    assert greedy["command"] == f"hf-speech evaluate {run} --corpus.name {corpus} --data_dir CORPORA/{folder}{words}"
    assert searched["command"] == f"{greedy['command']} --language_model {run}/language_model.arpa"
    lines = [line for line in (tmp_path / "results.md").read_text().splitlines() if line.startswith("|")]
    assert lines[-2].startswith("| a grammar |")
    assert lines[-1].startswith("| the same, with a language model of the grammar |")
    assert f"{100 * searched['metrics']['wer']:.2f}%" in lines[-1]
    grams = (folders.runs / "small-grammar" / "language_model.arpa").read_text()
    assert "\tyes no" in grams
