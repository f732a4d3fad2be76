"""Live transcription in a real browser whose microphone is a WAV file."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import pytest
import soundfile

from hf_speech import load_model
from hf_speech.data.audio import read_audio
from hf_speech.inference import transcribe_files

from .conftest import PATIENCE, PRETRAINED, RunningSpace, speak_into

# Slow until its duration has been measured on an idle machine.
pytestmark = pytest.mark.slow

TEXT = "abc cab bba ca b ac"
REPEATS = 10


@pytest.fixture(scope="module")
def speaking(open_browser: Callable[..., Any], make_beeps, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A browser whose microphone plays `TEXT` `REPEATS` times."""
    path: Path = tmp_path_factory.mktemp("microphone") / "speech.wav"
    sound = np.concatenate([make_beeps(TEXT, 48_000, seed=seed) for seed in range(REPEATS)])
    soundfile.write(path, sound, 48_000, subtype="PCM_16")
    return open_browser(*speak_into(path))


def listen(page: Any) -> None:
    page.get_by_role("tab", name="Live").click()
    page.get_by_role("button", name="Record").click()
    page.get_by_role("button", name="Stop").wait_for()


def stop(page: Any) -> str:
    """Ends the recording and returns its text."""
    page.get_by_role("button", name="Stop").click()
    page.wait_for_function("document.querySelector('.live').dataset.state === 'idle'")
    return str(page.locator(".live-words").inner_text()).strip()


def seconds(page: Any) -> float:
    return float(page.locator(".live-clock").inner_text().split()[0])


def assert_heard(text: str, at_least: int) -> None:
    """Checks that the text is complete from the beginning to where it was stopped."""
    heard, said = text.split(), " ".join([TEXT] * REPEATS).split()
    assert len(heard) >= at_least
    assert heard[:-1] == said[: len(heard) - 1]
    assert said[len(heard) - 1].startswith(heard[-1])


def test_shows_words_during_a_recording(visit: Callable[..., Any], listening: RunningSpace, speaking: Any) -> None:
    page = visit(listening.url, using=speaking)
    began = time.monotonic()
    listen(page)
    texts = []
    while len(texts) < 4:
        page.wait_for_function(
            "text => document.querySelector('.live-words').textContent !== text", arg=(texts or [""])[-1]
        )
        texts.append(page.locator(".live-words").inner_text())
    assert time.monotonic() - began < 4.25 * REPEATS  # the file has not ended
    assert all(later.startswith(earlier) for earlier, later in pairwise(texts))
    assert page.locator(".live-words").get_attribute("aria-live") == "polite"
    text = stop(page)
    assert text.startswith(texts[-1])
    assert_heard(text, 2)
    # And again: a new recording begins empty.
    listen(page)
    assert seconds(page) < 4.25 * REPEATS
    page.wait_for_function("document.querySelector('.live-words').textContent")
    stop(page)


@pytest.mark.corpora
def test_shows_text_before_the_recording_ends(
    visit: Callable[..., Any],
    start_space: Callable[..., RunningSpace],
    open_browser: Callable[..., Any],
    corpora_dir: Path,
    tmp_path: Path,
) -> None:
    """For eight utterances of AN4 and the pretrained model, the text equals that of the file."""
    folder = corpora_dir / "an4"
    files = (folder / "etc" / "an4_test.fileids").read_text().split()[:8]
    speech = np.concatenate([read_audio(folder / "wav" / f"{file}.sph", 48_000) for file in files])
    length = len(speech) / 48_000
    soundfile.write(tmp_path / "speech.wav", speech, 48_000, subtype="PCM_16")
    model = load_model(PRETRAINED / "an4-streaming", "cpu")
    (whole,) = transcribe_files(model, [tmp_path / "speech.wav"], progress=False)

    space = start_space("transcribe", PRETRAINED / "an4-streaming")
    page = visit(space.url, using=open_browser(*speak_into(tmp_path / "speech.wav")))
    listen(page)
    page.wait_for_function("document.querySelector('.live-words').textContent.split(' ').length > 4")
    early, when = page.locator(".live-words").inner_text(), seconds(page)
    assert when < length / 2
    page.wait_for_function(
        "length => parseFloat(document.querySelector('.live-clock').textContent) > length", arg=length + 1
    )
    text = stop(page)
    assert text.startswith(early)
    # The browser resamples in its own way, so a letter may differ; of spelled names each is a word.
    assert jiwer.cer(whole.hypothesis.text, text) < 0.1


def test_a_slow_connection_loses_nothing(visit: Callable[..., Any], listening: RunningSpace, speaking: Any) -> None:
    """The reason for the Space's own protocol: gr.Audio(streaming=True) drops pieces that have not been answered."""
    page = visit(listening.url, using=speaking)
    sent = []

    def delay(route: Any) -> None:
        sent.append(time.monotonic())
        time.sleep(1.0)
        route.continue_()

    page.route("**/queue/join*", delay)
    listen(page)
    page.wait_for_function("parseFloat(document.querySelector('.live-clock').textContent) > 5")
    text = stop(page)
    assert_heard(text, 6)
    assert len(sent) < seconds(page) / 0.3  # pieces become longer instead of being lost


def test_two_simultaneous_recordings(visit: Callable[..., Any], listening: RunningSpace, speaking: Any) -> None:
    pages = [visit(listening.url, using=speaking) for _ in range(2)]
    for page in pages:
        listen(page)
    for page in pages:
        page.wait_for_function("document.querySelector('.live-words').textContent.split(' ').length > 1")
    for page in pages:
        assert_heard(stop(page), 2)


def test_writes_no_file(visit: Callable[..., Any], listening: RunningSpace, speaking: Any) -> None:
    before = set(listening.uploads.rglob("*"))
    page = visit(listening.url, using=speaking)
    listen(page)
    page.wait_for_function("document.querySelector('.live-words').textContent")
    assert set(listening.uploads.rglob("*")) == before
    stop(page)


def test_reports_a_missing_microphone(visit: Callable[..., Any], listening: RunningSpace) -> None:
    page = visit(listening.url)
    page.get_by_role("tab", name="Live").click()
    page.get_by_role("button", name="Record").click()
    page.wait_for_function("document.querySelector('.live-notice').textContent.endsWith('.')")
    assert "microphone" in page.locator(".live-notice").inner_text()
    assert page.get_by_role("button", name="Record").is_visible()


def test_reports_a_lost_server(visit: Callable[..., Any], listening: RunningSpace, speaking: Any) -> None:
    page = visit(listening.url, using=speaking)
    page.evaluate("window.livePatience = 1500")
    page.route("**/queue/join*", lambda route: None)  # never answered
    listen(page)
    page.get_by_text("The server does not answer").wait_for(timeout=1000 * PATIENCE)
    assert page.get_by_role("button", name="Record").is_visible()
