"""`hf-speech export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from hf_speech.cli.options import ModelArgument
from hf_speech.cli.process import prepare_inference
from hf_speech.common.console import echo
from hf_speech.common.files import file_size


def export(
    model: ModelArgument,
    output: Annotated[Path, typer.Option("--output", help="Folder to write.")],
    int8: Annotated[bool, typer.Option("--int8/--no_int8", help="Also write files quantized to int8.")] = True,
    file_format: Annotated[
        Literal["onnx", "c"], typer.Option("--format", help="ONNX files, or the C source of a keyword spotter.")
    ] = "onnx",
) -> None:
    """Export a model to ONNX or C, to run without PyTorch.

    The exported model includes the feature extraction: it takes a waveform, so it also runs in a browser or on a
    microcontroller.
    """
    from hf_speech.export.c_source import export_c
    from hf_speech.export.exporting import export_model
    from hf_speech.inference import load_model

    prepare_inference()
    loaded = load_model(model, device="cpu")
    if file_format == "c":
        for path in export_c(loaded, output):
            echo(f"Written: {path}")
        return
    for file in export_model(loaded, output, int8=int8):
        echo(
            f"Written: {file.path}   {file.precision}, {file_size(file.size)}, logits within "
            f"{file.max_difference:.2g} of PyTorch's, which go up to {file.largest_logit:.3g}"
        )
    echo(f"Next:\n  hf-speech {loaded.task.verb} {output} SOUND_FILE")
