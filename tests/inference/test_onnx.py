"""Exported models give the results of PyTorch, without PyTorch."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from command_line import run

from hf_speech.common.digests import digest_file
from hf_speech.errors import AudioError, ModelError
from hf_speech.export.exporting import export_model
from hf_speech.inference import (
    classify_files,
    load_model,
    log_probabilities,
    transcribe_files,
)
from hf_speech.inference.onnx import ExportedModel
from hf_speech.inference.onnx_stream import ExportedStream
from hf_speech.models import SpeechFeatureExtractor

TEXTS = ["abc a", "b", "ca ab c", "bb aaa", "c b a"]


@pytest.fixture
def beep_files(tmp_path: Path, make_beeps: Any) -> list[str]:
    files = []
    for index, text in enumerate(TEXTS):
        files.append(str(tmp_path / f"{index}.wav"))
        soundfile.write(files[-1], make_beeps(text, seed=1000 + index), 8000)
    return files


@pytest.mark.parametrize("file", ["", "model_int8.onnx"])
def test_transcripts_equal_those_of_pytorch(
    exported_beeps: Path, beeps_run: Path, beep_files: list[str], file: str
) -> None:
    expected = list(transcribe_files(load_model(beeps_run), beep_files, progress=False))
    found = list(transcribe_files(ExportedModel(exported_beeps / file), beep_files, progress=False))
    assert [transcript.hypothesis.text for transcript in found] == TEXTS
    for one, other in zip(found, expected, strict=True):
        assert [(word.text, word.start) for word in one.hypothesis.words] == [
            (word.text, word.start) for word in other.hypothesis.words
        ]
        assert one.hypothesis.score == pytest.approx(other.hypothesis.score, abs=0.5 if file else 1e-2)


def test_normalizes_long_recordings_as_with_pytorch(saved_recognizer: Path, tmp_path: Path) -> None:
    """Chunks are normalized by the statistics of all loud seconds."""
    loaded = load_model(saved_recognizer, device="cpu")
    export_model(loaded, tmp_path / "folder", int8=False)
    exported = ExportedModel(tmp_path / "folder")
    rng = np.random.default_rng(0)
    levels = np.repeat([0.1, 1e-4, 0.2, 1e-4, 0.05], 6 * 8000)
    long = (levels * rng.standard_normal(len(levels))).astype(np.float32)
    for samples in (long, long[: 8000 * 4]):
        expected = log_probabilities(loaded, samples, chunk_seconds=9, overlap_seconds=2)
        np.testing.assert_allclose(
            log_probabilities(exported, samples, chunk_seconds=9, overlap_seconds=2), expected, atol=2e-3
        )
    alone = log_probabilities(exported, long[8000 * 6 : 8000 * 12])
    assert np.abs(alone - log_probabilities(exported, long, chunk_seconds=9, overlap_seconds=2)[150:300]).max() > 0.1


def test_uses_one_peak_for_long_recordings_as_with_pytorch(saved_recognizer: Path, tmp_path: Path) -> None:
    """Neither back end amplifies the background of a chunk without speech."""
    SpeechFeatureExtractor.from_pretrained(saved_recognizer, normalization="peak").save_pretrained(saved_recognizer)
    loaded = load_model(saved_recognizer, device="cpu")
    export_model(loaded, tmp_path / "folder", int8=False)
    exported = ExportedModel(tmp_path / "folder")
    rng = np.random.default_rng(0)
    levels = np.repeat([0.1, 1e-3, 1e-3, 1e-3], 6 * 8000)
    long = (levels * rng.standard_normal(len(levels))).astype(np.float32)
    whole = log_probabilities(exported, long, chunk_seconds=1000)
    for recognizer in (loaded, exported):
        found = log_probabilities(recognizer, long, chunk_seconds=9, overlap_seconds=3)
        np.testing.assert_allclose(found, whole, atol=1e-2)
    quiet = long[12 * 8000 : 18 * 8000]
    assert np.abs(log_probabilities(exported, quiet) - whole[300:450]).max() > 0.1
    np.testing.assert_allclose(log_probabilities(exported, quiet), log_probabilities(loaded, quiet), atol=2e-3)


def test_handles_constant_features_in_the_loud_seconds(saved_recognizer: Path, tmp_path: Path) -> None:
    """Their standard deviation is 0, with which the graph would use the chunk's own mean."""
    loaded = load_model(saved_recognizer, device="cpu")
    export_model(loaded, tmp_path / "folder", int8=False)
    seconds, time = 30, np.arange(8000) / 8000
    # Of a low tone that fades in and out each second, the features of high frequencies are all at their floor.
    tone = 0.05 * np.sin(2 * np.pi * 200 * time) * np.sin(np.pi * time) ** 4
    samples = np.tile(tone, seconds).astype(np.float32)
    samples[20 * 8000 :] = 1e-3 * np.random.default_rng(0).standard_normal(10 * 8000)
    expected = log_probabilities(loaded, samples, chunk_seconds=9, overlap_seconds=2)
    found = log_probabilities(ExportedModel(tmp_path / "folder"), samples, chunk_seconds=9, overlap_seconds=2)
    assert np.abs(found - expected).max() < 0.05


