"""Import paths of version 0.1."""

from __future__ import annotations

import hf_speech.evaluation
import hf_speech.inference
from hf_speech.evaluation import moved, recordings


def test_old_import_paths_still_work() -> None:
    for name in moved.__all__:
        assert getattr(hf_speech.evaluation, name) is getattr(hf_speech.inference, name)
    for name in recordings.__all__:
        assert getattr(recordings, name) is getattr(hf_speech.inference, name)
