"""A run folder to spoil: a copy of a model that comes with the project, so that nothing has to be trained."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hub_server.fixtures import client, hub, place, xet_client, xet_hub  # noqa: F401

PRETRAINED = Path(__file__).resolve().parents[2] / "pretrained"


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """A copy of pretrained/fsdd-digits: a classifier."""
    return Path(shutil.copytree(PRETRAINED / "fsdd-digits", tmp_path / "digits"))


@pytest.fixture
def an4(tmp_path: Path) -> Path:
    """A copy of pretrained/an4: a recognizer with a language model."""
    return Path(shutil.copytree(PRETRAINED / "an4", tmp_path / "an4"))
