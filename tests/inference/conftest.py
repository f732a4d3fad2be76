"""Fixtures shared by inference, evaluation and export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import soundfile
from exported_models import *  # noqa: F403
from saved_models import model_copy, saved_model, tones
from tests.inference.transcribing import arpa, clip, transcribe


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory, make_beeps: Any) -> Path:
    """Four sounds that the model of `beeps_run` transcribes as their file names."""
    folder = tmp_path_factory.mktemp("recordings")
    for index, text in enumerate(("ab", "ca", "bcb", "aa")):
        (folder / text).mkdir()
        soundfile.write(folder / text / f"{index}.wav", make_beeps(text, seed=900 + index), 8000)
    return folder


__all__ = ["arpa", "clip", "model_copy", "saved_model", "tones", "transcribe"]
