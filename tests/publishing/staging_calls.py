"""Helpers for tests of staging."""

from __future__ import annotations

from pathlib import Path

import pytest

from hf_speech.errors import PublishError
from hf_speech.publishing import Staged, stage

TOKEN = "hf" + "_" + "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7bC0fGhi"


def staged(run: Path, tmp_path: Path, **options: object) -> Staged:
    return stage(run, tmp_path / "staged", **{"repo_id": "anna/x", **options})  # type: ignore[arg-type]


def refused(run: Path, tmp_path: Path, message: str, **options: object) -> None:
    """Checks that staging fails with one sentence and leaves no files."""
    with pytest.raises(PublishError, match=message) as error:
        staged(run, tmp_path, **options)
    assert "\n" not in str(error.value)
    assert str(error.value).endswith(".")
    assert TOKEN not in str(error.value)
    assert not any((tmp_path / "staged").iterdir()) if (tmp_path / "staged").exists() else True
