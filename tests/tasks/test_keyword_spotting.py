"""Keyword spotting: a tiny spotter of tones is trained, tuned, exported, and applied to files and streams."""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import re
import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from safetensors.numpy import load_file, save_file

from hf_speech.cli import main
from hf_speech.data.augmentation import Conditions
from hf_speech.errors import AudioError, CorpusError, ModelError, RecipeError
from hf_speech.inference import Detector, DetectorOptions, load_model, predict
from hf_speech.publishing import check_card, render_card
from hf_speech.publishing.hub import verify
from hf_speech.tasks import get_task
from hf_speech.training import load_recipe, train
from hf_speech.training.enroll import TRAINING

RATE = 8000
RECIPE = """
name: beeps
task: keyword-spotting
corpus: {name: keywords, data_dir: FOLDER/clips, validation_fraction: 0.3, test_fraction: 0.3, clip_copies: 2,
         train_negatives: [FOLDER/noise], validation_negatives: [FOLDER/noise], test_negatives: [FOLDER/noise],
         negative_seconds: 5}
features: {sampling_rate: 8000, num_mel_bins: 16, hop_length: 80, win_length: 200, normalization: global}
augmentation: {trim: 30, context_folders: [FOLDER/noise], context_before: [0, 0.3], context_after: [0.1, 0.2]}
model: {subsampling: 4, stem_channels: 4, channels: 16, num_convolutions: 1, hidden_size: 16, num_hidden_layers: 1,
        bidirectional: false, causal: true}
training: {max_steps: 2, per_device_train_batch_size: 8, dataloader_num_workers: 0}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of two beeps, and noise."""
    folder = tmp_path_factory.mktemp("beeps")
    rng = np.random.default_rng(0)
    time = np.arange(RATE // 2) / RATE
    for name, frequency in (("high", 1500), ("low", 400)):
        (folder / "clips" / name).mkdir(parents=True)
        for index in range(8):
            beep = 0.3 * np.sin(2 * np.pi * frequency * time) + rng.normal(0, 0.003, time.shape)
            soundfile.write(folder / "clips" / name / f"{index}.wav", beep, RATE)
    (folder / "noise").mkdir()
    for index in range(3):
        soundfile.write(folder / "noise" / f"{index}.wav", rng.normal(0, 0.1, 2 * RATE), RATE)
    return folder


@pytest.fixture(scope="module")
def run_dir(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder whose logits vary enough for events."""
    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE.replace("FOLDER", str(folder)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_SPEECH_CACHE", str(tmp_path_factory.mktemp("cache")))
        run = train(load_recipe(recipe), folder / "run").run_dir
    loaded = load_model(run)
    torch.manual_seed(0)
    torch.nn.init.normal_(loaded.model.classifier.weight, std=2.0)
    loaded.model.save_pretrained(run)
    return run


def run(*words: str) -> int:
    try:
        main(list(words))
    except SystemExit as exit:
        return int(exit.code or 0)
    return 0


def sound(seconds: float = 4.0) -> np.ndarray:
    rng = np.random.default_rng(5)
    time = np.arange(round(seconds * RATE)) / RATE
    beeps = np.sin(2 * np.pi * 1500 * time) * (np.sin(2 * np.pi * 0.7 * time) > 0.3)
    return (0.3 * beeps + rng.normal(0, 0.05, time.shape)).astype(np.float32)


def test_trains_and_evaluates_a_keyword_spotter(run_dir: Path) -> None:
    config = json.loads((run_dir / "config.json").read_text())
    assert config["task"] == "keyword-spotting"
    assert config["id2label"] == {"0": "other", "1": "high", "2": "low"}
    assert config["architectures"] == ["ConvGRUForKeywordSpotting"]
    report = json.loads((run_dir / "evaluation" / "test.json").read_text())
    rates = {"miss_rate_0.1", "miss_rate_0.5", "miss_rate_1", "miss_rate_2"}
    assert set(report["metrics"]) == {"accuracy"} | rates
    assert set(report["per_class"]) == {"high", "low"}
    low, high = report["confidence"]["miss_rate_1"]
    assert 0 <= low <= report["metrics"]["miss_rate_1"] <= high <= 1


@pytest.mark.parametrize("seed", range(4))
def test_events_of_a_stream_equal_those_of_the_recording(run_dir: Path, seed: int) -> None:
    loaded = load_model(run_dir)
    options = DetectorOptions({"high": -1.0, "low": 0.5}, refractory_frames=8)
    detector = Detector(loaded, options)
    samples = sound()
    whole = list(detector.listen([samples]))
    assert len(whole) > 2
    rng = np.random.default_rng(seed)
    sizes = rng.integers(0, [300, 900, 3000, 12_000][seed] + 1, size=len(samples))
    edges = np.cumsum(sizes)
    pieces = np.split(samples, edges[edges < len(samples)])
    parts = list(detector.listen(pieces))
    assert [(event.keyword, event.time) for event in parts] == [(event.keyword, event.time) for event in whole]
    assert [event.score for event in parts] == pytest.approx([event.score for event in whole], abs=1e-3)


def test_memory_is_constant_over_a_long_stream(run_dir: Path) -> None:
    detector = Detector(load_model(run_dir))
    piece = sound(1.0)
    tracemalloc.start()
    try:
        for second in range(400):
            detector.accept(piece)
            if second == 200:  # The pools of small objects of torch and NumPy have grown by then.
                early = tracemalloc.get_traced_memory()[0]
        assert tracemalloc.get_traced_memory()[0] - early < 40_000
    finally:
        tracemalloc.stop()


def test_events_arrive_within_the_latency(run_dir: Path) -> None:
    detector = Detector(load_model(run_dir), DetectorOptions(refractory_frames=2), threshold=-1.0)
    samples = sound()
    heard = 0.0
    seen = 0
    for piece in np.split(samples, range(40, len(samples), 40)):
        heard += len(piece) / RATE
        for event in detector.accept(piece):
            seen += 1
            frame = 4 * 80 / RATE
            assert event.time <= heard <= event.time - frame + detector.latency + 40 / RATE + 1e-9
    assert seen > 2


def test_an_exported_stream_gives_the_same_events(run_dir: Path, tmp_path: Path) -> None:
    assert run("export", str(run_dir), "--output", str(tmp_path / "onnx")) == 0
    DetectorOptions({"high": 0.5}, refractory_frames=8).save(tmp_path / "onnx")
    exported = Detector(tmp_path / "onnx")
    assert exported.options.thresholds == {"high": 0.5}
    loaded = Detector(load_model(run_dir), exported.options)
    pieces = np.split(sound(), range(640, 4 * RATE, 640))
    expected, got = list(loaded.listen(pieces)), list(exported.listen(pieces))
    assert [(event.keyword, event.time) for event in got] == [(event.keyword, event.time) for event in expected]
    assert len(got) > 2
    assert len(list(Detector(tmp_path / "onnx" / "stream_int8.onnx").listen(pieces))) > 0


def test_listen_prints_events(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "long.wav"
    soundfile.write(file, sound(), RATE, subtype="PCM_16")
    capsys.readouterr()
    assert run("listen", str(run_dir), str(file), "--threshold", "0", "--format", "json") == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events
    assert set(events[0]) == {"file", "keyword", "time", "score"}
    assert run("listen", str(run_dir), str(file), "--threshold", "0") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" s ")[1].split()[0] for line in lines] == [event["keyword"] for event in events]

    raw = soundfile.read(file, dtype="int16")[0].astype("<i2").tobytes()
    stream = SimpleNamespace(read1=io.BytesIO(raw).read)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=stream))
    assert run("listen", str(run_dir), "-", "--threshold", "0", "--format", "json") == 0
    streamed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(e["keyword"], e["time"]) for e in streamed] == [(e["keyword"], e["time"]) for e in events]


def test_listen_reports_errors(
    run_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "text.wav").write_text("no sound")
    assert run("listen", str(run_dir), str(tmp_path / "text.wav"), str(tmp_path / "nowhere.wav")) == 1
    assert capsys.readouterr().err.count("error: ") == 2
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert run("listen", str(run_dir)) == 1
    assert "The microphone needs the library sounddevice" in capsys.readouterr().err
    loaded = load_model(run_dir)
    with pytest.raises(ModelError, match="audio-classification, not for keyword-spotting"):
        Detector(dataclasses.replace(loaded, task=get_task("audio-classification")))
    detector = Detector(loaded)
    with pytest.raises(AudioError, match="mono"):
        detector.accept(np.zeros((2, 100), dtype=np.float32))
    detector.finish()
    with pytest.raises(AudioError, match="reset"):
        detector.accept(np.zeros(10, dtype=np.float32))


def test_a_non_causal_model_cannot_listen(run_dir: Path) -> None:
    loaded = load_model(run_dir)
    loaded.feature_extractor.normalization = "utterance"
    with pytest.raises(ModelError, match="cannot process a stream: This feature extractor cannot stream"):
        Detector(loaded)


def test_tune_detector_meets_the_false_alarm_rate(
    run_dir: Path, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_SPEECH_CACHE", str(tmp_path))
    capsys.readouterr()
    assert run("tune-detector", str(run_dir), "--false_alarms_per_hour", "0") == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[-2].split()[-1] == "0.00"
    written = json.loads((run_dir / DetectorOptions.FILE).read_text())
    assert set(written["thresholds"]) == {"high", "low"}
    assert written["negative_hours"] == pytest.approx(6 / 3600, abs=1e-3)
    thresholds = [point["threshold"] for point in written["curve"]]
    assert thresholds == sorted(thresholds)
    assert written["curve"][-1]["false_alarms_per_hour"] <= written["curve"][0]["false_alarms_per_hour"]
    detector = Detector(str(run_dir))
    assert detector.options.thresholds == written["thresholds"]
    for file in (folder / "noise").iterdir():
        assert list(detector.listen_to_file(file)) == []
    (run_dir / DetectorOptions.FILE).write_text("{}")
    with pytest.raises(ModelError, match="run hf-speech tune-detector again"):
        Detector(str(run_dir))
    (run_dir / DetectorOptions.FILE).unlink()


def test_tune_detector_also_measures_with_noise(
    run_dir: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_SPEECH_CACHE", str(tmp_path))
    passes = []

    def observe(*args: Any, conditions: Conditions | None = None, **options: Any) -> Any:
        passes.append(conditions)
        return predict(*args, conditions=conditions, **options)

    monkeypatch.setattr("hf_speech.evaluation.thresholds.predict", observe)
    noise = ["--noise_folder", str(folder / "noise"), "--noise_snr", "5"]
    assert run("tune-detector", str(run_dir), *noise) == 0
    assert passes == [None, Conditions(noise_folder=noise[1], noise_snr=5.0)]
    written = json.loads((run_dir / DetectorOptions.FILE).read_text())
    assert written["noise"] == {"folder": "noise", "snr": 5.0}
    assert written["negative_hours"] == pytest.approx(12 / 3600, abs=1e-3), "each recording twice"
    assert Detector(str(run_dir)).options.thresholds == written["thresholds"]
    (run_dir / DetectorOptions.FILE).unlink()


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


def test_negatives_are_needed_for_training_only(run_dir: Path, folder: Path, tmp_path: Path) -> None:
    """Own clips and hours of other speech are enough to measure a model of somebody else."""
    clips = ["--corpus", "keywords", "--data_dir", str(folder / "clips"), "--test_negatives", str([f"{folder}/noise"])]
    output = tmp_path / "measured.json"
    unsplit = ["--split", "all", "--validation_fraction", "0", "--test_fraction", "0"]
    assert run("evaluate", str(run_dir), *clips, *unsplit, "--output", str(output)) == 0
    measured = json.loads(output.read_text())
    assert measured["num_utterances"] == 16 + 3
    assert set(measured["per_class"]) == {"high", "low"}
    shutil.copytree(folder / "clips" / "high", tmp_path / "own" / "high")
    clips[3] = str(tmp_path / "own")
    assert run("evaluate", str(run_dir), *clips, *unsplit, "--output", str(output)) == 0
    assert set(json.loads(output.read_text())["per_class"]) == {"high"}, "no rate of a keyword without clips"
    recipe = load_recipe(folder / "recipe.yaml", ["--train_negatives", "null"])
    with pytest.raises(CorpusError, match="class 'other', which train lacks"):
        train(recipe, tmp_path / "run")


def test_rejects_a_corpus_without_keywords(folder: Path) -> None:
    task = get_task("keyword-spotting")
    corpus = load_recipe(
        {"task": "keyword-spotting", "corpus": {"name": "folder", "data_dir": str(folder / "clips")}}
    ).corpus.load()
    with pytest.raises(RecipeError, match="use the corpus `keywords`"):
        task.config_arguments(corpus)


def test_evaluates_the_detector_in_noise_and_writes_the_card(
    run_dir: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_SPEECH_CACHE", str(tmp_path / "cache"))
    copy = Path(shutil.copytree(run_dir, tmp_path / "copy"))
    DetectorOptions({"high": 1.0, "low": 0.5}).save(copy)
    recipe = (copy / "recipe.yaml").read_text()
    # As on a machine without the augmentation folders, which evaluation does not need.
    (copy / "recipe.yaml").write_text(re.sub(r"(context_folders:\n\s*- ).*", r"\1nowhere", recipe))
    assert run("evaluate", str(copy)) == 0
    assert run("evaluate", str(copy), "--noise_folder", str(folder / "noise"), "--noise_snr", "5") == 0
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


def test_saves_false_alarms_as_negatives(run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for place in ("speech/one", "speech/two", "speech/one.more"):
        (tmp_path / place).mkdir(parents=True)
        soundfile.write(tmp_path / place / "long.wav", sound(), RATE, subtype="PCM_16")
    soundfile.write(tmp_path / "speech" / "other.flac", sound(), RATE, subtype="PCM_16")
    words = ["listen", str(run_dir), str(tmp_path / "speech"), "--threshold", "0"]
    assert run(*words, "--save_clips", str(tmp_path / "hard")) == 0
    times = [event.time for event in Detector(run_dir, threshold=0.0).listen([sound()])]
    assert capsys.readouterr().out.count("Written: ") == 4 * len(times) > 4
    names = ["one-long.wav", "two-long.wav", "one.more-long.wav", "other"]
    assert len(list((tmp_path / "hard").iterdir())) == 4 * len(times)
    for name, time in itertools.product(names, times):
        clip, rate = soundfile.read(tmp_path / "hard" / f"{name}-{time:.2f}.wav", dtype="float32")
        start, end = max(round((time - 2.5) * rate), 0), round((time + 0.5) * rate)
        np.testing.assert_allclose(clip, sound()[start:end], atol=1e-4)


def test_enrolls_a_new_word_from_a_few_clips(
    run_dir: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_SPEECH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("hf_speech.training.enroll.TRAINING", {**TRAINING, "max_steps": 2})
    spoken: list[str] = []
    monkeypatch.setattr("hf_speech.training.enroll._synthesize", lambda word, folder: spoken.append(word))
    rng = np.random.default_rng(1)
    (tmp_path / "clips").mkdir()
    for index in range(6):
        beep = 0.3 * np.sin(2 * np.pi * 900 * np.arange(RATE // 2) / RATE)
        soundfile.write(tmp_path / "clips" / f"{index}.wav", beep + rng.normal(0, 0.003, len(beep)), RATE)
    words = [
        "listen",
        str(run_dir),
        str(tmp_path / "clips"),
        "--enroll",
        "hey you",
        "--negatives",
        str(folder / "noise"),
    ]
    assert run(*words, "--validation_negatives", str(folder / "noise")) == 0
    assert "runs/hey you" in capsys.readouterr().out
    detector = Detector(tmp_path / "runs" / "hey you")
    assert detector.keywords == ("hey you",)
    assert set(detector.options.thresholds) == {"hey you"}
    history = json.loads((tmp_path / "runs" / "hey you" / "training.json").read_text())
    assert not [entry for entry in history["log"] if "eval_loss" in entry]
    base = json.loads((tmp_path / "runs" / "hey you" / "base_model.json").read_text())
    assert base["name"] == run_dir.name
    validation = list((tmp_path / "cache" / "enrolled").glob("*/validation/hey you/*.wav"))
    training = list((tmp_path / "cache" / "enrolled").glob("*/train/hey you/*.wav"))
    assert {path.name[-5:] for path in validation} == {"0.wav", "5.wav"}
    assert {path.name[-5:] for path in training} == {"1.wav", "2.wav", "3.wav", "4.wav"}
    assert spoken in ([], ["hey you"])  # Without and with eSpeak NG.

    assert run(*words) == 2  # The folder exists.
    (tmp_path / "few").mkdir()
    shutil.copy(tmp_path / "clips" / "0.wav", tmp_path / "few")
    for clips, extra, message in (
        ("few", ["--negatives", str(folder / "noise")], "record it at least 3 times"),
        ("clips", [], "Recordings without the keyword are needed"),
    ):
        assert run("listen", str(run_dir), str(tmp_path / clips), "--enroll", "x", *extra) == 2
        assert message in capsys.readouterr().err


@pytest.mark.slow
def test_the_saved_model_runs_without_the_package(run_dir: Path, tmp_path: Path) -> None:
    clips = {f"clip.{index}": (32767 * sound(seconds)).astype(np.int16) for index, seconds in enumerate((1.0, 1.5))}
    save_file(clips, tmp_path / "probes.safetensors")
    request = {"model": str(run_dir), "revision": None, "task": "audio-classification", "probes": "probes.safetensors"}
    (tmp_path / "request.json").write_text(json.dumps(request))
    program = Path(verify.__file__).with_name("isolated_load.py")
    subprocess.run([sys.executable, "-P", str(program), "request.json"], cwd=tmp_path, check=True, timeout=300)
    logits = load_file(tmp_path / "logits.safetensors")
    loaded = load_model(run_dir)
    for name, values in logits.items():
        expected = loaded.run([clips[f"clip.{name}"].astype(np.float32) / 32768])[0].logits
        np.testing.assert_allclose(values, expected, atol=1e-4)
    answers = json.loads((tmp_path / "answers.json").read_text())
    assert answers["pipeline"] == {}
    assert answers["padding"] < 1e-4
    assert not any(module.startswith("hf_speech") for module in answers["code"])
