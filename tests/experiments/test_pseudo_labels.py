"""A teacher labels only the recordings whose transcripts are withheld."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from hf_speech.experiments import Experiment, ExperimentFolders, page, pseudo_labels, run_experiments, runner
from hf_speech.experiments.pseudo_labels import PseudoLabelItem
from hf_speech.experiments.suite import RUNS
from hf_speech.inference.teachers import Label

TABLE = "train_file: labeled.csv, text_column: text, validation_fraction: 0, test_fraction: 0"
ITEM = PseudoLabelItem(
    "small-taught",
    "with labels",
    "an4",
    ".",
    (
        *(
            "--corpus",
            f"[{{name: an4, train_fraction: 0.5}}, {{name: csv, data_dir: {RUNS}/small-taught-labels, {TABLE}}}]",
        ),
        *("--text.lexicon", "cmudict", "--validation_fraction", "0", "--training.max_steps", "1"),
        *("--training.report_to", "none", "--training.dataloader_num_workers", "0", "--model.hidden_size", "8"),
    ),
    teacher="pretrained/an4",
    corpus="an4",
    transcribed=0.5,
)


class SaysYes:
    """A teacher that gets one of two words right."""

    name = "says-yes"
    column = "text"

    def label(self, files: Sequence[Path]) -> Iterator[Label]:
        for _ in files:
            yield Label("YES OTHER", 0.9, 1.5)


def test_replaces_withheld_transcripts_by_labels(
    small_corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(pseudo_labels, "open_teacher", lambda name: opened.append(name) or SaysYes())
    for module in (runner, page):
        monkeypatch.setattr(module, "EXPERIMENTS", (Experiment("small", "Small", "nothing.", (ITEM,)),))
    folders = ExperimentFolders(small_corpora, tmp_path / "runs", tmp_path / "results")
    run_experiments(["small-taught"], folders, tmp_path / "results.md", lambda line: None)

    assert opened == ["pretrained/an4"]
    with (folders.runs / "small-taught-labels" / "labeled.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    inspection = json.loads((folders.runs / "small-taught" / "inspection.json").read_text())
    assert inspection["splits"]["train"]["num_good"] == 12
    record = json.loads((folders.records / "small-taught.json").read_text())
    said = {row["path"].rpartition("/")[2].split("-")[0]: row["text"] for row in rows}
    assert set(said.values()) == {"YES OTHER"}
    # sentence(0) is "YES YES", sentence(1) "NO YES", sentence(2) "GO YES": two words of two are wrong but in the first.
    first = sum("an0" in row["path"] for row in rows)
    assert record["labels"] == {"withheld": 6, "labels": 6, "wer": pytest.approx((12 - first) / 12)}
    text = (tmp_path / "results.md").read_text()
    assert f"| with labels (6 labeled recordings with a word error rate of {100 * (12 - first) / 12:.1f}%) |" in text
    assert str(tmp_path) not in text
