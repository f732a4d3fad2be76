"""Tests of `hf-speech demo`."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest

from hf_speech import demo
from hf_speech.errors import HFSpeechError, ModelError
from hf_speech.tasks import get_task

REPOSITORY = Path(__file__).resolve().parent.parent
PATIENCE = 240.0

pytest.importorskip("gradio", reason="the demo needs gradio: pip install 'hf_speech[demo]'")


def test_the_space_fits_the_task(tones_run: Path) -> None:
    for model, space in ((tones_run, "classify"), (REPOSITORY / "pretrained" / "an4", "transcribe")):
        program, variables = demo.prepare_demo(str(model), environment={"MODEL_REVISION": "of another", "HOME": "/x"})
        assert program == REPOSITORY / "spaces" / space / "app.py"
        assert variables == {"MODEL_ID": str(model), "HOME": "/x"}


def test_resolves_relative_folders(tones_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tones_run.parent)
    assert demo.prepare_demo(tones_run.name, environment={})[1] == {"MODEL_ID": str(tones_run.resolve())}


def test_allows_longer_sounds_locally(tones_run: Path) -> None:
    _, variables = demo.prepare_demo(str(tones_run), environment={}, max_minutes=60)
    assert (variables["MAX_SECONDS"], variables["MAX_MEGABYTES"]) == ("3600", "720")


def test_pins_a_hub_model_to_the_inspected_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_model(name: str, device: str, revision: str | None) -> SimpleNamespace:
        assert (name, revision) == ("owner/name", "v1")
        return SimpleNamespace(task=get_task("audio-classification"), revision="0123456789" * 4)

    monkeypatch.setattr(demo, "load_model", load_model)
    _, variables = demo.prepare_demo("owner/name", revision="v1", environment={})
    assert variables == {"MODEL_ID": "owner/name", "MODEL_REVISION": "0123456789" * 4}


def test_one_sentence_error_for_invalid_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="nowhere"):
        demo.prepare_demo(str(tmp_path / "nowhere"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(HFSpeechError, match=r"needs gradio, which is not installed: pip install 'hf_speech\[demo\]'\."):
        demo.prepare_demo(str(tmp_path))


@pytest.mark.slow
def test_opens_the_browser_and_prints_the_address(tmp_path: Path) -> None:
    browser, opened = tmp_path / "browser", tmp_path / "opened"
    browser.write_text(f'#!/bin/sh\necho "$1" > "{opened}"\n')
    browser.chmod(browser.stat().st_mode | stat.S_IXUSR)
    log, model = tmp_path / "log", REPOSITORY / "pretrained" / "fsdd-digits"
    variables = {**os.environ, "BROWSER": str(browser), "TMPDIR": str(tmp_path)}
    with log.open("wb") as output:
        command = [sys.executable, "-m", "hf_speech.cli.app", "demo", str(model)]
        program = subprocess.Popen(command, env=variables, stdout=output, stderr=subprocess.STDOUT)
    try:
        end = time.monotonic() + PATIENCE
        while not opened.is_file() or not opened.read_text():
            assert program.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.2)
        address = re.search(r"http://127\.0\.0\.1:\d+", log.read_text())
        assert address
        assert opened.read_text().strip().rstrip("/") == address[0]
        page = json.load(urllib.request.urlopen(f"{address[0]}/config", timeout=PATIENCE))
        assert page["title"] == "fsdd-digits"
        assert list(tmp_path.glob("hf-speech-demo-*"))
    finally:
        program.send_signal(signal.SIGTERM)
        program.wait(60)
    assert not list(tmp_path.glob("hf-speech-demo-*"))  # no state is kept
    assert "Traceback" not in log.read_text()
