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
    port: Annotated[
        int | None,
        typer.Option("--port", min=1, max=65_535, help="Port.", show_default="8000, or 10300 with --wyoming"),
    ] = None,
    processes: Annotated[int, typer.Option("--processes", min=1, max=256, help="Processes side by side.")] = 1,
    wyoming: Annotated[
        bool, typer.Option("--wyoming", help="Serve voice assistants, by the Wyoming protocol, instead.")
    ] = False,
    language: Annotated[str, typer.Option("--language", help="Language of the model, for voice assistants.")] = "en",
) -> None:
    """Serve a recognizer to other programs.

    It answers OpenAI's transcription API, and a websocket for live sound; with --wyoming, it serves Home Assistant
    instead. If the model's folder has a language model, it is used. The address has no password: put a proxy in front
    of it before you open it to others."""
    try:
        if wyoming:
            from hf_speech.serve_wyoming import run_wyoming
        from hf_speech.serve import run_server
    except ImportError as error:
        extra = "serve,wyoming" if wyoming else "serve"
        raise HFSpeechError(f"Serving needs more packages ({error}): pip install 'hf_speech[{extra}]'.") from error

    if wyoming and processes > 1:
        raise typer.BadParameter("--wyoming serves with one process: leave out --processes.")
    prepare_inference()
    echo(f"Loading {model}")
    if wyoming:
        run_wyoming(model, revision=revision, host=host, port=port or 10_300, language=language)
    else:
        run_server(model, revision=revision, host=host, port=port or 8000, processes=processes)
