"""The Space `transcribe` in a real browser."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from .conftest import PATIENCE, SCREENSHOTS, SPACES, RunningSpace

# Slow until its duration has been measured on an idle machine.
pytestmark = pytest.mark.slow

Transcripts = dict[str, dict[str, str]]
EXAMPLES = SPACES / "transcribe" / "examples"
DIGITS = EXAMPLES / "five one two eight six three.flac"
PHONE = {"viewport": {"width": 375, "height": 812}, "is_mobile": True, "has_touch": True}


@pytest.fixture(scope="module")
def page(browser: Any, transcribing: RunningSpace) -> Iterator[Any]:
    """A page that the tests of this file use one after the other."""
    context = browser.new_context(
        viewport={"width": 1280, "height": 900}, permissions=["clipboard-read", "clipboard-write"]
    )
    context.set_default_timeout(1000 * PATIENCE)
    page = context.new_page()
    page.goto(transcribing.url)
    page.get_by_role("button", name=DIGITS.stem).wait_for()
    yield page
    context.close()


def upload(page: Any, path: Path) -> None:
    """Chooses a file, replacing the previous one."""
    with contextlib.suppress(Exception):
        page.locator("#sound").get_by_role("button", name="Clear").click(timeout=1000)
    page.locator("#sound input[type=file]").set_input_files(path)


def words(page: Any) -> list[str]:
    return [text.strip() for text in page.locator("button.word").all_inner_texts()]


def wait_for_words(page: Any, text: str) -> None:
    page.wait_for_function(
        "text => [...document.querySelectorAll('button.word')].map(b => b.textContent).join(' ') === text", arg=text
    )


def is_playing(page: Any) -> bool:
    return bool(page.evaluate("!document.querySelector('.answer audio').paused"))


def test_transcribes_an_upload(page: Any, transcripts: Transcripts) -> None:
    page.get_by_text("its words appear here").wait_for()
    upload(page, DIGITS)
    wait_for_words(page, transcripts[DIGITS.name]["language model"])
    doubts = page.eval_on_selector_all(
        "button.word", "all => all.map(b => Number(b.style.getPropertyValue('--doubt')))"
    )
    assert all(0 <= doubt < 1 for doubt in doubts)
    assert max(doubts) > 0
    assert "confidence" in page.locator("button.word").first.get_attribute("title")
    # The picture: waveform, features as an image, and the words where they lie.
    assert page.evaluate("document.querySelector('.features').naturalHeight") == 80
    lane = page.eval_on_selector_all(".lane .mark", "all => all.map(m => parseFloat(m.style.left))")
    assert lane == sorted(lane)
    assert len(lane) == len(words(page))
    assert lane[-1] < 100
    clipped = "all => all.filter(mark => mark.scrollWidth > mark.clientWidth).length"
    assert page.eval_on_selector_all(".lane .mark", clipped) == 0
    assert page.get_by_text("its words appear here").count() == 0
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(animations="disabled", path=SCREENSHOTS / "transcribe-light.png", full_page=True)


def test_a_click_on_a_word_plays_from_there(page: Any) -> None:
    third = page.locator("button.word").nth(2)
    start = float(third.get_attribute("data-start"))
    third.click()
    page.wait_for_function("start => document.querySelector('.answer audio').currentTime >= start", arg=start)
    assert is_playing(page)
    # The playing word is highlighted, then the next one.
    page.wait_for_function("document.querySelectorAll('button.word')[3].classList.contains('now')")
    assert page.locator("button.word.now").count() <= 1
    page.wait_for_function("document.querySelector('.answer audio').ended")
    page.wait_for_function("!document.querySelector('button.word.now')")


def test_words_are_accessible_by_keyboard(page: Any) -> None:
    page.locator("button.word").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.textContent") == words(page)[2]
    page.keyboard.press("End")
    assert page.evaluate("document.activeElement.textContent") == words(page)[-1]
    # A single tab stop for all words.
    assert page.eval_on_selector_all("button.word", "all => all.filter(b => b.tabIndex === 0).length") == 1
    page.keyboard.press("Enter")
    start = float(page.locator("button.word").last.get_attribute("data-start"))
    page.wait_for_function("start => document.querySelector('.answer audio').currentTime >= start", arg=start)


def test_downloads_transcript_files(page: Any, tmp_path: Path) -> None:
    text = " ".join(words(page))
    for extension, beginning in (("txt", text), ("srt", "1\n00:00:0"), ("vtt", "WEBVTT"), ("json", "{")):
        with page.expect_download() as waiting:
            page.get_by_role("button", name=f"Download as {extension}").click()
        assert waiting.value.suggested_filename == f"{DIGITS.stem}.{extension}"
        waiting.value.save_as(tmp_path / extension)
        content = (tmp_path / extension).read_text()
        assert content.startswith(beginning)
        assert text in content


def test_copies_the_text(page: Any) -> None:
    page.get_by_role("button", name="Copy", exact=True).click()
    page.get_by_text("Copied.").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == " ".join(words(page))


def test_transcribes_an_example_with_and_without_language_model(page: Any, transcripts: Transcripts) -> None:
    name = "enter four five eight two one"
    page.get_by_role("button", name=name).click()
    said = transcripts[f"{name}.flac"]
    wait_for_words(page, said["language model"])
    page.get_by_label("With the language model").first.uncheck()
    wait_for_words(page, said["best path"])
    page.get_by_label("With the language model").first.check()
    wait_for_words(page, said["language model"])


@pytest.fixture(scope="module")
def misfits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files that must be rejected or contain nothing."""
    folder = tmp_path_factory.mktemp("misfits")
    soundfile.write(folder / "two hours.flac", np.zeros(2 * 3600 * 1000, np.int16), 1000)
    (folder / "text.wav").write_text("these are words, and no sound")
    (folder / "empty.wav").write_bytes(b"")
    soundfile.write(folder / "silence.wav", np.zeros(16_000), 16_000)
    soundfile.write(folder / "large.wav", np.zeros(2_000_000), 16_000)
    return {path.name: path for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("two hours.flac", "two hours.flac is 2 hours long (limit: 5 minutes): upload a part of it."),
        ("text.wav", "text.wav is not a sound in a supported format: use wav, flac, ogg, opus, mp3 or aiff."),
        ("silence.wav", "The recording is silent: check the microphone."),
    ],
)
def test_shows_errors_as_sentences(page: Any, misfits: dict[str, Path], name: str, sentence: str) -> None:
    upload(page, misfits[name])
    page.get_by_text(sentence).wait_for()
    assert words(page) == []
    assert page.locator(".answer-error[role=alert], .answer-note[role=status]").count() == 1


