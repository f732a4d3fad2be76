"""`hf-speech demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hf_speech.cli.options import ModelArgument
from hf_speech.cli.process import prepare_inference
from hf_speech.common.console import echo


def demo(
    model: ModelArgument,
    revision: Annotated[str | None, typer.Option("--revision", help="Branch, tag or commit of a Hub model.")] = None,
    port: Annotated[
        int | None, typer.Option("--port", help="Port.", show_default="the first free one from 7860")
    ] = None,
    browser: Annotated[bool, typer.Option("--browser/--no_browser", help="Open the browser.")] = True,
    static: Annotated[
        bool, typer.Option("--static", help="Run the model in the browser, like a static Space.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", help="New folder for the files of the static page.")
    ] = None,
    max_minutes: Annotated[
        float | None,
        typer.Option("--max_minutes", min=0.1, max=600, help="Longest recording.", show_default="5, as on the Hub"),
    ] = None,
    mcp: Annotated[bool, typer.Option("--mcp", help="Also serve the model to agents as an MCP server.")] = False,
) -> None:
    """Try a model in the browser: upload, record, or speak live.

    This runs the code in the model's folder.
    """
    from hf_speech.demo import run_demo, run_static_demo

    prepare_inference()
    echo(f"Loading {model}")
    if output is not None and not static:
        raise typer.BadParameter("--output requires --static.")
    if static:
        run_static_demo(model, revision=revision, port=port, browser=browser, output=output)
    else:
        run_demo(model, revision=revision, port=port, browser=browser, mcp=mcp, max_minutes=max_minutes)
