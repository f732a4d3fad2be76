"""New keywords are enrolled with a few clips, and tested on the other clips and on negatives."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import soundfile

from hf_speech.errors import CorpusError
from hf_speech.evaluation.detection import detection_rates
from hf_speech.experiments import Experiment, ExperimentFolders, page, run_experiments, runner
from hf_speech.experiments.enrollment import WORDS, EnrollmentItem, enrollment_table
from hf_speech.inference import LoadedModel, predict
from hf_speech.inference.prediction import Prediction
from hf_speech.training import enroll_recognizer

PARTS = ("train", "validation", "test")
ITEM = EnrollmentItem(
    "small-new",
    "new keywords",
    "wake_words",
    "tones/audio",
    tuple(word for part in PARTS for word in (f"--{part}_negatives", f"[CORPORA/others/{part}]")),
    note="Nothing was chosen.",
    words=("abc", "cba"),
    count=5,
)


@pytest.fixture
def corpora(make_beeps: Any, tmp_path: Path) -> Path:
    texts = {f"tones/audio/{word}": [word] * 9 for word in ITEM.words}
    texts |= {f"others/{part}": ["cab ba", "ab ca bb", "ba c cb", "bc ab", "acb"] * 2 for part in PARTS}
    for folder, spoken in texts.items():
        (tmp_path / "corpora" / folder).mkdir(parents=True)
        for index, text in enumerate(spoken):
            sound = make_beeps(text, seed=len(folder) + index)
            soundfile.write(tmp_path / "corpora" / folder / f"{index}.wav", sound, 8000)
    return tmp_path / "corpora"


def test_enrolls_keywords_and_tests_them_on_the_other_clips(
    beeps_run: Path, corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[int] = []

    def counting_predict(model: LoadedModel, files: list[Path], **options: Any) -> Iterator[Prediction]:
        measured.append(len(files))
        return predict(model, files, **options)

    monkeypatch.setattr(enroll_recognizer, "predict", counting_predict)
    item = replace(ITEM, base=str(beeps_run))
    for module in (runner, page):
        monkeypatch.setattr(module, "EXPERIMENTS", (Experiment("small", "Small", "nothing.", (item,)),))
    folders = ExperimentFolders(corpora, tmp_path / "runs", tmp_path / "results")
    run_experiments(["small-new"], folders, tmp_path / "results.md", lambda line: None)

    rows = json.loads((folders.records / "small-new.json").read_text())["rows"]
    for word in ITEM.words:
        row = rows[word]
        run = f"runs/experiments/small-new/{word}"
        assert row["command"] == (
            f"hf-speech listen {beeps_run} {run}-clips --enroll {word} --negatives CORPORA/others/train "
            f"--validation_negatives CORPORA/others/validation --output_dir {run}"
        )
        linked = {path.name for path in (folders.runs / "small-new" / f"{word}-clips").iterdir()}
        assert linked == set(row["enrolled"])
        assert (len(linked), row["detector"]["clips"], row["num_skipped"]) == (5, 4, 0)
        assert row["miss_rate"] == 0
        assert row["miss_rate_in_context"] == 0
        options = json.loads((folders.runs / "small-new" / word / "keywords.decoder.json").read_text())
        assert options["thresholds"] == {word: row["threshold"]}
    # All clips are measured alone and between negatives.
    assert sorted(measured) == [4, 4, 4, 4, 5, 5, 5, 5, 10, 10, 10], "negatives once, for both keywords"
    text = (tmp_path / "results.md").read_text()
    assert "### New keywords\n\n`hf-speech listen" in text
    assert "| abc | 4 | **0.0%** (0.0 to 49.0) |" in text
    assert text.rstrip().endswith("Nothing was chosen.")
    assert str(corpora) not in text
    assert item.is_done(folders)
    run_experiments(["small-new"], folders, tmp_path / "results.md", lambda line: None)
    assert len(measured) == 11


def test_needs_a_folder_of_corpora(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="small-new has no corpus to download"):
        ITEM.run(ExperimentFolders(None, tmp_path, tmp_path))


def row(missed: int, alarms: int) -> dict[str, Any]:
    detector = detection_rates(400, missed + 40, alarms, 5.0)
    return {
        "command": "hf-speech listen X --enroll Y",
        "seconds": 122.0,
        "num_skipped": missed // 360,
        "miss_rate": missed / 400,
        "negative_hours": 5.0,
        "detector": detector,
        "miss_rate_in_context": (missed + 36) / 400,
    }


def test_the_table_has_intervals_and_the_mean_of_unused_keywords() -> None:
    rows = {word: row(360 if word == "computer" else 20, 5) for word in WORDS}
    table = enrollment_table({"kind": "enrollment", "rows": rows})
    assert table.startswith("`hf-speech listen X --enroll Y`\n\n| keyword |")
    assert "| alexa | 400 | **5.0%** (3.3 to 7.6) | 14.0% (10.9 to 17.7) | 15.0% (11.8 to 18.8) | 1.00 (" in table
    assert "| mean of the 4 not used to choose settings |  | 5.0% | 14.0% | 15.0% | 1.00 |  |" in table
    assert "in 5.0 hours" in table
    assert table.endswith("were not tested: 1.")
    alone = enrollment_table({"kind": "enrollment", "rows": {"alexa": row(20, 5)}})
    assert "mean" not in alone
    assert "not tested" not in alone
