"""Runs the Space for a model's task on this machine, as it would run on the Hub.

The Spaces in `spaces/` load the model themselves, with its remote code, so that the demo shows what would be published.
A model on the Hub is pinned to the commit that was loaded.
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

# Ignores proxies, because the Spaces run on this machine.
_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


def prepare_demo(
    model: str,
    *,
    revision: str | None = None,
    environment: Mapping[str, str] = os.environ,
    max_minutes: float | None = None,
) -> tuple[Path, dict[str, str]]:
    """Finds the program of the Space for a model, and the environment variables that select the model.

    Args:
        model: A model folder or a Hub id.
        revision: Branch, tag or commit of a Hub model.
        environment: The environment that the program inherits.
        max_minutes: The longest recording in minutes; by default 5, as on the Hub.

    Returns:
        The `app.py` of the Space, and its environment.

    Raises:
        HFSpeechError: If the model does not exist or has no demo, or gradio is not installed.
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
    """Replaces this process by the Space for a model.

    Args:
        model: A model folder or a Hub id.
        revision: Branch, tag or commit of a Hub model.
        port: The port; by default the first free one from 7860.
        browser: Whether to open the browser.
        mcp: Whether to serve the end points as tools of an MCP server as well.
        max_minutes: See `prepare_demo`.
    """
    program, variables = prepare_demo(model, revision=revision, max_minutes=max_minutes)
    corpus = corpus_title(Path(variables["MODEL_ID"]) / "recipe.yaml")
    if corpus is not None:
        variables.setdefault("CORPUS", corpus)
    command = [sys.executable, "-u", str(program)]  # Unbuffered, so that the address is printed at once.
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
    """Serves the page of a static Space, which runs a model in the browser, until the process is interrupted.

    Args:
        model: A model folder or a Hub id.
        revision: Branch, tag or commit of a Hub model.
        port: The port; by default a free one.
        browser: Whether to open the browser.
        output: A new folder for the files of the page, which are temporary by default.

    Raises:
        HFSpeechError: If the model does not exist or cannot be exported, the folder exists, or the port is taken.
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
            raise HFSpeechError(f"Port {port} cannot be used ({error.strerror}): choose another one.") from error
        except KeyboardInterrupt:
            pass


@dataclass
class RunningSpace:
    """A Space that runs in another process.

    Attributes:
        url: The address of the Space.
        process: The process.
        log: The file with the output of the process.
    """

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def wait(self, seconds: float = 300.0) -> RunningSpace:
        """Waits until the Space answers.

        Raises:
            HFSpeechError: If the process ends or the time is over; the message contains the end of the output.
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
        """Stops the process with SIGTERM, or SIGKILL after 30 seconds."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start_space(
    program: Path, log: Path, *arguments: str, environment: Mapping[str, str], python: str = sys.executable
) -> RunningSpace:
    """Starts a Space in another process, at a free port, without waiting for it.

    Args:
        program: The `app.py` of the Space.
        log: The file for the output of the process.
        *arguments: Further arguments of the program.
        environment: The complete environment of the process.
        python: The Python interpreter.
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
