"""Fixtures that start Spaces as programs, for a browser or gradio_client.

`space_module` imports a module of a Space with the folders of the Space and of the common files first on the path, and
restores the modules afterwards.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from exported_models import make_extractor, spotter  # noqa: F401

from hf_speech import demo
from hf_speech.publishing.static_space import find_chromium

REPOSITORY = Path(__file__).resolve().parents[2]
SPACES = REPOSITORY / "spaces"
PRETRAINED = REPOSITORY / "pretrained"
# Shown if a test fails, and kept by CI.
SCREENSHOTS = REPOSITORY / "build" / "screenshots"
# Generous for busy machines; these tests do not measure speed.
PATIENCE = 120.0


@pytest.fixture
def space_module() -> Iterator[Callable[[str, str], Any]]:
    """The function `(space, module)` that imports a module of a Space or of `spaces/common`."""
    before, path, environment = set(sys.modules), list(sys.path), dict(os.environ)

    def load(space: str, module: str) -> Any:
        for folder in (str(SPACES / "common"), str(SPACES / space)):
            if folder not in sys.path:
                sys.path.insert(0, folder)
        return importlib.import_module(module)

    yield load
    sys.path[:] = path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(SPACES)):
            del sys.modules[name]
    os.environ.clear()
    os.environ.update(environment)


@dataclass
class RunningSpace(demo.RunningSpace):
    """A running Space.

    Attributes:
        uploads: The folder of its uploads.
    """

    uploads: Path


def launch(
    folder: Path, model: Path | None, scratch: Path, *arguments: str, python: str = sys.executable, **environment: str
) -> RunningSpace:
    """Starts a Space without waiting for it; its uploads and its output are in `scratch`."""
    scratch.mkdir(parents=True, exist_ok=True)
    variables = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("GRADIO_", "MODEL_"))},
        "GRADIO_TEMP_DIR": str(scratch / "uploads"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        **({} if model is None else {"MODEL_ID": str(model)}),
        **environment,
    }
    started = demo.start_space(folder / "app.py", scratch / "log.txt", *arguments, environment=variables, python=python)
    return RunningSpace(started.url, started.process, started.log, scratch / "uploads")


@pytest.fixture(scope="session")
def start_space(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., RunningSpace]]:
    """The function `(space, model, *arguments, **environment)` that serves a Space until the tests end."""
    pytest.importorskip("gradio", reason="the Spaces need gradio: pip install 'hf_speech[demo]'")
    started: list[RunningSpace] = []

    def start(space: str, model: Path | None, *arguments: str, **environment: str) -> RunningSpace:
        scratch = tmp_path_factory.mktemp(space)
        started.append(launch(SPACES / space, model, scratch, *arguments, **environment))
        started[-1].wait(4 * PATIENCE)
        return started[-1]

    yield start
    for space in started:
        space.stop()


@pytest.fixture(scope="session")
def transcribing(start_space: Callable[..., RunningSpace]) -> RunningSpace:
    """The Space `transcribe` with a bidirectional recognizer that has a language model, and small limits."""
    return start_space("transcribe", PRETRAINED / "an4", "--mcp", MAX_MEGABYTES="3", GRADIO_HEARTBEAT_INTERVAL="1")


@pytest.fixture(scope="session")
def listening(start_space: Callable[..., RunningSpace], beeps_run: Path) -> RunningSpace:
    """The Space `transcribe` with a causal recognizer that transcribes tones as letters."""
    return start_space("transcribe", beeps_run)


@pytest.fixture(scope="session")
def classifying(start_space: Callable[..., RunningSpace]) -> RunningSpace:
    """The Space `classify` with the digits of the Free Spoken Digit Dataset; uploads are kept for a few seconds."""
    return start_space("classify", PRETRAINED / "fsdd-digits", KEEP_SECONDS="5", GRADIO_HEARTBEAT_INTERVAL="1")


@pytest.fixture(scope="session")
def transcripts() -> dict[str, dict[str, str]]:
    """Transcripts of the examples by hf_speech: file name, "best path" or "language model", text."""
    from hf_speech import load_model
    from hf_speech.inference import BeamOptions, beam_decoder, transcribe_files

    loaded = load_model(PRETRAINED / "an4", "cpu")
    files = sorted((SPACES / "transcribe" / "examples").iterdir())
    options = BeamOptions.beside(PRETRAINED / "an4" / "language_model.arpa")
    decoders: dict[str, Any] = {"best path": None, "language model": beam_decoder(loaded, options)}
    said: dict[str, dict[str, str]] = {file.name: {} for file in files}
    for name, decoder in decoders.items():
        for file, transcript in zip(
            files, transcribe_files(loaded, files, decoder=decoder, progress=False), strict=True
        ):
            said[file.name][name] = transcript.hypothesis.text
    return said


@pytest.fixture(scope="session")
def open_browser() -> Iterator[Callable[..., Any]]:
    """The function `(*arguments)` that starts a headless Chromium; skips the test if there is none."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="the browser is driven by playwright, which is missing"
    )
    executable = find_chromium()
    if executable is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium (make test does, where it may)")
    with playwright.sync_playwright() as driver:
        opened: list[Any] = []

        def start(*arguments: str) -> Any:
            flags = ["--no-sandbox", "--mute-audio", "--autoplay-policy=no-user-gesture-required", *arguments]
            opened.append(driver.chromium.launch(executable_path=executable, args=flags))
            return opened[-1]

        yield start
        for browser in opened:
            browser.close()


def speak_into(path: Path) -> tuple[str, ...]:
    """Returns the flags of a Chromium whose microphone plays a WAV file once when a page opens it."""
    return (
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={path}%noloop",
    )


@pytest.fixture(scope="session")
def browser(open_browser: Callable[..., Any]) -> Any:
    """A headless Chromium, shared by all tests."""
    return open_browser()


@pytest.fixture
def visit(browser: Any, request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """The function `(url, **context options)` that opens a page in a separate session.

    Errors on the page's console, requests to other machines, and tracebacks fail the test.
    """
    contexts, complaints = [], []
    name = re.sub(r"\W+", "-", request.node.name)[:60].strip("-")

    def open_page(url: str, *, using: Any = None, **options: Any) -> Any:
        context = (using or browser).new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        context.set_default_timeout(1000 * PATIENCE)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(f"uncaught: {error}"))
        page.on("request", lambda sent: complaints.append(f"asked {sent.url[:80]}") if _leaves(sent.url) else None)
        page.goto(url)
        page.get_by_role("heading", level=1).wait_for()
        return page

    yield open_page
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    for number, context in enumerate(contexts):
        for page in context.pages:
            assert "Traceback" not in page.content()
            if not page.is_closed():
                page.screenshot(path=SCREENSHOTS / f"{name}-{number}.png", full_page=True, animations="disabled")
        context.close()
    assert not complaints, complaints


def _leaves(url: str) -> bool:
    return not url.startswith(("http://127.0.0.1", "data:", "blob:"))
