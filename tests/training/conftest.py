"""Fixtures for training without drawing; `tones_run` and `beeps_run`, which are trained once, have real pictures."""

from __future__ import annotations

import pytest
from pictures import copy_pictures


@pytest.fixture(autouse=True)
def quick_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    copy_pictures(monkeypatch)
