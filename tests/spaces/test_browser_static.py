"""The static page in a real browser with real WebAssembly, without requests to other servers."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import soundfile
from exported_models import sound as synthesize

from hf_speech.errors import PublishError
from hf_speech.inference import Detector, classify_files, load_model, transcribe_files
from hf_speech.inference.beam_options import BeamOptions, find_language_model
from hf_speech.inference.decoders import beam_decoder
from hf_speech.models.streaming_transcriber import StreamingTranscriber
from hf_speech.publishing import web_page
from hf_speech.publishing.hub.probes import make_probes
from hf_speech.publishing.static_space import browser_logits, find_chromium
from hf_speech.publishing.web_page import build_page, served
from hf_speech.publishing.web_runtime import runtime_folder

from .conftest import PATIENCE, PRETRAINED, REPOSITORY, SCREENSHOTS, SPACES, speak_into

pytestmark = pytest.mark.slow

AXE = REPOSITORY / "web" / "node_modules" / "axe-core" / "axe.min.js"
EXAMPLE = SPACES / "transcribe" / "examples" / "five one two eight six three.flac"
PHONE = {"viewport": {"width": 375, "height": 812}, "is_mobile": True, "has_touch": True, "color_scheme": "dark"}
MAX_TRANSFER = 12_000_000


@pytest.fixture(scope="module")
def make_page(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """The function that writes the page of a model."""
    try:
        runtime_folder()
    except PublishError as error:
        pytest.skip(str(error))
    pages: dict[Path, Path] = {}

    def make(model: Path) -> Path:
        if model not in pages:
            pages[model] = build_page(load_model(model, "cpu"), tmp_path_factory.mktemp("page") / "page")
        return pages[model]

    return make


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths that were requested from the server."""
    paths: list[str] = []
    monkeypatch.setattr(web_page._Handler, "log_message", lambda handler, *_: paths.append(handler.path))
    return paths


@pytest.fixture
def recognizer(make_page: Callable[[Path], Path], requests: list[str]) -> Iterator[str]:
    """The URL of a page with a causal recognizer of spelled letters and numbers."""
    with served(make_page(PRETRAINED / "an4-streaming")) as address:
        yield address


def ready(page: Any) -> Any:
    page.locator("body[data-state=ready]").wait_for()
    return page


def done(page: Any) -> list[str]:
    """Waits for the final result and returns the words."""
    page.locator("#player").wait_for()
    return [word.strip() for word in page.locator("#words button").all_inner_texts()]


def choose(page: Any, path: Path) -> None:
    page.locator("#file").set_input_files(path)


def assert_accessible(page: Any) -> None:
    """Checks accessibility with axe if it is installed."""
    if not AXE.is_file():
        pytest.skip("axe-core is not installed: npm ci --prefix web")
    page.evaluate(AXE.read_text(encoding="utf-8") + "; null")
    violations = page.evaluate("axe.run().then(({ violations }) => violations)")
    assert violations == [], json.dumps(violations, indent=1)[:3000]


def saved(page: Any, name: str) -> tuple[str, str]:
    """Returns the name and content of a file that a button saves."""
    with page.expect_download() as started:
        page.get_by_role("button", name=name, exact=True).click()
    return started.value.suggested_filename, Path(started.value.path()).read_text(encoding="utf-8")


