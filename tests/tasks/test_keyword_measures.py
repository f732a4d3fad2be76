"""Thresholds, metrics and evaluations of a keyword spotter."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from command_line import run

from hf_speech.data.augmentation import Conditions
from hf_speech.errors import CorpusError, ModelError, RecipeError
from hf_speech.inference import Detector, DetectorOptions, predict
from hf_speech.publishing import check_card, render_card
from hf_speech.tasks import get_task
from hf_speech.training import load_recipe, train


def test_tune_detector_meets_the_false_alarm_rate(
    spotter_dir: Path,
    keywords_dir: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("HF_SPEECH_CACHE", str(tmp_path))
    capsys.readouterr()
    assert run("tune-detector", str(spotter_dir), "--false_alarms_per_hour", "0") == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[-2].split()[-1] == "0.00"
    written = json.loads((spotter_dir / DetectorOptions.FILE).read_text())
    assert set(written["thresholds"]) == {"high", "low"}
    assert written["negative_hours"] == pytest.approx(6 / 3600, abs=1e-3)
    thresholds = [point["threshold"] for point in written["curve"]]
    assert thresholds == sorted(thresholds)
    assert written["curve"][-1]["false_alarms_per_hour"] <= written["curve"][0]["false_alarms_per_hour"]
    detector = Detector(str(spotter_dir))
    assert detector.options.thresholds == written["thresholds"]
    for file in (keywords_dir / "noise").iterdir():
        assert list(detector.listen_to_file(file)) == []
    (spotter_dir / DetectorOptions.FILE).write_text("{}")
    with pytest.raises(ModelError, match="run hf-speech tune-detector again"):
        Detector(str(spotter_dir))
    (spotter_dir / DetectorOptions.FILE).unlink()


def test_tune_detector_also_measures_with_noise(
    spotter_dir: Path, keywords_dir: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_SPEECH_CACHE", str(tmp_path))
    passes = []

    def observe(*args: Any, conditions: Conditions | None = None, **options: Any) -> Any:
        passes.append(conditions)
        return predict(*args, conditions=conditions, **options)

    monkeypatch.setattr("hf_speech.evaluation.thresholds.predict", observe)
    noise = ["--noise_folder", str(keywords_dir / "noise"), "--noise_snr", "5"]
    assert run("tune-detector", str(spotter_dir), *noise) == 0
    assert passes == [None, Conditions(noise_folder=noise[1], noise_snr=5.0)]
    written = json.loads((spotter_dir / DetectorOptions.FILE).read_text())
    assert written["noise"] == {"folder": "noise", "snr": 5.0}
    assert written["negative_hours"] == pytest.approx(12 / 3600, abs=1e-3), "each recording twice"
    assert Detector(str(spotter_dir)).options.thresholds == written["thresholds"]
    (spotter_dir / DetectorOptions.FILE).unlink()


def test_thresholds_need_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Hub id is not used as the name of a new folder."""
    monkeypatch.chdir(tmp_path)
    assert run("tune-detector", "ann/spotter") == 2
    assert "There is no folder ann/spotter to write thresholds to" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def record(reference: str, duration: float, *peaks: tuple[str, float]) -> dict[str, Any]:
    return {
        "reference": reference,
        "prediction": reference,
        "correct": True,
        "is_keyword": reference != "other",
        "duration": duration,
        "peaks": [[name, 0, score] for name, score in peaks],
    }


@pytest.mark.parametrize(
    ("alarms", "expected"),
    # In two hours of negatives, 0.5 per hour allow one false alarm.
    [((1.0, 3.0), 0.25), ((3.0,), 0.0), ((1.0, 3.0, 6.0), 0.5), ((), 0.0), ((9.0, 9.0), 0.75)],
)
def test_counts_misses_at_a_false_alarm_rate(alarms: tuple[float, ...], expected: float) -> None:
    task = get_task("keyword-spotting")
    clips = [record("a", 1.0, ("a", score), ("b", 12.0)) for score in (0.5, 2.0, 5.0, 10.0)]
    negatives = [record("other", 3600.0, *(("b", score) for score in alarms)), record("other", 3600.0)]
    counts = task.tally([*clips, *negatives]).sum(axis=0)
    assert task.metrics_from_counts(counts)["miss_rate_0.5"] == pytest.approx(expected)


