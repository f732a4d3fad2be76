"""`hf-speech classify`."""

from __future__ import annotations

import json
from typing import Annotated, Literal

import typer

from hf_speech.cli.options import AnyModelArgument, FilesArgument
from hf_speech.cli.process import prepare_inference
from hf_speech.common.console import echo
from hf_speech.common.text import one_line


def classify(
    model: AnyModelArgument,
    files: FilesArgument,
    top_k: Annotated[int, typer.Option("--top_k", min=1, help="Labels to print for each file.")] = 3,
    output_format: Annotated[
        Literal["text", "json"], typer.Option("--format", help="Output format, one file per line.")
    ] = "text",
) -> None:
    """Print the most likely labels of sound files."""
    from hf_speech.inference import classify_files, open_model

    prepare_inference()
    opened = open_model(model, verb="classify")
    failures = 0
    for result in classify_files(opened, files, top_k=top_k):
        if output_format == "json":
            echo(json.dumps(result, ensure_ascii=False))
        elif "error" not in result:
            echo(f"{one_line(result['file'])}: {opened.task.format_answer(result)}")
        if "error" in result:
            failures += 1
            echo(f"error: {result['error']}", error=True)
    if failures:
        raise typer.Exit(1)
