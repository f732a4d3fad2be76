"""Fixtures: no drawing (`tones_run` and `beeps_run` have real pictures), a teacher, and an empty cache."""

from __future__ import annotations

from pathlib import Path

import pytest
from pictures import copy_pictures
from training_runs import save_whisper


@pytest.fixture(autouse=True)
def quick_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    copy_pictures(monkeypatch)


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_whisper(tmp_path_factory.mktemp("teacher") / "whisper-tiny")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_SPEECH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
