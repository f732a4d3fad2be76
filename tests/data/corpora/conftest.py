"""Fixtures for tests of corpora."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A separate cache for the test."""
    monkeypatch.setenv("HF_SPEECH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
