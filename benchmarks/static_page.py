"""Measures how soon the static page of a model is ready, and how soon words appear on it.

A headless Chromium opens the page several times from a local server with an empty cache. Then the page's examples are
played into its microphone. The delays of words are those defined in docs/publishing.md, and include computation. CPU
seconds are those of all browser processes. The computation alone, of the model and the search, is timed separately.
Also prints whether the browser has WebGPU, which the page does not use.

    python benchmarks/static_page.py [MODEL ...] [--rounds 5]
"""

from __future__ import annotations

import argparse
import base64
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import soundfile
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from hf_speech.inference import load_model
from hf_speech.publishing.static_space import find_chromium
from hf_speech.publishing.web_page import build_page, served

REPOSITORY = Path(__file__).resolve().parent.parent
MODELS = [str(REPOSITORY / "pretrained" / name) for name in ("an4-streaming", "english-streaming")]
READY = "body[data-state=ready]"
# Records the words on the page and the duration of the audio so far, whenever either changes.
WATCH = """() => {
    window.seen = [];
    const note = () => {
        const words = Array.from(document.querySelectorAll("#words button"), (word) => word.textContent);
        window.seen.push([performance.now() / 1000, parseFloat(document.querySelector("#clock").textContent), words]);
    };
    for (const id of ["words", "clock"]) {
        new MutationObserver(note).observe(document.getElementById(id), { childList: true, subtree: true });
    }
}"""
# Transcribes twice in pieces of 0.1 s, as a recording, and returns the seconds of the second time.
COMPUTE = """async ([encoded, piece]) => {
    const { Recognizer } = await import("./hf-speech/index.js");
    const recognizer = await Recognizer.load(new URL("model/", location.href), { precision: "packed" });
    const content = Uint8Array.from(atob(encoded), (character) => character.charCodeAt(0));
    const samples = new Float32Array(content.buffer);
    let seconds;
    for (let round = 0; round < 2; round++) {
        const stream = recognizer.stream();
        const started = performance.now();
        for (let at = 0; at < samples.length; at += piece) await stream.accept(samples.subarray(at, at + piece));
        await stream.finish();
        seconds = (performance.now() - started) / 1000;
    }
    return seconds;
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=MODELS, help="Causal models.")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    columns = [measure(model, options.rounds) for model in options.models]
    print(f"| | {' | '.join(Path(model).name for model in options.models)} |\n|---{'|---' * len(columns)}|")
    for name in columns[0]:
        print(f"| {name} | {' | '.join(column[name] for column in columns)} |")


def measure(model: str, rounds: int) -> dict[str, str]:
    """Opens the page of a model and listens with it; returns the values by name."""
    loaded = load_model(model, "cpu")
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as driver:
        folder = build_page(loaded, Path(temporary) / "page")
        sound = Path(temporary) / "microphone.wav"
        pause = np.zeros(loaded.sampling_rate, dtype=np.float32)
        clips = [soundfile.read(path, dtype="float32")[0] for path in sorted((folder / "examples").iterdir())]
        soundfile.write(sound, np.concatenate([part for clip in clips for part in (pause, clip)] + [pause]), 16_000)
        flags = ["--no-sandbox", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
        flags.append(f"--use-file-for-fake-audio-capture={sound}%noloop")
        browser = driver.chromium.launch(executable_path=find_chromium(), args=flags)
        with served(folder) as address:
            opened = [open_page(browser, address) for _ in range(rounds)]
            delays, cpu, has_gpu = listen(browser, address, soundfile.info(sound).duration)
            factor = compute(browser, address, np.concatenate(clips), loaded.sampling_rate)
        browser.close()
    wall, seconds, megabytes = (statistics.median(values) for values in zip(*opened, strict=True))
    return {
        f"page ready, empty cache, median of {rounds}": f"{wall:.2f} s ({seconds:.2f} s of CPU)",
        "transfer, with the language model": f"{megabytes:.1f} MB",
        **{
            f"delay of a word until {until}, median": f"{1000 * statistics.median(values):.0f} ms "
            f"(at most {1000 * max(values):.0f} ms in {len(values)} words)"
            for until, values in delays.items()
        },
        "computation per second of audio, in pieces of 0.1 s": f"{factor:.3f} s",
        "CPU of the whole browser per second of audio": f"{cpu:.3f} s",
        "WebGPU in this browser": "yes" if has_gpu else "no",
    }


def open_page(browser: Browser, address: str) -> tuple[float, float, float]:
    """Returns the seconds until the page is ready, CPU seconds, and megabytes transferred."""
    context = browser.new_context()
    page = context.new_page()
    sizes: list[int] = []
    page.on("response", lambda response: sizes.append(int(response.headers.get("content-length", 0))))
    before, started = cpu_seconds(), time.perf_counter()
    page.goto(address)
    page.locator(READY).wait_for(timeout=300_000)
    wall = time.perf_counter() - started
    used = cpu_seconds() - before
    context.close()
    return wall, used, sum(sizes) / 1e6


def ready_page(context: BrowserContext, address: str) -> Page:
    """Opens the page and waits until it is ready."""
    page = context.new_page()
    page.goto(address)
    page.locator(READY).wait_for(timeout=300_000)
    return page


def listen(browser: Browser, address: str, duration: float) -> tuple[dict[str, list[float]], float, bool]:
    """Returns the delays of words in seconds, CPU seconds per second of audio, and whether WebGPU exists."""
    page = ready_page(browser.new_context(bypass_csp=True), address)
    has_gpu = bool(page.evaluate("async () => Boolean(await navigator.gpu?.requestAdapter())"))
    page.evaluate(WATCH)
    before = cpu_seconds()
    page.get_by_role("button", name="Speak").click()
    page.wait_for_timeout(1000 * (duration + 1))
    page.get_by_role("button", name="Stop").click()
    page.locator("#player").wait_for(timeout=300_000)
    used = cpu_seconds() - before
    seconds = float(page.evaluate("document.querySelector('audio').duration"))
    latency = float(page.evaluate("async () => (await (await fetch('model/export.json')).json()).latency"))
    seen = page.evaluate("window.seen")
    with page.expect_download() as download:
        page.get_by_role("button", name="json", exact=True).click()
    final = json.loads(Path(download.value.path()).read_text(encoding="utf-8"))["words"]
    text = [word["text"] for word in final]
    start = min(now - played for now, played, _ in seen if played > 0)  # Start of the audio by the page's clock.
    delays: dict[str, list[float]] = {"there is one": [], "it is right": [], "it is final": []}
    for index, word in enumerate(final):
        end = index + 1
        times = (
            next(now for now, _, words in seen if len(words) >= end),
            next(now for now, _, words in seen if words[index:end] == text[index:end]),
            seen[1 + max(number for number, (*_, words) in enumerate(seen) if words[:end] != text[:end])][0],
        )
        for values, now in zip(delays.values(), times, strict=True):
            values.append(max(0.0, now - start - word["end"] - latency))
    return delays, used / seconds, has_gpu


def compute(browser: Browser, address: str, samples: np.ndarray, rate: int) -> float:
    """Returns the seconds of computation per second of audio."""
    page = ready_page(browser.new_context(), address)
    encoded = base64.b64encode(samples.astype("<f4").tobytes()).decode()
    return float(page.evaluate(COMPUTE, [encoded, rate // 10])) / (len(samples) / rate)


def cpu_seconds() -> float:
    """Returns the CPU seconds used so far by all processes of the browser."""
    times = [child.cpu_times() for child in psutil.Process().children(recursive=True) if "chrom" in child.name()]
    return sum(each.user + each.system for each in times)


if __name__ == "__main__":
    main()
