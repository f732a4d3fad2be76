"""What the tests of corpora share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own for the test."""
    monkeypatch.setenv("HF_SPEECH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
