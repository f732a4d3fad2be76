"""Fixtures: exported models, and the JavaScript module in Node."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from exported_models import *  # noqa: F403

WEB = Path(__file__).resolve().parents[2] / "web"


@pytest.fixture(autouse=True)
def _node() -> None:
    if shutil.which("node") is None or not (WEB / "node_modules").is_dir():
        pytest.skip("the JavaScript module needs Node and its packages: npm ci --prefix web")


@pytest.fixture
def run(tmp_path: Path) -> Any:
    """The function `(job, **arguments)` that runs a job of run.mjs."""

    def job(name: str, **arguments: Any) -> Any:
        (tmp_path / "request.json").write_text(json.dumps({"job": name, **arguments}))
        command = ["node", str(Path(__file__).with_name("run.mjs")), str(tmp_path / "request.json")]
        finished = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert finished.returncode == 0, finished.stderr
        return json.loads(finished.stdout)

    return job
