"""Two thousand visitors of both Spaces, hostile ones among them: nothing stays on the disk, and memory stays flat."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from random import Random

import pytest
from fuzz.folders import make_models
from fuzz.requests import SPACES, Refused, Requests

pytestmark = pytest.mark.slow
pytest.importorskip("gradio", reason="the Spaces need gradio: pip install 'hf_speech[demo]'")
VISITORS, KEEP_SECONDS = 2000, 5


def test_two_thousand_visitors_leave_nothing(tmp_path: Path) -> None:
    make_models(tmp_path)
    visitors = Requests(tmp_path, KEEP_SECONDS=str(KEEP_SECONDS))
    try:
        kept = set(tmp_path.rglob("sound.flac"))  # the examples
        for number in range(VISITORS):
            with contextlib.suppress(Refused):
                visitors.run(Random(f"visitor {number}"))  # asserts time and memory of each
        end = time.monotonic() + 10 * KEEP_SECONDS
        left = kept
        while time.monotonic() < end:
            left = {path for space in SPACES for path in (tmp_path / f"uploads-{space}").rglob("*") if path.is_file()}
            if left == kept:
                break
            time.sleep(0.5)
        assert left == kept
    finally:
        visitors.stop()
