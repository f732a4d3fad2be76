"""A model in the browser: picks the Space that fits its task, and runs it as it would run on the Hub.

The Spaces lie in `spaces/`, know nothing of this package and load the model by themselves, with the code that travels
with it. So what is tried here is what is published. A model of the Hub is pinned to the commit that was looked at.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from hf_speech.errors import HFSpeechError
from hf_speech.inference import load_model


def spaces_dir() -> Path:
    """The folder of the Spaces that come with the package: in a checkout, or inside the installed package."""
    installed = Path(__file__).resolve().parent / "spaces"
    return installed if installed.is_dir() else Path(__file__).resolve().parents[2] / "spaces"


def prepare_demo(
    model: str, *, revision: str | None = None, environment: Mapping[str, str] = os.environ
) -> tuple[Path, dict[str, str]]:
    """Finds the program that shows a model, and the environment that tells it which.

    Args:
        model: A model folder or a Hub id.
        revision: Branch, tag or commit of a Hub model.
        environment: What the program is to inherit.

    Returns:
        The `app.py` of the Space, and the variables to run it with.

    Raises:
        HFSpeechError: If there is no such model, or gradio is not installed.
    """
    if importlib.util.find_spec("gradio") is None:
        raise HFSpeechError("The demo needs gradio, which is not installed: pip install 'hf_speech[demo]'.")
    loaded = load_model(model, device="cpu", revision=revision)
    folder = Path(model).expanduser()
    variables = {**environment, "MODEL_ID": str(folder.resolve()) if folder.is_dir() else model}
    variables.pop("MODEL_REVISION", None)
    if not folder.is_dir():
        variables["MODEL_REVISION"] = loaded.revision
    return spaces_dir() / loaded.task.space / "app.py", variables


def run_demo(
    model: str, *, revision: str | None = None, port: int | None = None, browser: bool = True, mcp: bool = False
) -> NoReturn:
    """Shows a model in the browser until it is stopped; this process becomes the Space's.

    Args:
        model: A model folder or a Hub id.
        revision: Branch, tag or commit of a Hub model.
        port: Where to serve; the first free port from 7860 if not given.
        browser: Whether to open the browser.
        mcp: Whether to serve the end points as tools of an MCP server, too.

    Raises:
        HFSpeechError: As `prepare_demo`.
    """
    program, variables = prepare_demo(model, revision=revision)
    command = [sys.executable, "-u", str(program)]  # The address must not wait in a buffer.
    command += ["--open"] if browser else []
    command += ["--mcp"] if mcp else []
    command += ["--port", str(port)] if port is not None else []
    sys.stdout.flush()
    os.execve(sys.executable, command, variables)


__all__ = ["prepare_demo", "run_demo", "spaces_dir"]
