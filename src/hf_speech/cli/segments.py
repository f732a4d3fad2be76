"""`hf-speech segments`."""

from __future__ import annotations

import json
from typing import Annotated, Literal

import typer

from hf_speech.cli.options import AnyModelArgument, FilesArgument
from hf_speech.cli.process import prepare_inference
from hf_speech.common.console import echo
from hf_speech.common.text import one_line
from hf_speech.errors import AudioError


def segments(
    model: AnyModelArgument,
    files: FilesArgument,
    threshold: Annotated[
        float, typer.Option("--threshold", min=0, max=1, help="Minimum speech probability of a frame.")
    ] = 0.5,
    min_silence: Annotated[
        float, typer.Option("--min_silence", min=0, help="Seconds of silence that end a segment.")
    ] = 0.3,
    min_speech: Annotated[float, typer.Option("--min_speech", min=0, help="Shortest segment in seconds.")] = 0.1,
    padding: Annotated[
        float, typer.Option("--padding", min=0, help="Seconds to add before and after each segment.")
    ] = 0.05,
    output_format: Annotated[
        Literal["text", "json"], typer.Option("--format", help="Output format, one segment per line.")
    ] = "text",
) -> None:
    """Print the segments of speech in sound files."""
    from hf_speech.common.segments import SegmentOptions
    from hf_speech.inference import find_speech, open_model

    prepare_inference()
    opened = open_model(model, verb="segments")
    options = SegmentOptions(threshold, min_silence, min_speech, padding)
    failed = False
    for file in files:
        try:
            for segment in find_speech(opened, file, options):
                if output_format == "json":
                    row = {"file": file, "start": round(segment.start, 3), "end": round(segment.end, 3)}
                    echo(json.dumps(row, ensure_ascii=False))
                else:
                    prefix = f"{one_line(file)}: " if len(files) > 1 else ""
                    echo(f"{prefix}{segment.start:9.2f} s to {segment.end:9.2f} s")
        except AudioError as error:
            failed = True
            echo(f"error: {error}", error=True)
    if failed:
        raise typer.Exit(1)
