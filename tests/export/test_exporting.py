from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from command_line import run

from hf_speech.errors import ModelError
from hf_speech.export import conv_gru, exporting, layers
from hf_speech.export.exporting import export_model
from hf_speech.inference import load_model
from hf_speech.inference.onnx_description import Description, is_exported


def test_exports_four_files_for_a_causal_recognizer(exported_beeps: Path, beeps_run: Path) -> None:
    names = {"model.onnx", "model_int8.onnx", "stream.onnx", "stream_int8.onnx"}
    assert {path.name for path in exported_beeps.iterdir()} == names | {"export.json"}
    content = json.loads((exported_beeps / "export.json").read_text())
    loaded = load_model(beeps_run, device="cpu")
    assert content["labels"] == loaded.tokens
    assert content["revision"] == loaded.revision
    assert content["samples_per_frame"] == 320
    assert content["latency"] == loaded.model.stream(loaded.feature_extractor).latency
    assert set(content["files"]) == names
    for name, facts in content["files"].items():
        assert facts["bytes"] == (exported_beeps / name).stat().st_size
        # int8 differs from float32, but not much.
        low, high = (0.001, 1.0) if "int8" in name else (0.0, 1e-4)
        assert low <= facts["max_difference"] <= high
        model = onnx.load(exported_beeps / name)
        metadata = {entry.key: entry.value for entry in model.metadata_props}
        description = Description.from_json(metadata["hf_speech"], name)
        assert description.precision == facts["precision"] == ("int8" if "int8" in name else "float32")
        assert bool(description.states) == name.startswith("stream")
        assert {kind.domain for kind in model.opset_import} <= {"", "com.microsoft", "ai.onnx.ml"}


def test_int8_files_compute_with_int8(exported_beeps: Path, exported_tones: Path) -> None:
    """Includes recurrent weights, which ONNX's GRU and onnxruntime's quantizer do not support."""
    for file, loop in ((exported_beeps / "model_int8.onnx", "Scan"), (exported_tones / "model_int8.onnx", None)):
        graph = onnx.load(file).graph
        kinds = {node.op_type for node in graph.node}
        assert (loop or "DynamicQuantizeLSTM") in kinds
        assert not kinds & {"GRU", "LSTM"}
        floats = [tensor for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT]
        matrices = [tensor.dims for tensor in floats if sum(size > 1 for size in tensor.dims) == 2]
        assert all(np.prod(sizes) < 3000 for sizes in matrices), matrices


def test_export_is_deterministic(exported_beeps: Path, beeps_run: Path, tmp_path: Path) -> None:
    export_model(load_model(beeps_run, device="cpu"), tmp_path / "again")
    for path in exported_beeps.iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes(), path.name


def test_the_command_lists_its_files(tones_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "tones"
    assert run("export", str(tones_run), "--output", str(folder), "--no-int8") == 0
    assert {path.name for path in folder.iterdir()} == {"model.onnx", "export.json"}
    printed = capsys.readouterr().out
    size = (folder / "model.onnx").stat().st_size
    assert f"Written: {folder / 'model.onnx'}   float32, {size / 1000:.1f} kB, logits within" in printed
    assert f"hf-speech classify {folder} SOUND_FILE" in printed
    assert is_exported(folder)
    assert is_exported(folder / "model.onnx")
    assert not is_exported(tones_run)


def test_replaces_an_earlier_export(exported_beeps: Path, tones_run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(exported_beeps, tmp_path / "folder"))
    (folder / "README.md").write_text("mine")
    export_model(load_model(tones_run, device="cpu"), folder, int8=False)
    assert {path.name for path in folder.iterdir()} == {"model.onnx", "export.json", "README.md"}


def test_a_bidirectional_recognizer_has_no_stream(saved_recognizer: Path, tmp_path: Path) -> None:
    files = export_model(load_model(saved_recognizer, device="cpu"), tmp_path / "folder")
    assert [file.path.name for file in files] == ["model.onnx", "model_int8.onnx"]
    assert json.loads((tmp_path / "folder" / "export.json").read_text())["states"] == {}


def test_does_not_overwrite_model_folders_and_files(
    tones_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(tones_run.iterdir())
    (tmp_path / "file").write_text("")
    for output in (tones_run, tmp_path / "file"):
        assert run("export", str(tones_run), "--output", str(output)) == 2
        assert "give another folder" in capsys.readouterr().err
    assert sorted(tones_run.iterdir()) == before


def test_detects_a_wrong_graph_and_writes_nothing(
    saved_recognizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(layers.GATES, "GRU", (0, 1, 2))
    with pytest.raises(ModelError, match="gives other logits than PyTorch") as error:
        export_model(load_model(saved_recognizer, device="cpu"), tmp_path / "folder")
    assert "\n" not in str(error.value)
    assert list((tmp_path / "folder").iterdir()) == []


def test_detects_a_wrong_stream(beeps_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conv_gru, "_look_ahead_in_stream", lambda *values: values[2:4])
    with pytest.raises(ModelError, match="has parts that cannot be exported, such as lookahead"):
        export_model(load_model(beeps_run, device="cpu"), tmp_path / "folder")


@pytest.mark.parametrize("library", ["onnx", "onnxruntime"])
def test_reports_missing_libraries_and_writes_nothing(
    library: str, tones_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    assert run("export", str(tones_run), "--output", str(tmp_path / "folder")) == 2
    error = capsys.readouterr().err
    assert "pip install 'hf_speech[export]'" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "folder").exists()


def test_rejects_other_families(tones_run: Path, tmp_path: Path) -> None:
    class Wav2Vec2ForCTC:
        pass

    import dataclasses

    loaded = load_model(tones_run, device="cpu")
    foreign = dataclasses.replace(loaded, model=Wav2Vec2ForCTC())
    object.__setattr__(foreign.model, "config", loaded.model.config)
    with pytest.raises(ModelError, match="is a Wav2Vec2ForCTC, which cannot be exported"):
        exporting.export_model(foreign, tmp_path / "folder")


def test_the_documented_server_configuration_fits_the_graph(exported_beeps: Path) -> None:
    """Triton rejects a config.pbtxt with a wrong tensor name, type or number of dimensions."""
    page = (Path(__file__).parents[2] / "docs" / "onnx.md").read_text(encoding="utf-8")
    entry = re.compile(r'name: "(\w+)" data_type: TYPE_(\w+) dims: \[ (.+?) \]')
    graph = onnx.load(exported_beeps / "model.onnx").graph
    given = {tensor.name for tensor in graph.initializer}
    for section, tensors in (("input", graph.input), ("output", graph.output)):
        block = re.search(rf"^{section} \[(.+?)^\]", page, re.DOTALL | re.MULTILINE)
        assert block is not None
        documented = {name: (kind, sizes.count(",") + 1) for name, kind, sizes in entry.findall(block[1])}
        types = {onnx.TensorProto.FLOAT: "FP32", onnx.TensorProto.INT64: "INT64"}
        there = {
            tensor.name: (types[tensor.type.tensor_type.elem_type], len(tensor.type.tensor_type.shape.dim))
            for tensor in tensors
        }
        assert documented.items() <= there.items()
        assert section == "output" or there.keys() - documented.keys() <= given, "what is left out has a default"
