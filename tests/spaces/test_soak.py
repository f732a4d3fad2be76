"""Two thousand visitors of both Spaces, including hostile ones: fast answers, and no leftovers on disk or in memory."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest
from fuzz.folders import make_models
from fuzz.requests import SPACES, Refused, Requests

pytestmark = pytest.mark.slow
pytest.importorskip("gradio", reason="the Spaces need gradio: pip install 'hf_speech[demo]'")
# So many that what the libraries keep of sessions and threads has reached its limits.
FIRST_VISITORS = 300
VISITORS, AT_A_TIME, MINUTES, KEEP_SECONDS = 2000, 4, 10, 5
SECONDS_TO_ANSWER, GROWTH = 2.0, 0.10
# For which a Space keeps answers that nobody fetches (`serving.py`), and a little more.
SECONDS_UNREAD = 65


def test_two_thousand_visitors_leave_no_files_and_memory(tmp_path: Path) -> None:
    make_models(tmp_path)
    visitors = Requests(tmp_path, KEEP_SECONDS=str(KEEP_SECONDS))
    try:
        kept = uploads(tmp_path)  # the examples
        visit(visitors, range(FIRST_VISITORS))
        wait_until_forgotten(tmp_path, kept)
        before = {space: visitors.resident(space) for space in SPACES}
        started = time.monotonic()
        with waiting_times(visitors) as waited:
            refused = visit(visitors, range(FIRST_VISITORS, FIRST_VISITORS + VISITORS))
        minutes = (time.monotonic() - started) / 60
        wait_until_forgotten(tmp_path, kept)
        growth = {space: visitors.resident(space) / before[space] - 1 for space in SPACES}
    finally:
        visitors.stop()
    print(
        f"{VISITORS:,} visitors in {minutes:.1f} minutes, {refused:,} requests refused; the page came {len(waited):,} "
        f"times, after {sorted(waited)[len(waited) // 2]:.3f} s (median) to {max(waited):.2f} s; "
        + ", ".join(f"{space}: {before[space] >> 20} MiB and {growth[space]:+.1%}" for space in SPACES)
    )
    assert minutes < MINUTES
    assert max(waited) < SECONDS_TO_ANSWER
    assert max(growth.values()) < GROWTH


def visit(visitors: Requests, numbers: range) -> int:
    """Simulates visitors, a few at a time, and returns the number of rejections. Raises for wrong answers."""

    def one(number: int) -> bool:
        rng = Random(f"visitor {number}")
        try:
            visitors.send(rng.choice(list(SPACES)), rng)
        except Refused:
            return True
        return False

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        return sum(pool.map(one, numbers))


@contextlib.contextmanager
def waiting_times(visitors: Requests) -> Iterator[list[float]]:
    """Measures repeatedly how many seconds another visitor of each Space waits for the page."""
    waited: list[float] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.25):
            for space in SPACES:
                started = time.monotonic()
                visitors.ask(space, "GET", "/")
                waited.append(time.monotonic() - started)

    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(watch)
        try:
            yield waited
        finally:
            ended.set()
            watching.result()


def wait_until_forgotten(folder: Path, kept: set[Path]) -> None:
    """Waits until unread answers are dropped and uploads are erased; only files in `kept` may be left."""
    time.sleep(SECONDS_UNREAD)
    end = time.monotonic() + 10 * KEEP_SECONDS
    while (left := uploads(folder)) != kept and time.monotonic() < end:
        time.sleep(0.5)
    assert left == kept


def uploads(folder: Path) -> set[Path]:
    """Returns the files and folders that the Spaces have written."""
    return {path for space in SPACES for path in (folder / f"uploads-{space}").rglob("*")}
