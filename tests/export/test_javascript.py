"""The exported files in onnxruntime-web, as in a browser, run by Node.

Requires Node and `npm install onnxruntime-web` in a folder whose `node_modules` is in `NODE_PATH`, or in or above the
checkout.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hf_speech.inference.onnx import ExportedModel
from hf_speech.inference.onnx_stream import ExportedStream

HERE = Path(__file__).resolve().parent
PACKAGES = ("onnxruntime-web", "onnxruntime-node")


@pytest.fixture(scope="module")
def package() -> str:
    """The first of the packages that Node finds."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    for name in PACKAGES:
        asked = subprocess.run(["node", "-e", f"require.resolve('{name}')"], capture_output=True, cwd=HERE, timeout=60)
        if asked.returncode == 0:
            return name
    pytest.skip("node finds neither onnxruntime-web nor onnxruntime-node (npm install one of them, set NODE_PATH)")


def run(package: str, file: Path, sounds: list[np.ndarray], stream: bool, tmp_path: Path) -> list[np.ndarray]:
    """Returns the logits that JavaScript computes."""
    request = {
        "package": package,
        "model": str(file),
        "stream": stream,
        "sounds": [samples.tolist() for samples in sounds],
        "description": json.loads((file.parent / "export.json").read_text()),
    }
    (tmp_path / "request.json").write_text(json.dumps(request))
    command = ["node", str(HERE / "run.cjs"), str(tmp_path / "request.json")]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=120, env=os.environ)
    assert finished.returncode == 0, finished.stderr
    return [np.array(heard["logits"], "f").reshape(heard["dims"]) for heard in json.loads(finished.stdout)]


@pytest.mark.parametrize("name", ["model.onnx", "model_int8.onnx"])
def test_javascript_gets_the_same_logits_for_batches(
    name: str, package: str, exported_beeps: Path, tmp_path: Path, make_beeps: Any
) -> None:
    clips = [make_beeps("abc a"), make_beeps("c")]
    (logits,) = run(package, exported_beeps / name, clips, False, tmp_path)
    expected, counts = ExportedModel(exported_beeps / name)(clips)
    assert counts is not None
    np.testing.assert_allclose(logits, expected, atol=0.1 if "int8" in name else 1e-4)


@pytest.mark.parametrize("name", ["model.onnx", "model_int8.onnx"])
def test_javascript_gets_the_same_classes(
    name: str, package: str, exported_tones: Path, tmp_path: Path, make_tone: Any
) -> None:
    clips = [make_tone(0.5, 300.0, 8000, 0.3), make_tone(0.3, 1200.0, 8000, 0.3)]
    (logits,) = run(package, exported_tones / name, clips, False, tmp_path)
    np.testing.assert_allclose(
        logits, ExportedModel(exported_tones / name)(clips)[0], atol=0.1 if "int8" in name else 1e-4
    )
    assert logits[0].argmax() != logits[1].argmax()


@pytest.mark.parametrize("name", ["stream.onnx", "stream_int8.onnx"])
def test_javascript_gets_the_same_logits_for_streams(
    name: str, package: str, exported_beeps: Path, tmp_path: Path, make_beeps: Any
) -> None:
    pieces = [*np.split(make_beeps("ab c"), [3, 700, 5000, 5001]), np.zeros(0, np.float32)]
    heard = run(package, exported_beeps / name, pieces, True, tmp_path)
    stream = ExportedStream(exported_beeps / name)
    for index, (logits, piece) in enumerate(zip(heard, pieces, strict=True)):
        expected = stream.accept(piece, final=index == len(pieces) - 1)
        np.testing.assert_allclose(logits[0], expected, atol=0.1 if "int8" in name else 1e-4)
    assert stream.text == "ab c"
