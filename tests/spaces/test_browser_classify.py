"""The Space `classify` in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from .conftest import PATIENCE, SCREENSHOTS, SPACES, RunningSpace, speak_into

pytestmark = pytest.mark.slow

EXAMPLES = SPACES / "classify" / "examples"
PHONE = {"viewport": {"width": 375, "height": 812}, "is_mobile": True, "has_touch": True}


def upload(page: Any, path: Path) -> None:
    clear = page.locator("#sound").get_by_role("button", name="Clear")
    if clear.is_visible():
        clear.click()
    page.locator("#sound input[type=file]").set_input_files(path)


def wait_for_label(page: Any, label: str) -> None:
    page.locator(".bars li").first.get_by_text(label, exact=True).wait_for()


def history(page: Any) -> list[list[str]]:
    """Returns the rows of the session's table, newest first."""
    rows = page.locator(".session tbody tr").all()
    return [[cell.inner_text().strip() for cell in row.get_by_role("cell").all()] for row in rows]


def wait_for_history(page: Any, rows: int) -> None:
    page.wait_for_function("rows => document.querySelectorAll('.session tbody tr').length === rows", arg=rows)


def test_classifies_uploads_and_shows_a_history(visit: Callable[..., Any], classifying: RunningSpace) -> None:
    page = visit(classifying.url)
    upload(page, EXAMPLES / "seven.flac")
    wait_for_label(page, "seven")
    labels = page.locator(".bars .label").all_inner_texts()
    shares = [float(text.removesuffix("%")) for text in page.locator(".bars .share").all_inner_texts()]
    assert sorted(labels) == sorted(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(100, abs=0.6)
    # Bars are proportional to probabilities.
    widths = page.eval_on_selector_all(
        ".bar", "all => all.map(b => 100 * b.getBoundingClientRect().width / b.parentElement.clientWidth)"
    )
    assert widths == pytest.approx(shares, abs=0.5)
    # The waveform, and the features.
    assert page.locator(".wave path").get_attribute("d")
    assert page.evaluate("document.querySelector('.features').naturalHeight") == 40
    wait_for_history(page, 1)
    page.get_by_role("button", name="zero", exact=True).click()
    wait_for_label(page, "zero")
    wait_for_history(page, 2)
    assert [row[0::2] for row in history(page)] == [["zero.flac", "zero"], ["seven.flac", "seven"]]
    assert history(page)[1][3] == f"{shares[0]}%"
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / "classify-light.png", full_page=True, animations="disabled")
    page.get_by_role("button", name="Clear the table").click()
    wait_for_history(page, 0)


def test_the_history_belongs_to_the_session(visit: Callable[..., Any], classifying: RunningSpace) -> None:
    mine, theirs = visit(classifying.url), visit(classifying.url)
    for page, label in ((mine, "two"), (theirs, "seven")):
        page.get_by_role("button", name=label, exact=True).click()
    for page, label in ((mine, "two"), (theirs, "seven")):
        wait_for_label(page, label)
        wait_for_history(page, 1)
        assert history(page)[0][2] == label


def test_shows_one_player_and_no_empty_table(visit: Callable[..., Any], classifying: RunningSpace) -> None:
    page = visit(classifying.url)
    assert page.locator("table:visible").count() == 0
    page.get_by_role("button", name="two", exact=True).click()
    wait_for_label(page, "two")
    assert page.locator("audio:visible").count() == 1
    assert page.locator("#sound").get_by_role("button", name="Play").count() == 0
    assert page.get_by_role("heading", level=1).inner_text() == "fsdd-digits"


def test_classifies_a_microphone_recording(
    visit: Callable[..., Any], open_browser: Callable[..., Any], classifying: RunningSpace, tmp_path: Path
) -> None:
    seven, rate = soundfile.read(EXAMPLES / "seven.flac", dtype="float32")
    quiet = np.zeros(rate // 2, dtype=np.float32)
    soundfile.write(tmp_path / "speech.wav", np.concatenate([quiet, seven, *[quiet] * 20]), rate, subtype="PCM_16")
    page = visit(classifying.url, using=open_browser(*speak_into(tmp_path / "speech.wav")))
    sound = page.locator("#sound")
    sound.get_by_role("button", name="Record audio").click()
    sound.get_by_role("button", name="Record", exact=True).click()
    page.wait_for_timeout(2500)
    sound.get_by_role("button", name="Stop", exact=True).click()
    wait_for_label(page, "seven")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("two hours.flac", "two hours.flac is 2 hours long (limit: 5 minutes): upload a part of it."),
        ("text.wav", "text.wav is not a sound in a supported format: use wav, flac, ogg, opus, mp3 or aiff."),
        ("silence.wav", "silence.wav is silent: check the microphone."),
    ],
)
def test_shows_errors_as_sentences(
    visit: Callable[..., Any], classifying: RunningSpace, tmp_path: Path, name: str, sentence: str
) -> None:
    if name == "two hours.flac":
        soundfile.write(tmp_path / name, np.zeros(2 * 3600 * 1000, np.int16), 1000)
    elif name == "text.wav":
        (tmp_path / name).write_text("these are words, and no sound")
    else:
        soundfile.write(tmp_path / name, np.zeros(8000), 8000)
    page = visit(classifying.url)
    upload(page, tmp_path / name)
    page.locator(".answer-error[role=alert]").get_by_text(sentence).wait_for()
    assert history(page) == []


def test_works_on_a_phone_in_dark_mode(visit: Callable[..., Any], classifying: RunningSpace) -> None:
    page = visit(classifying.url, color_scheme="dark", **PHONE)
    page.get_by_role("button", name="two", exact=True).tap()
    wait_for_label(page, "two")
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    for bar in page.locator(".bars li").all():
        box = bar.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 375
    page.screenshot(path=SCREENSHOTS / "classify-phone-dark.png", full_page=True, animations="disabled")


def test_erases_old_sounds(visit: Callable[..., Any], classifying: RunningSpace, tmp_path: Path) -> None:
    """Also if the page stays open; the Space of these tests keeps uploads for five seconds."""
    path = tmp_path / "my secret.flac"
    path.write_bytes((EXAMPLES / "seven.flac").read_bytes())
    page = visit(classifying.url)
    upload(page, path)
    wait_for_label(page, "seven")
    stored = [file for file in classifying.uploads.rglob("sound.flac") if file.stat().st_size == path.stat().st_size]
    assert stored
    for _ in range(round(PATIENCE)):
        page.wait_for_timeout(1000)
        if len(list(classifying.uploads.rglob("sound.flac"))) == len(list(EXAMPLES.iterdir())):
            return
    pytest.fail("the upload is still there")
