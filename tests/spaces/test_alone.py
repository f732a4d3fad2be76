"""A Space is nothing but its folder: in an empty directory, with only what its requirements.txt lists, it answers."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import PATIENCE, PRETRAINED, SPACES, launch, wait_until_served

# Gigabytes are installed; on a slow line this takes many minutes.
pytestmark = pytest.mark.slow

gradio_client = pytest.importorskip("gradio_client", reason="needs gradio: pip install 'hf_speech[demo]'")


@pytest.fixture
def empty_directory(tmp_path: Path) -> Iterator[Path]:
    """A folder for gigabytes, which pytest would keep."""
    yield tmp_path
    shutil.rmtree(tmp_path)


def install(python: Path, *what: str) -> subprocess.CompletedProcess[str]:
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *what]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("space", "model", "arguments", "expected"),
    [
        ("transcribe", "an4", ("five one two eight six three", True), {"text": "FIVE ONE TWO EIGHT SIX THREE"}),
        ("classify", "fsdd-digits", ("seven", 3), {"label": "seven"}),
    ],
)
def test_a_space_alone_answers(
    empty_directory: Path, space: str, model: str, arguments: tuple[str, Any], expected: dict[str, str]
) -> None:
    folder = shutil.copytree(SPACES / space, empty_directory / space, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(PRETRAINED / model, folder / "model")  # found there without MODEL_ID
    subprocess.run([sys.executable, "-m", "venv", str(empty_directory / "venv")], check=True)
    python = empty_directory / "venv" / "bin" / "python"
    if install(python, "packaging").returncode:
        pytest.skip("no package index can be reached from here")
    installed = install(python, "--requirement", str(folder / "requirements.txt"))
    assert installed.returncode == 0, installed.stderr[-2000:]
    assert subprocess.run([python, "-c", "import hf_speech"], capture_output=True).returncode, "not a fresh environment"
    running = launch(folder, None, empty_directory / "scratch", python=str(python), PYTHONPATH="")
    try:
        wait_until_served(running)
        patience = {"timeout": PATIENCE}
        client = gradio_client.Client(running.url, verbose=False, analytics_enabled=False, httpx_kwargs=patience)
        name, option = arguments
        sound = gradio_client.handle_file(str(folder / "examples" / f"{name}.flac"))
        answer = client.predict(sound, option, api_name=f"/{space}")
        assert answer | expected == answer
        if space == "transcribe":
            assert client.predict(api_name="/describe")["language_model"] is (sys.version_info < (3, 13))
    finally:
        running.stop()
    assert "Traceback" not in running.log.read_text()
