"""How soon is the static page of a model ready, and how long after a word does its text appear?

A headless Chromium opens the page from a server on this machine with an empty cache, several times. Then its microphone
hears a file, and the page is watched. The delay of a word is from its end in the sound until it is on the page, and
until it and the words before it are there for good (a language model may change them when it knows the next ones),
without the model's own latency. CPU seconds are those of all processes of the browser. Also printed is whether
this browser has WebGPU, of which the page makes no use.

    python benchmarks/static_page.py [--model DIR] [--rounds 5]
"""

from __future__ import annotations

import argparse
import base64
import io
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import soundfile
from playwright.sync_api import Browser, sync_playwright

from hf_speech.inference import load_model, transcribe_files
from hf_speech.publishing.static_space import find_chromium
from hf_speech.publishing.web_page import build_page, served

REPOSITORY = Path(__file__).resolve().parent.parent
EXAMPLES = REPOSITORY / "spaces" / "transcribe" / "examples"
READY = "body[data-state=ready]"
# Notes what is on the page, and how much sound the page has had, whenever either changes.
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
RECORDED = """async () => {
    const content = await (await fetch(document.querySelector("audio").src)).arrayBuffer();
    return btoa(Array.from(new Uint8Array(content), (byte) => String.fromCharCode(byte)).join(""));
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=str(REPOSITORY / "pretrained" / "an4-streaming"), help="A causal model.")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    loaded = load_model(options.model, "cpu")
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as driver:
        folder = build_page(loaded, Path(temporary) / "page")
        sound = Path(temporary) / "microphone.wav"
        pause = np.zeros(loaded.sampling_rate, dtype=np.float32)
        clips = [soundfile.read(path, dtype="float32")[0] for path in sorted(EXAMPLES.iterdir())]
        soundfile.write(sound, np.concatenate([part for clip in clips for part in (pause, clip)] + [pause]), 16_000)
        flags = ["--no-sandbox", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
        flags.append(f"--use-file-for-fake-audio-capture={sound}%noloop")
        browser = driver.chromium.launch(executable_path=find_chromium(), args=flags)
        with served(folder) as address:
            opened = [open_page(browser, address) for _ in range(options.rounds)]
            first, last, cpu, has_gpu = listen(browser, address, loaded)
        browser.close()
    wall, seconds, megabytes = (statistics.median(values) for values in zip(*opened, strict=True))
    print("| | |\n|---|---|")
    print(f"| page ready, empty cache, median of {options.rounds} | {wall:.2f} s ({seconds:.2f} s of CPU) |")
    print(f"| transfer | {megabytes:.1f} MB |")
    print(f"| a word on the page after its end and the latency, median of {len(first)} | {delays_text(first)} |")
    print(f"| the same, with all words before it, for good | {delays_text(last)} |")
    print(f"| CPU while listening, a second of sound | {cpu:.3f} s |")
    print(f"| WebGPU in this browser | {'yes' if has_gpu else 'no'} |")


def delays_text(delays: list[float]) -> str:
    """The median and the longest of some delays."""
    return f"{1000 * statistics.median(delays):.0f} ms (at most {1000 * max(delays):.0f} ms)"


def open_page(browser: Browser, address: str) -> tuple[float, float, float]:
    """Seconds until the page is ready, seconds of CPU, and megabytes that were sent."""
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


def listen(browser: Browser, address: str, loaded: Any) -> tuple[list[float], list[float], float, bool]:
    """The delays of words in seconds, first and for good; CPU for a second of sound; whether there is WebGPU."""
    page = browser.new_context(bypass_csp=True).new_page()
    page.goto(address)
    page.locator(READY).wait_for(timeout=300_000)
    has_gpu = bool(page.evaluate("async () => Boolean(await navigator.gpu?.requestAdapter())"))
    page.evaluate(WATCH)
    before = cpu_seconds()
    page.get_by_role("button", name="Speak").click()
    page.wait_for_timeout(1000 * (sum(len(soundfile.read(path)[0]) / 16_000 + 1 for path in EXAMPLES.iterdir()) + 2))
    page.get_by_role("button", name="Stop").click()
    page.locator("#player").wait_for(timeout=300_000)
    used = cpu_seconds() - before
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(page.evaluate(RECORDED))), dtype="float32")
    latency = float(page.evaluate("async () => (await (await fetch('model/export.json')).json()).latency"))
    seen = page.evaluate("window.seen")
    final = seen[-1][2]
    start = min(now - heard for now, heard, _ in seen if heard > 0)  # When the sound began, by the page's clock.
    (transcript,) = transcribe_files(loaded, [{"array": samples, "sampling_rate": rate}], progress=False)
    ends = {word.text: word.end for word in reversed(transcript.hypothesis.words)}
    first, last = [], []
    for index, word in enumerate(final):
        if word in ends and final.index(word) == index:
            due = start + ends[word] + latency
            first.append(max(0.0, next(now for now, _, words in seen if words[index : index + 1] == [word]) - due))
            changed = [number for number, (*_, words) in enumerate(seen) if words[: index + 1] != final[: index + 1]]
            last.append(max(0.0, seen[changed[-1] + 1][0] - due))
    return first, last, used / (len(samples) / rate), has_gpu


def cpu_seconds() -> float:
    """What all processes of the browser have used so far."""
    times = [child.cpu_times() for child in psutil.Process().children(recursive=True) if "chrom" in child.name()]
    return sum(each.user + each.system for each in times)


if __name__ == "__main__":
    main()
