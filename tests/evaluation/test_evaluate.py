"""Evaluation: metrics, provenance, and splits that do not fit the model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from datasets import ClassLabel, Dataset, Features
from sklearn.metrics import accuracy_score, f1_score

from hf_speech.common.fingerprint import fingerprint
from hf_speech.data.augmentation import Conditions
from hf_speech.errors import AudioError, CorpusError, RecipeError
from hf_speech.evaluation import EvaluationReport, evaluate_model
from hf_speech.inference import LoadedModel, load_model, predict


@pytest.fixture
def loaded(saved_model: Path) -> LoadedModel:
    return load_model(saved_model, device="cpu")


def evaluated(loaded: LoadedModel, rows: Dataset, **arguments: object) -> EvaluationReport:
    return evaluate_model(
        loaded, rows, corpus="tones", split="test", command="the command", progress=False, **arguments
    )


def with_audio(rows: Dataset, paths: list[str]) -> Dataset:
    """Returns the first rows, with other sounds."""
    return rows.select(range(len(paths))).map(
        lambda row, index: {"audio": {"path": paths[index], "bytes": None}}, with_indices=True
    )


def test_metrics_equal_those_of_single_utterances(loaded: LoadedModel, tones: Dataset):
    report = evaluated(loaded, tones)
    said = [["low", "high"][label] for label in tones["label"]]
    heard = [
        ["high", "low", "noise"][int(next(predict(loaded, [source], progress=False)).logits.argmax())]
        for source in tones["audio"]
    ]
    assert len(set(heard)) > 1
    assert [record["reference"] for record in report.records] == said
    assert [record["prediction"] for record in report.records] == heard
    assert [record["correct"] for record in report.records] == [a == b for a, b in zip(said, heard, strict=True)]
    assert report.metrics["accuracy"] == pytest.approx(accuracy_score(said, heard))
    assert report.metrics["f1_macro"] == pytest.approx(f1_score(said, heard, average="macro", zero_division=0))
    assert report.num_utterances == 60
    names, matrix = report.confusion_matrix
    assert matrix.sum() == 60
    assert sum(count for *_, count in report.confusions) == 60 - matrix.diagonal().sum()
    assert names == [name for name in ("high", "low", "noise") if name in said + heard]


def test_compares_classes_by_name(loaded: LoadedModel, tones: Dataset):
    turned = tones.map(
        lambda row: {"label": 1 - row["label"]},
        features=Features({**tones.features, "label": ClassLabel(names=["high", "low"])}),
    )
    report, expected = evaluated(loaded, turned), evaluated(loaded, tones)
    assert report.metrics == expected.metrics
    assert report.corpus_fingerprint == expected.corpus_fingerprint


def test_evaluates_each_speaker(loaded: LoadedModel, tones: Dataset):
    report = evaluated(loaded, tones)
    speakers = report.breakdowns["per_speaker"]
    assert list(speakers) == ["speaker0", "speaker1", "speaker2"]
    alone = evaluated(loaded, tones.filter(lambda row: row["speaker"] == "speaker1"))
    assert speakers["speaker1"]["num_utterances"] == alone.num_utterances == 20
    assert speakers["speaker1"]["accuracy"] == alone.metrics["accuracy"]
    assert speakers["speaker1"]["f1_macro"] == alone.metrics["f1_macro"]
    assert speakers["speaker1"]["confidence"]["accuracy"] == alone.confidence["accuracy"]


@pytest.mark.parametrize("names", [None, "", "absent"])
def test_unknown_speakers_are_not_a_group(loaded: LoadedModel, tones: Dataset, names: str | None):
    rows = tones.select(range(4)).remove_columns("speaker")
    rows = rows if names == "absent" else rows.add_column("speaker", [names] * 4)
    assert evaluated(loaded, rows).breakdowns["per_speaker"] == {}


def test_intervals_contain_their_metrics_and_name_the_method(loaded: LoadedModel, tones: Dataset):
    report = evaluated(loaded, tones)
    assert list(report.confidence) == list(report.metrics)
    for name, (low, high) in report.confidence.items():
        assert low <= report.metrics[name] <= high
    assert "Wilson score for accuracy, f1_micro" in report.confidence_method
    assert "bootstrap over utterances" in report.confidence_method


def test_a_perfect_split_has_a_wide_interval(loaded: LoadedModel, tones: Dataset):
    heard = [record["prediction"] for record in evaluated(loaded, tones).records]
    names = ["high", "low", "noise"]
    features = Features({**tones.features, "label": ClassLabel(names=names)})
    agreed = tones.map(lambda _, index: {"label": names.index(heard[index])}, with_indices=True, features=features)
    report = evaluated(loaded, agreed)
    assert report.metrics["accuracy"] == 1
    assert report.confidence["accuracy"] == pytest.approx((0.9398, 1), abs=1e-4)
    assert report.confidence["f1_macro"] == (1, 1)
    assert "of zero width only means" in report.confidence_method
    assert "of zero width" not in evaluated(loaded, tones).confidence_method


def test_intervals_over_speakers(loaded: LoadedModel, tones: Dataset):
    report = evaluated(loaded, tones, intervals_over="speakers")
    assert "over the 3 speakers" in report.confidence_method
    assert "Wilson" not in report.confidence_method
    shares = [values["accuracy"] for values in report.breakdowns["per_speaker"].values()]
    low, high = report.confidence["accuracy"]
    assert min(shares) <= low <= high <= max(shares)
    one = tones.filter(lambda row: row["speaker"] == "speaker1")
    with pytest.raises(CorpusError, match="does not name two speakers"):
        evaluated(loaded, one, intervals_over="speakers")


def test_real_time_factor_is_processing_time_over_duration(loaded: LoadedModel, tones: Dataset):
    report = evaluated(loaded, tones)
    conditions = report.real_time_factor_conditions
    seconds = sum(soundfile.info(source["path"]).duration for source in tones["audio"])
    assert conditions["audio_seconds"] == pytest.approx(seconds)
    assert report.real_time_factor == pytest.approx(conditions["processing_seconds"] / seconds)
    assert conditions["threads"] >= 1
    assert conditions["device"] == "cpu"
    assert conditions["processor"]


def test_provenance_is_complete(loaded: LoadedModel, saved_model: Path, tones: Dataset):
    report = evaluated(loaded, tones, corpus_revision="v1")
    assert (report.model, report.corpus, report.corpus_revision) == (str(saved_model), "tones", "v1")
    assert (report.split, report.command) == ("test", "the command")
    assert report.model_revision == loaded.revision
    assert set(report.model_fingerprint) == {"weights", "configuration", "feature_extractor", "code"}
    assert report.model_fingerprint == fingerprint(saved_model)
    assert set(report.versions) >= {"python", "torch", "transformers", "datasets", "hf_speech"}
    assert report.num_parameters == sum(parameter.numel() for parameter in loaded.model.parameters())


def test_records_contain_no_local_path(loaded: LoadedModel, tones: Dataset):
    paths = [record["path"] for record in evaluated(loaded, tones).records]
    assert paths[0] == str(Path("high") / "speaker0_0.wav")
    alone = evaluated(loaded, tones.select([0])).records[0]
    assert alone["path"] == "speaker0_0.wav"


def test_rows_may_contain_the_sound_and_an_id(loaded: LoadedModel, tones: Dataset):
    rows = tones.select(range(3))
    ids = [f"utterance-{i}" for i in range(3)]
    held = rows.map(lambda row: {"audio": {"path": None, "bytes": Path(row["audio"]["path"]).read_bytes()}})
    report, expected = evaluated(loaded, held.add_column("id", ids)), evaluated(loaded, rows)
    assert [record["id"] for record in report.records] == ids
    assert [record["path"] for record in report.records] == [None] * 3
    assert report.metrics == expected.metrics
    assert report.corpus_fingerprint == expected.corpus_fingerprint


def test_rejects_a_corpus_of_another_task(loaded: LoadedModel, tones: Dataset):
    transcribed = tones.remove_columns("label").add_column("text", ["tone"] * len(tones))
    with pytest.raises(RecipeError, match="for automatic-speech-recognition"):
        evaluated(loaded, transcribed)


def test_rejects_an_unknown_class_before_running(loaded: LoadedModel, tones: Dataset):
    features = Features({**tones.features, "label": ClassLabel(names=["low", "shrill"])})
    rows = with_audio(tones, ["missing.wav"] * 60).cast(features)
    with pytest.raises(CorpusError, match="'shrill'"):
        evaluated(loaded, rows)


def test_rejects_an_empty_split(loaded: LoadedModel, tones: Dataset):
    with pytest.raises(CorpusError, match="split test of tones is empty"):
        evaluated(loaded, tones.select([]))


def test_rejects_or_counts_an_unreadable_row(loaded: LoadedModel, tones: Dataset, tmp_path: Path):
    good = [source["path"] for source in tones["audio"]][:3]
    rows = with_audio(tones, [good[0], str(tmp_path / "missing.wav"), *good[1:]])
    with pytest.raises(AudioError, match=r"missing\.wav"):
        evaluated(loaded, rows)
    report = evaluated(loaded, rows, bad_rows="skip")
    assert (report.num_utterances, report.num_skipped) == (3, 1)
    assert "missing.wav" in report.skipped[0]
    assert str(tmp_path) not in report.skipped[0], "a report does not tell where a corpus lies on this machine"
    assert [record["id"] for record in report.records] == [0, 2, 3]
    with pytest.raises(CorpusError, match=r"No sound of the split test of tones can be read.*missing\.wav"):
        evaluated(loaded, rows.select([1]), bad_rows="skip")


@pytest.mark.corpora
def test_evaluates_real_digits(fsdd_dir: Path, tmp_path: Path):
    """Sixty real clips, with a model that outputs their names."""
    from hf_speech.data.corpora import make_corpus
    from hf_speech.models import SpeechFeatureExtractor, SpeechLSTMConfig, SpeechLSTMForAudioClassification
    from hf_speech.tasks import get_task

    corpus = make_corpus("fsdd", data_dir=str(fsdd_dir)).load()
    extractor = SpeechFeatureExtractor(sampling_rate=8000, num_mel_bins=20, hop_length=80, win_length=200)
    arguments = get_task("audio-classification").config_arguments(corpus)
    config = SpeechLSTMConfig(input_size=20, hidden_size=8, num_hidden_layers=1, **arguments)
    SpeechLSTMForAudioClassification(config).save_pretrained(tmp_path)
    extractor.save_pretrained(tmp_path)
    rows = corpus["test"].shuffle(seed=0).select(range(60))
    report = evaluated(load_model(tmp_path, device="cpu"), rows)
    assert report.num_utterances == 60
    assert len(report.breakdowns["per_speaker"]) == 6
    assert np.isclose(report.real_time_factor_conditions["audio_seconds"], sum(rows["duration"]), rtol=1e-3)


def test_simulated_conditions_are_reproducible(loaded: LoadedModel, tones: Dataset, tmp_path: Path):
    soundfile.write(tmp_path / "hiss.wav", np.random.default_rng(0).normal(0, 0.1, 3000), 8000)
    folder = str(tmp_path)
    noisy = Conditions(noise_folder=folder, noise_snr=0.0)
    faint = Conditions(noise_folder=folder, noise_snr=150.0)
    room, line = Conditions(reverberation=0.6), Conditions(telephone=True)
    reports = {
        name: evaluated(loaded, tones, conditions=conditions)
        for name, conditions in {
            "clean": None, "nothing": Conditions(), "noisy": noisy, "again": noisy, "faint": faint,
            "room": room, "room again": room, "line": line,
        }.items()
    }  # fmt: skip
    heard = {name: [record["probability"] for record in report.records] for name, report in reports.items()}
    assert heard["nothing"] == heard["clean"]
    assert heard["noisy"] == heard["again"] != heard["clean"]
    assert heard["room"] == heard["room again"] != heard["clean"] != heard["line"]
    assert heard["faint"] == pytest.approx(heard["clean"], abs=1e-4)
    names = ("reverberation", "noise", "telephone")
    written = {
        name: {key: value for key, value in report.to_dict().items() if key in names}
        for name, report in reports.items()
    }
    assert written["clean"] == written["nothing"] == {}
    assert written["noisy"] == {"noise": {"folder": tmp_path.name, "snr": 0.0}}
    assert written["room"] == {"reverberation": 0.6}
    assert written["line"] == {"telephone": True}
    with pytest.raises(CorpusError, match="no recordings of noise"):
        Conditions(noise_folder=str(tmp_path / "nowhere"))
