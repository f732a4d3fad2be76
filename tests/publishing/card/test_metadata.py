"""The metadata of a card, with the Hub's names of metrics and datasets."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from cards import AN4, DIGITS

from hf_speech.publishing.card.corpora import corpus_facts
from hf_speech.publishing.card.facts import read_facts
from hf_speech.publishing.card.metadata import benchmark_results, eval_results


@pytest.mark.parametrize(("folder", "name"), [(AN4, "espnet/an4"), (DIGITS, "fsdd")], ids=["on the Hub", "elsewhere"])
def test_metrics_have_the_hub_name_of_the_dataset(folder: Path, name: str) -> None:
    assert {result.dataset_type for result in eval_results(read_facts(folder))} == {name}


@pytest.mark.parametrize(("own", "name"), [({}, "folder"), ({"dataset": "anna/kitchen"}, "anna/kitchen")])
def test_metrics_of_custom_recordings_have_a_dataset(digits: Path, own: dict[str, str], name: str) -> None:
    """The Hub rejects a result without a dataset; a custom corpus has the name of the recipe."""
    recipe = yaml.safe_load((digits / "recipe.yaml").read_text())
    recipe["corpus"] = {"name": "folder", "data_dir": "path/to/mine", **own}
    (digits / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    for path in (digits / "evaluation").glob("*.json"):
        path.write_text(path.read_text().replace('"corpus": "fsdd"', '"corpus": "folder"'))
    assert {result.dataset_type for result in eval_results(read_facts(digits))} == {name}


@pytest.mark.parametrize(
    ("corpus", "title"),
    [
        ({"name": "csv", "train_file": "kitchen/train.csv"}, "kitchen (a table of utterances)"),
        ({"name": "csv", "train_file": "all.csv"}, "all.csv (a table of utterances)"),
        (
            {"name": "csv", "train_file": "all.csv", "data_dir": "/data/kitchen/", "title": "a table of utterances"},
            "kitchen (a table of utterances)",
        ),
        ({"name": "folder", "data_dir": "../words.tar.gz"}, "words.tar.gz (a folder of classes)"),
        ({"name": "kaldi", "data_dir": "egs", "dataset": "ann/egs"}, "ann/egs (Kaldi data folders)"),
        ({"name": "csv", "train_file": "a/b.csv", "title": "Kitchen 2024"}, "Kitchen 2024"),
        ({"name": "hub", "repo": "ann/words"}, "ann/words"),
        ({"name": "fsdd", "data_dir": "digits"}, "Free Spoken Digit Dataset"),
        ({"name": "folder", "data_dir": "."}, "a folder of classes"),
    ],
)
def test_a_corpus_without_a_title_is_named_after_its_files(corpus: dict[str, str], title: str) -> None:
    assert corpus_facts(corpus["name"], corpus).title == title


def test_error_rates_are_in_percent_and_accuracies_are_not() -> None:
    """As in the Hub's specification (wer 20.90), and as its metric accuracy computes it."""
    for folder, metric, scale in ((AN4, "wer", 100), (DIGITS, "accuracy", 1)):
        result = next(result for result in eval_results(read_facts(folder)) if result.metric_type == metric)
        report = json.loads((folder / "evaluation" / "test.json").read_text())
        assert result.metric_value == pytest.approx(scale * report["metrics"][metric], abs=0.005)


@pytest.mark.parametrize(
    ("changes", "task"),
    [
        ({"num_utterances": 2620}, "librispeech_clean_wer"),
        ({"num_utterances": 2939}, "librispeech_other_wer"),
        ({"num_utterances": 2000}, None),  # A substring.
        ({"num_utterances": 2620, "split": "validation"}, None),
        ({"num_utterances": 2620, "corpus": "an4"}, None),
    ],
)
def test_results_on_a_benchmark_of_the_hub(tmp_path: Path, changes: dict[str, object], task: str | None) -> None:
    folder = Path(shutil.copytree(AN4, tmp_path / "model"))
    for path in (folder / "evaluation").glob("*.json"):
        report = json.loads(path.read_text())
        report |= {"corpus": "librispeech", "date": "2026-11-28T10:00:00+00:00", "metrics": {"wer": 0.07372}}
        path.write_text(json.dumps(report | changes))
    results = benchmark_results(read_facts(folder), "ann/reader")
    if task is None:
        assert results is None
        return
    assert results is not None
    first, *others = yaml.safe_load(results)
    assert first == {
        "dataset": {"id": "hf-audio/open-asr-leaderboard", "task_id": task},
        "value": 7.37,
        "date": "2026-11-28",
        "source": {
            "url": "https://huggingface.co/ann/reader/blob/main/evaluation/test.json",
            "name": "hf-speech evaluate",
        },
        "notes": "best path, texts as LibriSpeech writes them",
    }
    assert any(other["notes"].startswith("beam search with") for other in others)


@pytest.mark.parametrize(
    ("conditions", "said"),
    [
        ({"noise": {"folder": "cafe", "snr": 10.0}}, "with noise at 10 dB"),
        ({"reverberation": 0.5}, "in a room with a reverberation time of 0.5 s"),
        (
            {"telephone": True, "reverberation": 1.0},
            "in a room with a reverberation time of 1 s, over a telephone line",
        ),
    ],
)
def test_metrics_in_simulated_conditions_are_marked(digits: Path, conditions: dict[str, object], said: str) -> None:
    report = json.loads((digits / "evaluation" / "test.json").read_text())
    (digits / "evaluation" / "worse.json").write_text(json.dumps(report | conditions))
    names = [str(result.metric_name) for result in eval_results(read_facts(digits))]
    simulated = [name for name in names if any(f", {word} " in name for word in ("with", "in", "over"))]
    assert 0 < len(simulated) < len(names)
    assert all(name.endswith(f", {said}") for name in simulated)
