"""`hf-speech serve`."""

from __future__ import annotations

from typing import Annotated

import typer

from hf_speech.cli.options import AnyModelArgument
from hf_speech.cli.process import prepare_inference
from hf_speech.common.console import echo
from hf_speech.errors import HFSpeechError


def serve(
    model: AnyModelArgument,
    revision: Annotated[str | None, typer.Option("--revision", help="Branch, tag or commit of a Hub model.")] = None,
    host: Annotated[str, typer.Option("--host", help="Address; 0.0.0.0 for other machines.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65_535, help="Port.")] = 8000,
    processes: Annotated[int, typer.Option("--processes", min=1, max=256, help="Processes side by side.")] = 1,
) -> None:
    """Serve a recognizer to programs: OpenAI's transcription API, and a websocket for live sound.

    If the model's folder has a language model, it is used. The address has no password: put a proxy in front of it
    before you open it to others."""
    try:
        from hf_speech.serve import run_server
    except ImportError as error:
        raise HFSpeechError(f"Serving needs fastapi and uvicorn ({error}): pip install 'hf_speech[serve]'.") from error

    prepare_inference()
    echo(f"Loading {model}")
    run_server(model, revision=revision, host=host, port=port, processes=processes)