def test_transcribes_a_file_without_requests(
    visit: Callable[..., Any], recognizer: str, requests: list[str], make_page: Any, tmp_path: Path
) -> None:
    page = ready(visit(recognizer, permissions=["clipboard-read", "clipboard-write"]))
    page.wait_for_timeout(500)
    folder = make_page(PRETRAINED / "an4-streaming")
    files = [folder / (path.partition("?")[0].lstrip("/") or "index.html") for path in requests]
    assert sum(file.stat().st_size for file in files if file.is_file()) < MAX_TRANSFER
    assert sum(path.endswith(".onnx") for path in requests) == 1
    before = len(requests)

    model = load_model(PRETRAINED / "an4-streaming", "cpu")
    options = BeamOptions.beside(find_language_model(model))
    (transcript,) = transcribe_files(model, [EXAMPLE], decoder=beam_decoder(model, options), progress=False)
    choose(page, EXAMPLE)
    assert done(page) == transcript.hypothesis.text.split()
    assert_accessible(page)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / "static-light.png", full_page=True, animations="disabled")

    # The same words and nearly the same confidences as in Python; the times are equal.
    name, content = saved(page, "json")
    assert name == f"{EXAMPLE.stem}.json"
    for word, same in zip(json.loads(content)["words"], transcript.hypothesis.words, strict=True):
        assert (word["start"], word["end"]) == (
            pytest.approx(same.start, abs=0.041),
            pytest.approx(same.end, abs=0.041),
        )
        assert word["confidence"] == pytest.approx(same.confidence, abs=0.15)
    assert saved(page, "srt")[1].startswith("1\n00:00:00,")
    assert saved(page, "vtt")[1].startswith("WEBVTT\n\n00:00:00.")
    assert saved(page, "txt")[1] == f"{transcript.hypothesis.text}\n"
    page.get_by_role("button", name="Copy").click()
    page.get_by_role("button", name="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == transcript.hypothesis.text

    # Clicking a word plays from there, and arrow keys move between words.
    word = page.locator("#words button").nth(3)
    word.click()
    assert page.evaluate("document.querySelector('audio').currentTime") >= transcript.hypothesis.words[3].start
    page.locator("#words button.now").first.wait_for()
    word.press("ArrowRight")
    assert page.evaluate("document.activeElement.textContent") == transcript.hypothesis.words[4].text

    (tmp_path / "letter.txt").write_text("These are words, and no sound.")
    choose(page, tmp_path / "letter.txt")
    page.get_by_role("alert").get_by_text("letter.txt is not a sound that can be read here").wait_for()
    assert not page.locator("#answer").is_visible()
    soundfile.write(tmp_path / "silence.wav", np.zeros(16_000), 16_000)
    choose(page, tmp_path / "silence.wav")
    page.get_by_role("status").get_by_text("No words were recognized.").wait_for()
    assert requests[before:] == []


def test_logits_in_the_browser_equal_those_of_pytorch(make_page: Any, beeps_run: Path) -> None:
    pytest.importorskip("playwright", reason="the browser is driven by playwright, which is missing")
    if (executable := find_chromium()) is None:
        pytest.skip("no Chromium on this machine")
    for model in (beeps_run, PRETRAINED / "fsdd-digits"):
        probes = make_probes(model)
        with ThreadPoolExecutor() as thread:  # Playwright runs once in a thread, and here it drives another browser.
            logits = thread.submit(browser_logits, make_page(model), probes, executable).result()
        assert probes.largest_difference(logits) < 1e-3


def test_transcribes_the_microphone_live(
    visit: Callable[..., Any], open_browser: Any, recognizer: str, tmp_path: Path
) -> None:
    """Words appear during the recording, and the final ones equal those of PyTorch's stream."""
    sounds = [soundfile.read(path, dtype="float32")[0] for path in sorted(EXAMPLE.parent.iterdir())]
    pause = np.zeros(8000, dtype=np.float32)
    speech = np.concatenate([part for sound in 6 * sounds for part in (pause, sound)])
    soundfile.write(tmp_path / "speech.wav", speech, 16_000, subtype="PCM_16")
    browser = open_browser(*speak_into(tmp_path / "speech.wav"))
    page = ready(visit(recognizer, using=browser, bypass_csp=True))  # Which would keep the test from the recording.
    choose_float32(page)
    page.get_by_label("Use the language model").uncheck()
    ready(page)
    page.get_by_role("button", name="Speak").click()
    page.locator("#words button").nth(2).wait_for()
    seconds = float(page.locator("#clock").inner_text().split()[0])
    assert seconds < len(speech) / 16_000
    page.wait_for_timeout(4000)
    page.get_by_role("button", name="Stop").click()
    words = done(page)
    encoded = page.evaluate(
        """async () => {
            const content = await (await fetch(document.querySelector("audio").src)).arrayBuffer();
            return btoa(Array.from(new Uint8Array(content), (byte) => String.fromCharCode(byte)).join(""));
        }"""
    )
    heard, rate = soundfile.read(io.BytesIO(base64.b64decode(encoded)), dtype="float32")
    model = load_model(PRETRAINED / "an4-streaming", "cpu")
    stream = StreamingTranscriber(model.model, model.feature_extractor, model.tokenizer)
    stream.accept(heard)
    assert rate == 16_000
    assert len(words) > 3
    assert " ".join(words) == stream.finish().text


def test_transcribes_half_an_hour_in_bounded_memory(
    visit: Callable[..., Any], make_page: Any, beeps_run: Path, make_beeps: Any, tmp_path: Path
) -> None:
    text = "abc cab bba ca b ac"
    piece = make_beeps(text, 8000)
    repeats = round(1800 * 8000 / len(piece))
    with soundfile.SoundFile(tmp_path / "long.flac", "w", 8000, 1) as file:
        for _ in range(repeats):
            file.write(piece)
    with served(make_page(beeps_run)) as address:
        page = ready(visit(address))
        before = memory(page)
        choose(page, tmp_path / "long.flac")
        page.get_by_role("status").get_by_text(re.compile(r"Listening: .* of (29|30):\d\d min")).wait_for()
        most = 0
        while not page.locator("#player").is_visible():
            most = max(most, memory(page))
            page.wait_for_timeout(200)
        words = done(page)
    assert len(words) == pytest.approx(6 * repeats, rel=0.02)
    assert most - before < 300e6  # Decoded, it would be 58 MB at 8 kHz, and 345 MB as browsers decode it at once.


def memory(page: Any) -> int:
    """Returns the memory use of all browser processes in bytes."""
    children = psutil.Process().children(recursive=True)
    return sum(child.memory_info().rss for child in children if "chrom" in child.name())


def test_opens_offline(visit: Callable[..., Any], make_page: Any) -> None:
    with served(make_page(PRETRAINED / "an4-streaming")) as address:
        page = ready(visit(address))
    page.reload()  # The server is down.
    ready(page)
    page.get_by_role("button", name="five one two eight six three").click()
    assert done(page) == ["FIVE", "ONE", "TWO", "EIGHT", "SIX", "THREE"]


def test_the_documented_page_works(browser: Any, make_page: Any, tmp_path: Path) -> None:
    """The example of docs/onnx.md works unchanged."""
    folder = Path(shutil.copytree(make_page(PRETRAINED / "an4-streaming"), tmp_path / "page"))
    (program,) = re.findall(r"```html\n(.*?)```", (REPOSITORY / "docs" / "onnx.md").read_text(), re.DOTALL)
    (folder / "mine.html").write_text(program)
    with served(folder) as address:
        page = browser.new_page()
        page.set_default_timeout(1000 * PATIENCE)
        with page.expect_console_message(lambda message: message.type == "table"):
            page.goto(f"{address}mine.html")
            page.wait_for_function("document.querySelector('input').onchange !== null")
            page.locator("input").set_input_files(EXAMPLE)
        assert page.locator("p").inner_text() == "FIVE ONE TWO EIGHT SIX THREE"
        page.close()


def test_works_in_two_tabs(visit: Callable[..., Any], recognizer: str) -> None:
    pages = [ready(visit(recognizer)) for _ in range(2)]
    for page in pages:
        choose(page, EXAMPLE)
    assert done(pages[0]) == done(pages[1]) == ["FIVE", "ONE", "TWO", "EIGHT", "SIX", "THREE"]


def choose_float32(page: Any) -> None:
    page.get_by_text("About this page").click()
    page.get_by_label("Weights").select_option("float32")
    ready(page)


def test_loads_float32_weights_on_request(visit: Callable[..., Any], recognizer: str, requests: list[str]) -> None:
    page = ready(visit(recognizer))
    choose_float32(page)
    assert any(path.endswith("stream.onnx") for path in requests)
    choose(page, EXAMPLE)
    assert done(page) == ["FIVE", "ONE", "TWO", "EIGHT", "SIX", "THREE"]


def test_prefers_expected_words(visit: Callable[..., Any], recognizer: str) -> None:
    """They have the effect of Python's hot words, with and without the language model, and are stored."""
    model = load_model(PRETRAINED / "an4-streaming", "cpu")
    sounds = [
        SPACES / "transcribe" / "sentences" / "we went to the river in the morning and came home at night.flac",
        SPACES / "transcribe" / "examples" / "enter four five eight two one.flac",
    ]
    texts = []
    for sound, language_model in zip(sounds, (find_language_model(model), None), strict=True):
        options = BeamOptions.beside(language_model, hot_words=("FIRE", "enterfour"))
        (transcript,) = transcribe_files(model, [sound], decoder=beam_decoder(model, options), progress=False)
        texts.append(transcript.hypothesis.text.split())
    assert "FIRE" in texts[0]
    assert "ENTERFOUR" in texts[1]

    page = ready(visit(recognizer))
    choose_float32(page)
    choose(page, sounds[0])
    assert "FIRE" not in done(page)
    field = page.get_by_label("Expected words")
    field.fill("FIRE, enterfour")
    field.press("Enter")
    choose(page, sounds[0])
    page.locator("#words").get_by_text("FIRE").wait_for()
    assert done(page) == texts[0]
    page.screenshot(path=SCREENSHOTS / "static-hot-words.png", full_page=True, animations="disabled")
    assert_accessible(page)

    page.reload()
    ready(page)
    assert field.input_value() == "FIRE, enterfour"
    choose_float32(page)
    page.get_by_label("Use the language model").uncheck()
    ready(page)
    choose(page, sounds[1])
    assert done(page) == texts[1]
    field.fill("zürich")
    field.press("Enter")
    page.get_by_role("alert").get_by_text('The word "zürich" has letters that this model does not write').wait_for()


def test_classifies_on_a_phone_in_dark_mode(visit: Callable[..., Any], make_page: Any) -> None:
    examples = SPACES / "classify" / "examples"
    with served(make_page(PRETRAINED / "fsdd-digits")) as address:
        page = ready(visit(address, **PHONE))
        for name in ("two", "seven"):
            page.get_by_role("button", name=name, exact=True).tap()
            page.locator("#bars li").first.get_by_text(name, exact=True).wait_for()
        (expected,) = classify_files(str(PRETRAINED / "fsdd-digits"), [str(examples / "seven.flac")])
        share = page.locator("#bars .share").first.inner_text()
        assert float(share.removesuffix("%")) == pytest.approx(100 * expected["labels"][0]["score"], abs=2)
        rows = page.locator("#history tbody tr").all_inner_texts()
        assert [row.split()[:2] for row in rows] == [["seven", "seven"], ["two", "two"]]
        assert page.evaluate("document.documentElement.scrollWidth") <= 375
        page.screenshot(path=SCREENSHOTS / "static-classify-phone-dark.png", full_page=True, animations="disabled")
        assert_accessible(page)


def test_detects_keywords(visit: Callable[..., Any], make_page: Any, spotter: Path, tmp_path: Path) -> None:
    sound = np.concatenate([synthesize(2.0, seed) for seed in range(5)])
    soundfile.write(tmp_path / "stream.wav", sound, 8000, subtype="FLOAT")
    events = list(Detector(load_model(spotter, "cpu")).listen([sound]))
    with served(make_page(spotter)) as address:
        page = ready(visit(address))
        choose_float32(page)
        choose(page, tmp_path / "stream.wav")
        page.locator("#player").wait_for()
        rows = [row.split() for row in page.locator("#events p").all_inner_texts()]
        for row, event in zip(reversed(rows), events, strict=True):
            assert [row[0], row[2:4]] == [event.keyword, ["s", "score"]]
            assert [float(row[1]), float(row[4])] == pytest.approx([event.time, event.score], abs=0.06)
        page.screenshot(path=SCREENSHOTS / "static-listen.png", full_page=True, animations="disabled")
        page.locator("#events button").first.click()
        time = page.evaluate("document.querySelector('audio').currentTime")
        assert time == pytest.approx(events[-1].time - 1, abs=0.5)
        assert_accessible(page)


def test_reports_a_missing_microphone(visit: Callable[..., Any], recognizer: str) -> None:
    page = ready(visit(recognizer))
    page.get_by_role("button", name="Speak").click()
    page.get_by_role("alert").get_by_text(re.compile("microphone")).wait_for()
    assert page.get_by_role("button", name="Speak").is_enabled()
