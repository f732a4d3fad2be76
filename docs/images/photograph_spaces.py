"""Takes the README's pictures of the Spaces: `python docs/images/photograph_spaces.py` (needs Chromium, playwright)."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from hf_speech.demo import spaces_dir, start_space
from hf_speech.inference import load_model
from hf_speech.publishing.web_page import build_page, served

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
WIDTH, HEIGHT = 1100, 1100
PATIENCE = 120_000  # milliseconds


def transcribe(page: Any) -> None:
    """A transcript while it is played."""
    page.get_by_role("button", name="five one two eight six three").click()
    page.locator("button.word").nth(2).click()
    page.wait_for_function("document.querySelectorAll('button.word')[3].classList.contains('now')")
    page.evaluate("document.querySelector('.answer audio').pause()")


def classify(page: Any) -> None:
    """The last of three answers, and the table of all."""
    for rows, word in enumerate(("zero", "two", "seven"), start=1):
        page.get_by_role("button", name=word, exact=True).click()
        page.locator(f"#history [role=grid][aria-rowcount='{rows + 1}']").wait_for()


def photograph(space: str, model: str, act: Any, scheme: str) -> None:
    """Start a Space, do something in it, and take the picture."""
    variables = {**os.environ, "MODEL_ID": str(REPOSITORY / "pretrained" / model), "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        running = start_space(spaces_dir() / space / "app.py", Path(scratch) / "log.txt", environment=variables)
        stack.callback(running.stop)
        running.wait()
        driver = stack.enter_context(sync_playwright())
        browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox", "--mute-audio"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=scheme)
        page.set_default_timeout(PATIENCE)
        page.goto(running.url)
        act(page)
        below = page.locator(".fine-print").first.bounding_box()["y"]
        clip = {"x": 0, "y": 0, "width": WIDTH, "height": below}
        page.mouse.move(0, 0)
        page.screenshot(path=HERE / f"{space}.png", clip=clip, animations="disabled")
        browser.close()


def photograph_static() -> None:
    """Take the picture of the page that runs a model in the browser."""
    with (
        tempfile.TemporaryDirectory() as scratch,
        served(
            build_page(load_model(REPOSITORY / "pretrained" / "an4-streaming", "cpu"), Path(scratch) / "page")
        ) as url,
        sync_playwright() as driver,
    ):
        browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox", "--mute-audio"])
        page = browser.new_page(viewport={"width": WIDTH, "height": 900})
        page.set_default_timeout(PATIENCE)
        page.goto(url)
        page.locator("body[data-state=ready]").wait_for()
        page.get_by_role("button", name="five one two eight six three").click()
        page.locator("#words button").nth(2).click()
        page.locator("#words button.now").wait_for()
        page.evaluate("document.querySelector('audio').pause()")
        page.screenshot(path=HERE / "static.png", animations="disabled")
        browser.close()


if __name__ == "__main__":
    photograph_static()
    photograph("transcribe", "an4", transcribe, "dark")
    photograph("classify", "fsdd-digits", classify, "light")
