"""`hf-speech listen`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hf_speech.cli.options import AnyModelArgument
from hf_speech.cli.process import prepare_inference
from hf_speech.common.console import echo
from hf_speech.common.text import one_line

if TYPE_CHECKING:
    from hf_speech.decoding import Event


def listen(
    model: AnyModelArgument,
    files: Annotated[
        list[str] | None,
        typer.Argument(
            help="Sound files; - for raw mono 16-bit samples at the model's rate from standard input; none for the "
            "microphone.",
            show_default=False,
        ),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option("--threshold", help="Lowest score of all keywords.", show_default="tune-detector's")
    ] = None,
    output_format: Annotated[
        Literal["text", "json"], typer.Option("--format", help="How to print events: a line each.")
    ] = "text",
) -> None:
    """Print the keywords that occur in sound files, in a stream, or before the microphone."""
    from hf_speech.errors import AudioError
    from hf_speech.inference import Detector, microphone_pieces, raw_pieces

    prepare_inference()
    detector = Detector(model, threshold=threshold)
    sources: list[str | None] = [*files] if files else [None]
    failures = 0
    for source in sources:
        if source is None:
            events: Iterable[Event] = detector.listen(microphone_pieces(detector.sampling_rate))
        elif source == "-":
            read = sys.stdin.buffer.read1  # type: ignore[union-attr] # the standard input has it
            events = detector.listen(raw_pieces(read, detector.sampling_rate))
        else:
            events = detector.listen_to_file(source)
        try:
            with suppress(KeyboardInterrupt):  # The way to end listening to a microphone.
                for event in events:
                    if output_format == "json":
                        named = {"file": source} if source not in (None, "-") else {}
                        echo(json.dumps({**named, **asdict(event)}, ensure_ascii=False))
                    else:
                        where = f"{one_line(source)}: " if source is not None and len(sources) > 1 else ""
                        echo(f"{where}{event.time:9.2f} s   {one_line(event.keyword)}   {event.score:.1f}")
        except AudioError as error:
            failures += 1
            echo(f"error: {error}", error=True)
    if failures:
        raise typer.Exit(1)
