"""A model in the browser: choose the Space that fits its task, and run it as it would run on the Hub.

The Spaces in `spaces/` load the model by themselves, with the code that comes with it, so that what is tried here is
what is published. A model on the Hub is pinned to the commit that was loaded here.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import webbrowser
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from hf_speech.errors import HFSpeechError
from hf_speech.inference import load_model
from hf_speech.publishing.assembly import spaces_dir
from hf_speech.publishing.web_page import build_page, corpus_title, describe_sizes, served

# Opened without a proxy, as the Spaces open themselves.
_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


def prepare_demo(
    model: str,
    *,
    revision: str | None = None,
    environment: Mapping[str, str] = os.environ,
    max_minutes: float | None = None,
) -> tuple[Path, dict[str, str]]:
    """Find the program that shows a model, and the environment that tells it which.

    Args:
        model: A model folder or a Hub id.
        revision: Branch, tag or commit of a Hub model.
        environment: What the program is to inherit.
        max_minutes: The longest sound; 5 minutes, as on the Hub, if not given.

    Returns:
        The `app.py` of the Space, and the variables to run it with.

    Raises:
        HFSpeechError: If there is no such model, or gradio is not installed.
    """
    if importlib.util.find_spec("gradio") is None:
        raise HFSpeechError("The demo needs gradio, which is not installed: pip install 'hf_speech[demo]'.")
    loaded = load_model(model, device="cpu", revision=revision)
    if not loaded.task.space:
        raise HFSpeechError(f"There is no demo for {loaded.task.name}: run hf-speech {loaded.task.verb} {model}.")
    folder = Path(model).expanduser()
    variables = {**environment, "MODEL_ID": str(folder.resolve()) if folder.is_dir() else model}
    variables.pop("MODEL_REVISION", None)
    if not folder.is_dir():
        variables["MODEL_REVISION"] = loaded.revision
    if max_minutes is not None:
        variables |= {"MAX_SECONDS": f"{60 * max_minutes:g}", "MAX_MEGABYTES": f"{max(30, 12 * max_minutes):g}"}
    return spaces_dir() / loaded.task.space / "app.py", variables


def run_demo(
    model: str,
    *,
    revision: str | None = None,
    port: int | None = None,
    browser: bool = True,
    mcp: bool = False,
    max_minutes: float | None = None,
) -> NoReturn:
    """Show a model in the browser until it is stopped; this process becomes the Space's.

    Args:
        model: A model folder or a Hub id.
        revision: Branch, tag or commit of a Hub model.
        port: Where to serve; the first free port from 7860 if not given.
        browser: Whether to open the browser.
        mcp: Whether to serve the end points as tools of an MCP server as well.
        max_minutes: As for `prepare_demo`.
    """
    program, variables = prepare_demo(model, revision=revision, max_minutes=max_minutes)
    corpus = corpus_title(Path(variables["MODEL_ID"]) / "recipe.yaml")
    if corpus is not None:
        variables.setdefault("CORPUS", corpus)
    command = [sys.executable, "-u", str(program)]  # The address must not wait in a buffer.
    command += ["--open"] if browser else []
    command += ["--mcp"] if mcp else []
    command += ["--port", str(port)] if port is not None else []
    sys.stdout.flush()
    os.execve(sys.executable, command, variables)


def run_static_demo(
    model: str,
    *,
    revision: str | None = None,
    port: int | None = None,
    browser: bool = True,
    output: Path | None = None,
) -> None:
    """Show a model in a page that runs it in the browser, as a static Space does, until it is stopped.

    Args:
        model: A model folder or a Hub id.
        revision: Branch, tag or commit of a Hub model.
        port: Where to serve; a free port if not given.
        browser: Whether to open the browser.
        output: A new folder in which to keep the files of the page.

    Raises:
        HFSpeechError: If there is no such model, it cannot be exported, the folder exists, or the port is taken.
    """
    if output is not None and output.exists():
        raise HFSpeechError(f"{output} exists: give a new folder.")
    loaded = load_model(model, device="cpu", revision=revision)
    with tempfile.TemporaryDirectory(prefix="hf-speech-demo-") as temporary:
        folder = build_page(loaded, output or Path(temporary) / "page")
        print(describe_sizes(folder))
        try:
            with served(folder, port or 0) as address:
                print(f"Serving {address} (Ctrl+C stops it)", flush=True)
                if browser:
                    webbrowser.open(address)
                threading.Event().wait()
        except OSError as error:
            raise HFSpeechError(f"Port {port} cannot be used ({error.strerror}): take another one.") from error
        except KeyboardInterrupt:
            pass


@dataclass
class RunningSpace:
    """A Space in a process of its own.

    Attributes:
        url: Its address.
        process: The process.
        log: The file with its output.
    """

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def wait(self, seconds: float = 300.0) -> RunningSpace:
        """Wait until it answers.

        Raises:
            HFSpeechError: If it ends or the time is over; with the end of its output.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(OSError), _open(f"{self.url}/gradio_api/info", timeout=seconds):
                return self
            time.sleep(0.1)
        self.stop()
        output = self.log.read_text(encoding="utf-8", errors="replace")[-3000:]
        raise HFSpeechError(f"The Space did not start; its last output was: {output}")

    def stop(self) -> None:
        """Stop it as a service is stopped."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start_space(
    program: Path, log: Path, *arguments: str, environment: Mapping[str, str], python: str = sys.executable
) -> RunningSpace:
    """Start a Space in a process of its own, at a free port, without waiting for it.

    Args:
        program: Its `app.py`.
        log: The file for its output.
        *arguments: Further arguments of the program.
        environment: Its whole environment.
        python: The interpreter.
    """
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [python, "-u", str(program), "--port", str(port), *arguments],
            env=dict(environment),
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=log.parent,
        )
    return RunningSpace(f"http://127.0.0.1:{port}", process, log)