def test_classes_equal_those_of_pytorch(exported_tones: Path, tones_run: Path, tmp_path: Path, make_tone: Any) -> None:
    files = []
    for name, frequency in (("low", 300.0), ("high", 1200.0), ("middle", 650.0)):
        files.append(str(tmp_path / f"{name}.wav"))
        soundfile.write(files[-1], make_tone(0.5, frequency, 8000, 0.3), 8000)
    expected, found = list(classify_files(tones_run, files)), list(classify_files(exported_tones, files))
    assert [result["labels"][0]["label"] for result in found[:2]] == ["low", "high"]
    for one, other in zip(found, expected, strict=True):
        assert one["file"] == other["file"]
        assert [entry["label"] for entry in one["labels"]] == [entry["label"] for entry in other["labels"]]
        scores = [entry["score"] for entry in other["labels"]]
        assert [entry["score"] for entry in one["labels"]] == pytest.approx(scores, abs=1e-4)
    assert len(next(classify_files(ExportedModel(exported_tones), files, top_k=1))["labels"]) == 1


WITHOUT_PYTORCH = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "transformers", "torchaudio", "datasets"):
            raise ImportError(f"{name} is not on this machine")

sys.meta_path.insert(0, Missing())
sys.argv[0] = "hf-speech"
from hf_speech.cli.app import main
try:
    main()
finally:
    assert not {"torch", "transformers"} & set(sys.modules), "imported"
