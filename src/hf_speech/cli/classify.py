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
    output_format: Annotated[Literal["text", "json"], typer.Option("--format", help="How to print them.")] = "text",
) -> None:
    """Print the most likely labels of sound files."""
    from hf_speech.inference.onnx_description import is_exported

    if is_exported(model):
        from hf_speech.inference.onnx import classify_files as classify_exported

        results = classify_exported(model, files, top_k=top_k)
    else:
        from hf_speech.inference import classify_files

        prepare_inference()
        results = classify_files(model, files, top_k=top_k)
    failures = 0
    for result in results:
        if output_format == "json":
            echo(json.dumps(result, ensure_ascii=False))
        elif "error" not in result:
            labels = "   ".join(f"{one_line(entry['label'])} {entry['score']:.1%}" for entry in result["labels"])
            echo(f"{one_line(result['file'])}: {labels}")
        if "error" in result:
            failures += 1
            echo(f"error: {result['error']}", error=True)
    if failures:
        raise typer.Exit(1)
