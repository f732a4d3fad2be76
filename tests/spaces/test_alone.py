"""A published Space is self-contained: it works without hf_speech.

The fast test blocks the package in this environment; the slow one installs requirements.txt into a new one.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hf_speech.publishing.assembly import assemble_space

from .conftest import PATIENCE, PRETRAINED, SPACES, RunningSpace, launch

gradio_client = pytest.importorskip("gradio_client", reason="needs gradio: pip install 'hf_speech[demo]'")
CASES = [
    ("transcribe", "an4", ("five one two eight six three", True), {"text": "FIVE ONE TWO EIGHT SIX THREE"}),
    ("classify", "fsdd-digits", ("seven", 3), {"label": "seven"}),
]
# Modules of hf_speech come from the Space or not at all, and what only the package needs is not there.
BLOCK = """
import sys
from importlib.machinery import PathFinder
from pathlib import Path

class Block:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in ("lazy_loader", "jsonargparse", "jiwer", "evaluate"):
            raise ModuleNotFoundError(f"{name} is not in requirements.txt")
        if top == "hf_speech":
            spec = PathFinder.find_spec(name, path or [SPACE])
            if spec is None:
                raise ModuleNotFoundError(f"{name} does not come with the Space")
            return spec

SPACE = FOLDER
sys.meta_path.insert(0, Block())
"""


def ask(running: RunningSpace, space: str, sound: Path, option: Any) -> tuple[Any, dict[str, Any]]:
    """Returns the answer of a Space to a sound, and its description."""
    client = gradio_client.Client(
        running.url, verbose=False, analytics_enabled=False, httpx_kwargs={"timeout": PATIENCE}
    )
    answer = client.predict(gradio_client.handle_file(str(sound)), option, api_name=f"/{space}")
    return answer, client.predict(api_name="/describe")


@pytest.mark.parametrize(("space", "model", "arguments", "expected"), CASES)
def test_a_space_works_without_the_package(
    tmp_path: Path, space: str, model: str, arguments: tuple[str, Any], expected: dict[str, str]
) -> None:
    folder = assemble_space(SPACES / space, tmp_path / "space")
    shutil.copytree(PRETRAINED / model, folder / "model")  # found there without MODEL_ID
    (tmp_path / "block").mkdir()
    (tmp_path / "block" / "sitecustomize.py").write_text(BLOCK.replace("FOLDER", repr(str(folder))))
    running = launch(folder, None, tmp_path / "scratch", CORPUS="these tests", PYTHONPATH=str(tmp_path / "block"))
    try:
        running.wait(4 * PATIENCE)
        name, option = arguments
        answer, description = ask(running, space, folder / "examples" / f"{name}.flac", option)
        assert answer | expected == answer
        assert description["trained_on"] == "these tests"
    finally:
        running.stop()
    assert "Traceback" not in running.log.read_text()


@pytest.fixture
def empty_directory(tmp_path: Path) -> Iterator[Path]:
    """A temporary folder for gigabytes of data, which pytest would otherwise keep."""
    yield tmp_path
    shutil.rmtree(tmp_path)


def install(python: Path, *what: str) -> subprocess.CompletedProcess[str]:
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *what]
    return subprocess.run(command, capture_output=True, text=True)


# Gigabytes are installed; on a slow line this takes many minutes.
@pytest.mark.slow
@pytest.mark.parametrize(("space", "model", "arguments", "expected"), CASES)
def test_a_published_space_works_alone(
    empty_directory: Path, space: str, model: str, arguments: tuple[str, Any], expected: dict[str, str]
) -> None:
    folder = assemble_space(SPACES / space, empty_directory / space)
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
        running.wait(4 * PATIENCE)
        name, option = arguments
        answer, description = ask(running, space, folder / "examples" / f"{name}.flac", option)
        assert answer | expected == answer
        if space == "transcribe":
            assert description["language_model"] is (sys.version_info < (3, 13))
    finally:
        running.stop()
    assert "Traceback" not in running.log.read_text()