def test_rejects_a_large_file_before_the_upload(page: Any, misfits: dict[str, Path]) -> None:
    upload(page, misfits["large.wav"])
    page.get_by_text('exceed the maximum allowed size of 3.0 Mb: "large.wav"').first.wait_for()


def test_works_after_an_error(page: Any, transcripts: Transcripts) -> None:
    upload(page, DIGITS)
    wait_for_words(page, transcripts[DIGITS.name]["language model"])
    assert page.locator(".answer-error").count() == 0


def test_transcribes_several_files(page: Any, misfits: dict[str, Path], transcripts: Transcripts) -> None:
    page.get_by_role("tab", name="Several files").click()
    page.locator("#sounds input[type=file]").set_input_files([DIGITS, misfits["text.wav"]])
    page.locator("#sounds").get_by_text("text", exact=True).first.wait_for()
    button = page.get_by_role("button", name="Transcribe all")
    button.click()
    texts = page.locator("#transcripts td:nth-child(3)")
    texts.filter(has_text=transcripts[DIGITS.name]["language model"]).wait_for()
    texts.filter(has_text="not a sound in a supported format").wait_for()
    # The button is disabled until something changes.
    page.wait_for_function("button => button.disabled", arg=button.element_handle())
    page.get_by_label("With the language model").last.click()
    page.wait_for_function("button => !button.disabled", arg=button.element_handle())


def test_explains_why_a_bidirectional_model_is_not_live(page: Any) -> None:
    page.get_by_role("tab", name="Live").click()
    page.get_by_text("so it cannot transcribe live").wait_for()
    assert page.get_by_role("button", name="Record").count() == 0
    assert "Traceback" not in page.content()


def test_two_simultaneous_visitors(
    visit: Callable[..., Any], transcribing: RunningSpace, transcripts: Transcripts
) -> None:
    """Each visitor gets the words of their own sound."""
    names = sorted(transcripts)[:2]
    pages = [visit(transcribing.url) for _ in names]
    for page, name in zip(pages, names, strict=True):
        upload(page, EXAMPLES / name)
    for page, name in zip(pages, names, strict=True):
        wait_for_words(page, transcripts[name]["language model"])


def test_works_on_a_phone(visit: Callable[..., Any], transcribing: RunningSpace, transcripts: Transcripts) -> None:
    page = visit(transcribing.url, **PHONE)
    page.get_by_role("button", name="pittsburgh spelled").tap()
    wait_for_words(page, transcripts["pittsburgh spelled.flac"]["language model"])
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    for word in page.locator("button.word").all():
        box = word.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 375
        assert box["height"] >= 24  # a finger's
    page.screenshot(animations="disabled", path=SCREENSHOTS / "transcribe-phone.png", full_page=True)


def test_works_in_dark_mode_and_by_keyboard(
    visit: Callable[..., Any], transcribing: RunningSpace, transcripts: Transcripts
) -> None:
    page = visit(transcribing.url, color_scheme="dark")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent").strip() == DIGITS.stem:
            break
    page.keyboard.press("Enter")
    wait_for_words(page, transcripts[DIGITS.name]["language model"])
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.classList.contains('word')"):
            break
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('button.word.now')")
    # Light text on a dark background.
    shades = page.evaluate(
        "['color', 'backgroundColor'].map(name => getComputedStyle(name === 'color' ?"
        " document.querySelector('.legend').parentElement : document.body)[name].match(/[0-9.]+/g).slice(0, 3)"
        ".reduce((sum, part) => sum + Number(part), 0))"
    )
    assert shades[0] > 500 > 200 > shades[1]
    page.screenshot(animations="disabled", path=SCREENSHOTS / "transcribe-dark.png", full_page=True)


def test_erases_uploads_of_a_closed_page(
    visit: Callable[..., Any], transcribing: RunningSpace, transcripts: Transcripts, tmp_path: Path
) -> None:
    path = tmp_path / "my secret.flac"
    path.write_bytes(DIGITS.read_bytes())
    before = set(transcribing.uploads.rglob("sound.flac"))
    page = visit(transcribing.url)
    upload(page, path)
    wait_for_words(page, transcripts[DIGITS.name]["language model"])
    (stored,) = set(transcribing.uploads.rglob("sound.flac")) - before
    page.close()
    wait_until(lambda: not stored.exists())
    assert len(list(transcribing.uploads.rglob("sound.flac"))) >= len(list(EXAMPLES.iterdir()))  # the examples stay


def wait_until(happened: Callable[[], bool]) -> None:
    import time

    end = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.2)
