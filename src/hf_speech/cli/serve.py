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
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; 0.0.0.0 accepts other machines.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option("--port", min=1, max=65_535, help="Port.", show_default="8000, or 10300 with --wyoming"),
    ] = None,
    processes: Annotated[int, typer.Option("--processes", min=1, max=256, help="Number of server processes.")] = 1,
    wyoming: Annotated[
        bool, typer.Option("--wyoming", help="Serve voice assistants over the Wyoming protocol instead.")
    ] = False,
    language: Annotated[str, typer.Option("--language", help="Language of the model, for voice assistants.")] = "en",
) -> None:
    """Serve a recognizer to other programs.

    Offers OpenAI's transcription API and a websocket for live audio or, with --wyoming, the protocol of Home Assistant.
    A language model in the model's folder is used. The server has no authentication: put a proxy in front of it before
    you expose it to others."""
    try:
        if wyoming:
            from hf_speech.serve_wyoming import run_wyoming
        from hf_speech.serve import run_server
    except ImportError as error:
        extra = "serve,wyoming" if wyoming else "serve"
        raise HFSpeechError(f"A package is missing ({error}): pip install 'hf_speech[{extra}]'.") from error

    if wyoming and processes > 1:
        raise typer.BadParameter("--wyoming runs in one process: omit --processes.")
    prepare_inference()
    echo(f"Loading {model}")
    if wyoming:
        run_wyoming(model, revision=revision, host=host, port=port or 10_300, language=language)
    else:
        run_server(model, revision=revision, host=host, port=port or 8000, processes=processes)
