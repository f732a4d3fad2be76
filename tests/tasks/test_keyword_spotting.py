"""Keyword spotting: a tiny spotter of tones is trained, tuned, exported, and applied to files and streams."""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from command_line import run
from safetensors.numpy import load_file, save_file

from hf_speech.errors import AudioError, ModelError
from hf_speech.inference import Detector, DetectorOptions, load_model
from hf_speech.publishing.hub import verify
from hf_speech.tasks import get_task
from hf_speech.training.enroll import TRAINING

RATE = 8000


def sound(seconds: float = 4.0) -> np.ndarray:
    rng = np.random.default_rng(5)
    time = np.arange(round(seconds * RATE)) / RATE
    beeps = np.sin(2 * np.pi * 1500 * time) * (np.sin(2 * np.pi * 0.7 * time) > 0.3)
    return (0.3 * beeps + rng.normal(0, 0.05, time.shape)).astype(np.float32)


def test_trains_and_evaluates_a_keyword_spotter(spotter_dir: Path) -> None:
    config = json.loads((spotter_dir / "config.json").read_text())
    assert config["task"] == "keyword-spotting"
    assert config["id2label"] == {"0": "other", "1": "high", "2": "low"}
    assert config["architectures"] == ["ConvGRUForKeywordSpotting"]
    report = json.loads((spotter_dir / "evaluation" / "test.json").read_text())
    rates = {"miss_rate_0.1", "miss_rate_0.5", "miss_rate_1", "miss_rate_2"}
    assert set(report["metrics"]) == {"accuracy"} | rates
    assert set(report["per_class"]) == {"high", "low"}
    low, high = report["confidence"]["miss_rate_1"]
    assert 0 <= low <= report["metrics"]["miss_rate_1"] <= high <= 1


@pytest.mark.parametrize("seed", range(4))
def test_events_of_a_stream_equal_those_of_the_recording(spotter_dir: Path, seed: int) -> None:
    loaded = load_model(spotter_dir)
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


def test_memory_is_constant_over_a_long_stream(spotter_dir: Path) -> None:
    detector = Detector(load_model(spotter_dir))
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


def test_events_arrive_within_the_latency(spotter_dir: Path) -> None:
    detector = Detector(load_model(spotter_dir), DetectorOptions(refractory_frames=2), threshold=-1.0)
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


def test_an_exported_stream_gives_the_same_events(spotter_dir: Path, tmp_path: Path) -> None:
    assert run("export", str(spotter_dir), "--output", str(tmp_path / "onnx")) == 0
    DetectorOptions({"high": 0.5}, refractory_frames=8).save(tmp_path / "onnx")
    exported = Detector(tmp_path / "onnx")
    assert exported.options.thresholds == {"high": 0.5}
    loaded = Detector(load_model(spotter_dir), exported.options)
    pieces = np.split(sound(), range(640, 4 * RATE, 640))
    expected, got = list(loaded.listen(pieces)), list(exported.listen(pieces))
    assert [(event.keyword, event.time) for event in got] == [(event.keyword, event.time) for event in expected]
    assert len(got) > 2
    assert len(list(Detector(tmp_path / "onnx" / "stream_int8.onnx").listen(pieces))) > 0


def test_listen_prints_events(
    spotter_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "long.wav"
    soundfile.write(file, sound(), RATE, subtype="PCM_16")
    capsys.readouterr()
    assert run("listen", str(spotter_dir), str(file), "--threshold", "0", "--format", "json") == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events
    assert set(events[0]) == {"file", "keyword", "time", "score"}
    assert run("listen", str(spotter_dir), str(file), "--threshold", "0") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" s ")[1].split()[0] for line in lines] == [event["keyword"] for event in events]

    raw = soundfile.read(file, dtype="int16")[0].astype("<i2").tobytes()
    stream = SimpleNamespace(read1=io.BytesIO(raw).read)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=stream))
    assert run("listen", str(spotter_dir), "-", "--threshold", "0", "--format", "json") == 0
    streamed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(e["keyword"], e["time"]) for e in streamed] == [(e["keyword"], e["time"]) for e in events]


def test_listen_reports_errors(
    spotter_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "text.wav").write_text("no sound")
    assert run("listen", str(spotter_dir), str(tmp_path / "text.wav"), str(tmp_path / "nowhere.wav")) == 1
    assert capsys.readouterr().err.count("error: ") == 2
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert run("listen", str(spotter_dir)) == 1
    assert "The microphone needs the library sounddevice" in capsys.readouterr().err
    loaded = load_model(spotter_dir)
    with pytest.raises(ModelError, match="audio-classification, not for keyword-spotting"):
        Detector(dataclasses.replace(loaded, task=get_task("audio-classification")))
    detector = Detector(loaded)
    with pytest.raises(AudioError, match="mono"):
        detector.accept(np.zeros((2, 100), dtype=np.float32))
    detector.finish()
    with pytest.raises(AudioError, match="reset"):
        detector.accept(np.zeros(10, dtype=np.float32))


