"""The notebooks run from start to end, and are committed without outputs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((REPOSITORY / "examples").glob("*.ipynb"))
EXPECTED = {"fine_tune": "test_accuracy", "publish_and_use": "# three-words"}


def cells(notebook: Path) -> list[dict[str, Any]]:
    content = json.loads(notebook.read_text(encoding="utf-8"))
    assert content["nbformat"] == 4
    return content["cells"]


def test_every_expectation_has_a_notebook() -> None:
    assert {path.stem for path in NOTEBOOKS} == set(EXPECTED)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_without_outputs(notebook: Path) -> None:
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells(notebook) if "outputs" in cell)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(notebook: Path, tmp_path: Path) -> None:
    """Runs the cells as one program, because they are plain Python and a kernel would be an extra dependency."""
    pytest.importorskip("espeakng_loader")
    code = ["".join(cell["source"]) for cell in cells(notebook) if cell["cell_type"] == "code"]
    program = "\n".join(code)
    (tmp_path / "examples").mkdir()
    (tmp_path / "pretrained").symlink_to(REPOSITORY / "pretrained")
    finished = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path / "examples", capture_output=True, encoding="utf-8", timeout=300
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    assert EXPECTED[notebook.stem] in finished.stdout