def test_negatives_are_needed_for_training_only(spotter_dir: Path, keywords_dir: Path, tmp_path: Path) -> None:
    """Own clips and hours of other speech are enough to measure a model of somebody else."""
    clips = [
        "--corpus",
        "keywords",
        "--data_dir",
        str(keywords_dir / "clips"),
        "--test_negatives",
        str([f"{keywords_dir}/noise"]),
    ]
    output = tmp_path / "measured.json"
    unsplit = ["--split", "all", "--validation_fraction", "0", "--test_fraction", "0"]
    assert run("evaluate", str(spotter_dir), *clips, *unsplit, "--output", str(output)) == 0
    measured = json.loads(output.read_text())
    assert measured["num_utterances"] == 16 + 3
    assert set(measured["per_class"]) == {"high", "low"}
    shutil.copytree(keywords_dir / "clips" / "high", tmp_path / "own" / "high")
    clips[3] = str(tmp_path / "own")
    assert run("evaluate", str(spotter_dir), *clips, *unsplit, "--output", str(output)) == 0
    assert set(json.loads(output.read_text())["per_class"]) == {"high"}, "no rate of a keyword without clips"
    for bad_rows, message in (("refuse", "class 'other', which train lacks"), ("skip", "as train_negatives")):
        recipe = load_recipe(keywords_dir / "recipe.yaml", ["--train_negatives", "null", "--bad_rows", bad_rows])
        with pytest.raises(CorpusError, match=message):
            train(recipe, tmp_path / bad_rows)


def test_rejects_a_corpus_without_keywords(keywords_dir: Path) -> None:
    task = get_task("keyword-spotting")
    corpus = load_recipe(
        {"task": "keyword-spotting", "corpus": {"name": "folder", "data_dir": str(keywords_dir / "clips")}}
    ).corpus.load()
    with pytest.raises(RecipeError, match="use the corpus `keywords`"):
        task.config_arguments(corpus)


def test_evaluates_the_detector_in_noise_and_writes_the_card(
    spotter_dir: Path, keywords_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_SPEECH_CACHE", str(tmp_path / "cache"))
    copy = Path(shutil.copytree(spotter_dir, tmp_path / "copy"))
    DetectorOptions({"high": 1.0, "low": 0.5}).save(copy)
    recipe = (copy / "recipe.yaml").read_text()
    # As on a machine without the augmentation folders, which evaluation does not need.
    (copy / "recipe.yaml").write_text(re.sub(r"(context_folders:\n\s*- ).*", r"\1nowhere", recipe))
    assert run("evaluate", str(copy)) == 0
    assert run("evaluate", str(copy), "--noise_folder", str(keywords_dir / "noise"), "--noise_snr", "5") == 0
    clean, noisy = (json.loads((copy / "evaluation" / f"{name}.json").read_text()) for name in ("test", "test-5dB"))
    assert "noise" not in clean
    assert noisy["noise"] == {"folder": "noise", "snr": 5.0}
    assert set(clean["detector"]["keywords"]) == {"high", "low", "all"}
    assert clean["detector"]["keywords"]["high"]["threshold"] == 1.0
    thresholds = [point["threshold"] for point in clean["curve"]]
    assert thresholds == sorted(thresholds)
    assert len(thresholds) > 1
    (copy / "evaluation" / "validation.json").unlink()  # It applies to other weights.
    card = render_card(copy, repo_id="anna/beeps", revision="v1")
    assert card.count("At the thresholds that were chosen") == 2
    assert "with noise at 5 dB" in card
    check_card(card, copy)
