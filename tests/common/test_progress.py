"""Progress in a log: occasional lines instead of a bar, which would be drawn hundreds of times."""

from __future__ import annotations

import io
import sys

import pytest

from hf_speech.common import progress
from hf_speech.common.progress import progress_bar


def run(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch, seconds: float = 60.0) -> str:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", seconds)
    monkeypatch.setattr(sys, "stderr", stream)
    assert list(progress_bar(range(1000), desc="Counting", unit="thing")) == list(range(1000))
    with progress_bar(total=None, desc="Fetching", unit="B", unit_scale=True) as bar:
        bar.set_postfix(file="a.zip", refresh=False)
        bar.update(2_000_000)
        bar.update()
    with progress_bar(total=3, disable=True) as bar:
        bar.update(3)
    return stream.getvalue()


def test_no_log_lines_for_short_work(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(io.StringIO(), monkeypatch) == ""


def test_log_lines_for_long_work(monkeypatch: pytest.MonkeyPatch) -> None:
    written = run(io.StringIO(), monkeypatch, 0.0)
    assert "\r" not in written
    assert "\x1b" not in written
    assert "█" not in written
    lines = written.splitlines()
    assert any(line.startswith("Counting: 900 of 1000 after 00:00, ") for line in lines)
    assert "Fetching: 2.00M after 00:00, file=a.zip" in lines
    assert all(line.endswith(" left") for line in lines if line.startswith("Counting"))


def test_progress_bar_in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert "\rCounting: 100%|" in run(Terminal(), monkeypatch)