def test_a_non_causal_model_cannot_listen(spotter_dir: Path) -> None:
    loaded = load_model(spotter_dir)
    loaded.feature_extractor.normalization = "utterance"
    with pytest.raises(ModelError, match="cannot process a stream: This feature extractor cannot stream"):
        Detector(loaded)


def test_saves_false_alarms_as_negatives(spotter_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for place in ("speech/one", "speech/two", "speech/one.more"):
        (tmp_path / place).mkdir(parents=True)
        soundfile.write(tmp_path / place / "long.wav", sound(), RATE, subtype="PCM_16")
    soundfile.write(tmp_path / "speech" / "other.flac", sound(), RATE, subtype="PCM_16")
    words = ["listen", str(spotter_dir), str(tmp_path / "speech"), "--threshold", "0"]
    assert run(*words, "--save_clips", str(tmp_path / "hard")) == 0
    times = [event.time for event in Detector(spotter_dir, threshold=0.0).listen([sound()])]
    assert capsys.readouterr().out.count("Written: ") == 4 * len(times) > 4
    names = ["one-long.wav", "two-long.wav", "one.more-long.wav", "other"]
    assert len(list((tmp_path / "hard").iterdir())) == 4 * len(times)
    for name, time in itertools.product(names, times):
        clip, rate = soundfile.read(tmp_path / "hard" / f"{name}-{time:.2f}.wav", dtype="float32")
        start, end = max(round((time - 2.5) * rate), 0), round((time + 0.5) * rate)
        np.testing.assert_allclose(clip, sound()[start:end], atol=1e-4)


def test_enrolls_a_new_word_from_a_few_clips(
    spotter_dir: Path,
    keywords_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
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
        str(spotter_dir),
        str(tmp_path / "clips"),
        "--enroll",
        "hey you",
        "--negatives",
        str(keywords_dir / "noise"),
    ]
    assert run(*words, "--validation_negatives", str(keywords_dir / "noise")) == 0
    assert "runs/hey you" in capsys.readouterr().out
    detector = Detector(tmp_path / "runs" / "hey you")
    assert detector.keywords == ("hey you",)
    assert set(detector.options.thresholds) == {"hey you"}
    history = json.loads((tmp_path / "runs" / "hey you" / "training.json").read_text())
    assert not [entry for entry in history["log"] if "eval_loss" in entry]
    base = json.loads((tmp_path / "runs" / "hey you" / "base_model.json").read_text())
    assert base["name"] == spotter_dir.name
    validation = list((tmp_path / "cache" / "enrolled").glob("*/validation/hey you/*.wav"))
    training = list((tmp_path / "cache" / "enrolled").glob("*/train/hey you/*.wav"))
    assert {path.name[-5:] for path in validation} == {"0.wav", "5.wav"}
    assert {path.name[-5:] for path in training} == {"1.wav", "2.wav", "3.wav", "4.wav"}
    assert spoken in ([], ["hey you"])  # Without and with eSpeak NG.

    assert run(*words) == 2  # The folder exists.
    (tmp_path / "few").mkdir()
    shutil.copy(tmp_path / "clips" / "0.wav", tmp_path / "few")
    for clips, extra, message in (
        ("few", ["--negatives", str(keywords_dir / "noise")], "record it at least 3 times"),
        ("clips", [], "Recordings without the keyword are needed"),
    ):
        assert run("listen", str(spotter_dir), str(tmp_path / clips), "--enroll", "x", *extra) == 2
        assert message in capsys.readouterr().err


@pytest.mark.slow
def test_the_saved_model_runs_without_the_package(spotter_dir: Path, tmp_path: Path) -> None:
    clips = {f"clip.{index}": (32767 * sound(seconds)).astype(np.int16) for index, seconds in enumerate((1.0, 1.5))}
    save_file(clips, tmp_path / "probes.safetensors")
    request = {
        "model": str(spotter_dir),
        "revision": None,
        "task": "audio-classification",
        "probes": "probes.safetensors",
    }
    (tmp_path / "request.json").write_text(json.dumps(request))
    program = Path(verify.__file__).with_name("isolated_load.py")
    subprocess.run([sys.executable, "-P", str(program), "request.json"], cwd=tmp_path, check=True, timeout=300)
    logits = load_file(tmp_path / "logits.safetensors")
    loaded = load_model(spotter_dir)
    for name, values in logits.items():
        expected = loaded.run([clips[f"clip.{name}"].astype(np.float32) / 32768])[0].logits
        np.testing.assert_allclose(values, expected, atol=1e-4)
    answers = json.loads((tmp_path / "answers.json").read_text())
    assert answers["pipeline"] == {}
    assert answers["padding"] < 1e-4
    assert not any(module.startswith("hf_speech") for module in answers["code"])