"""


@pytest.mark.parametrize("options", [["--format", "srt"], ["--format", "json", "--output_dir", "FOLDER"]])
def test_transcribes_without_pytorch(
    exported_beeps: Path, beep_files: list[str], tmp_path: Path, options: list[str]
) -> None:
    words = ["transcribe", str(exported_beeps), beep_files[0]]
    words += [option.replace("FOLDER", str(tmp_path / "out")) for option in options]
    finished = subprocess.run(
        [sys.executable, "-c", WITHOUT_PYTORCH, *words], capture_output=True, text=True, timeout=120
    )
    assert finished.returncode == 0, finished.stderr
    written = tmp_path / "out" / "0.json"
    if written.exists():
        assert json.loads(written.read_text())["text"] == TEXTS[0]
    else:
        assert "\nabc a\n" in finished.stdout


def test_classifies_without_pytorch(exported_tones: Path, tmp_path: Path, make_tone: Any) -> None:
    soundfile.write(tmp_path / "low.flac", make_tone(0.5, 300.0, 16000, 0.3), 16000)
    words = ["classify", str(exported_tones / "model_int8.onnx"), str(tmp_path / "low.flac")]
    finished = subprocess.run(
        [sys.executable, "-c", WITHOUT_PYTORCH, *words], capture_output=True, text=True, timeout=120
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.startswith(f"{tmp_path / 'low.flac'}: low ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["classify", "BEEPS"], "BEEPS is a model for automatic-speech-recognition, not for audio-classification"),
        (["transcribe", "TONES"], "not for automatic-speech-recognition: use `hf-speech classify`, or give"),
        (
            ["transcribe", "BEEPS/stream.onnx"],
            "is for streams: give model.onnx, or the folder",
        ),
        (["transcribe", "DAMAGED"], "cannot be loaded by onnxruntime"),
        (["transcribe", "FOREIGN/some.onnx"], "some.onnx was not written by hf-speech export"),
        (["classify", "EMPTY"], "There is no exported model"),
    ],
)
def test_one_sentence_error_for_mistakes(
    words: list[str],
    message: str,
    exported_beeps: Path,
    exported_tones: Path,
    tmp_path: Path,
    beep_files: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    import onnx

    for name in ("DAMAGED", "FOREIGN", "EMPTY"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "export.json").write_text("{}")
    content = (exported_beeps / "model.onnx").read_bytes()
    (tmp_path / "DAMAGED" / "model.onnx").write_bytes(content[: len(content) // 2])
    model = onnx.load(exported_beeps / "model.onnx")
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "FOREIGN" / "some.onnx")
    places = {"BEEPS": exported_beeps, "TONES": exported_tones}
    places |= {name: tmp_path / name for name in ("DAMAGED", "FOREIGN", "EMPTY")}
    for name, place in places.items():
        words = [word.replace(name, str(place)) for word in words]
        message = message.replace(name, str(place))
    assert run(*words, beep_files[0]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_reports_bad_sounds_and_transcribes_the_others(
    exported_beeps: Path,
    beeps_run: Path,
    exported_tones: Path,
    beep_files: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    soundfile.write(tmp_path / "short.wav", np.full(50, 0.1), 8000)
    (tmp_path / "notes.wav").write_text("these are words")
    bad = [str(tmp_path / "short.wav"), str(tmp_path / "notes.wav")]
    for model in (exported_beeps, beeps_run):
        assert run("transcribe", str(model), *bad, beep_files[1]) == 1
        printed = capsys.readouterr()
        assert printed.out == f"{bad[0]}: \n{beep_files[1]}: b\n"  # Sounds that are too short give no text.
        assert f"error: {bad[1]} " in printed.err
    assert run("classify", str(exported_tones), *bad, beep_files[1]) == 1
    printed = capsys.readouterr()
    assert printed.out.startswith(beep_files[1])
    assert f"error: {bad[0]} cannot be used: 50 samples are too few" in printed.err
    assert f"error: {bad[1]} " in printed.err


def test_rejects_later_formats(exported_beeps: Path, tmp_path: Path) -> None:
    import onnx

    for change, message in (('"format": 1', "not supported: update hf_speech"), ('"task"', "damaged description")):
        model = onnx.load(exported_beeps / "model.onnx")
        model.metadata_props[0].value = model.metadata_props[0].value.replace(change, '"format": 2')
        onnx.save(model, tmp_path / "later.onnx")
        with pytest.raises(ModelError, match=message):
            ExportedModel(tmp_path / "later.onnx")


def test_padding_does_not_change_results(exported_beeps: Path, make_beeps: Any) -> None:
    model = ExportedModel(exported_beeps)
    clips = [make_beeps("abc"), make_beeps("a"), make_beeps("b a c")]
    logits, counts = model(clips)
    assert counts is not None
    for row, count, clip in zip(logits, counts, clips, strict=True):
        np.testing.assert_allclose(row[:count], model([clip])[0][0], atol=1e-4)
        assert (row[count:].argmax(axis=1) == model.blank).all()


def test_beam_search_works_with_exported_models(
    exported_beeps: Path, beep_files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("transcribe", str(exported_beeps), beep_files[0], "--nbest", "2", "--hot_words", "ABC") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].endswith("\tabc a")


def test_the_environment_sets_the_number_of_threads(exported_tones: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert os.environ["OMP_NUM_THREADS"] == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    options = ExportedModel(exported_tones)._session.get_session_options()
    assert options.intra_op_num_threads == 2


@pytest.mark.parametrize("place", [0.3, 0.5, 0.9])
@pytest.mark.parametrize("kind", ["model", "model_int8", "stream"])
def test_detects_changed_bytes(exported_beeps: Path, tmp_path: Path, kind: str, place: float) -> None:
    content = bytearray((exported_beeps / f"{kind}.onnx").read_bytes())
    content[int(place * len(content))] ^= 1
    (tmp_path / "changed.onnx").write_bytes(content)
    with pytest.raises(ModelError, match=r"changed\.onnx (is damaged|cannot be loaded|has a damaged description)"):
        (ExportedStream if kind == "stream" else ExportedModel)(tmp_path / "changed.onnx")


def test_the_description_contains_the_digests_of_the_files(exported_beeps: Path) -> None:
    files = json.loads((exported_beeps / "export.json").read_text())["files"]
    assert set(files) == {path.name for path in exported_beeps.glob("*.onnx")}
    for name, entry in files.items():
        assert entry["sha256"] == digest_file(exported_beeps / name)


def with_description(source: Path, target: Path, **changes: Any) -> Path:
    import onnx

    model = onnx.load(source)
    description = json.loads(model.metadata_props[0].value)
    for key, value in changes.items():
        description.pop(key) if value is None else description.update({key: value})
    model.metadata_props[0].value = json.dumps(description)
    onnx.save(model, target)
    return target


def test_files_of_version_0_1_load_without_a_digest(exported_beeps: Path, tmp_path: Path) -> None:
    old = with_description(exported_beeps / "model.onnx", tmp_path / "old.onnx", digest=None)
    assert ExportedModel(old).description == dataclasses.replace(ExportedModel(exported_beeps).description, digest="")


@pytest.mark.parametrize(
    "changes",
    [
        {"states": {"waiting": [1, 10**12]}},
        {"states": {"waiting": ["batch", -1]}},
        {"states": [1]},
        {"labels": [1, 2]},
        {"labels": "abc", "blank": 7},
        {"sampling_rate": 0},
        {"sampling_rate": 1e9},
        {"sampling_rate": True},
        {"blank": -1},
        {"latency": float("nan")},
        {"name": ["a"]},
    ],
    ids=str,
)
def test_rejects_invalid_descriptions(exported_beeps: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    with_description(exported_beeps / "stream.onnx", tmp_path / "odd.onnx", **changes)
    with pytest.raises(ModelError, match="has a damaged description"):
        ExportedStream(tmp_path / "odd.onnx")


def test_accepts_mono_samples_in_columns(exported_beeps: Path, make_beeps: Any) -> None:
    clip = make_beeps("ab")
    flat, column = ExportedStream(exported_beeps), ExportedStream(exported_beeps)
    np.testing.assert_array_equal(flat.accept(clip), column.accept(clip[:, None]))
    with pytest.raises(AudioError, match="give mono samples"):
        column.accept(np.stack([clip, clip], axis=1))
