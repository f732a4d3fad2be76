"""`hf-speech align`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hf_speech.cli.options import CorpusOption, ModelArgument
from hf_speech.cli.process import prepare_inference
from hf_speech.common.console import echo
from hf_speech.common.text import counted


def align(
    context: typer.Context,
    model: ModelArgument,
    output: Annotated[Path, typer.Option("--output", file_okay=False, help="Folder to write.", show_default=False)],
    corpus: CorpusOption = None,
    split: Annotated[str, typer.Option("--split", help="train, validation, test, or all.")] = "train",
    min_seconds: Annotated[float, typer.Option("--min_seconds", min=0, help="Shortest piece to keep.")] = 1.0,
    max_seconds: Annotated[
        float, typer.Option("--max_seconds", min=0, help="Cut longer recordings at their pauses.")
    ] = 5.0,
    min_pause: Annotated[
        float, typer.Option("--min_pause", min=0.05, help="Shortest pause to cut at, in seconds.")
    ] = 0.15,
    batch_size: Annotated[int, typer.Option("--batch_size", min=1, max=65536, help="Recordings per batch.")] = 16,
) -> None:
    """Align transcripts to recordings, and cut at pauses.

    Writes SPLIT.csv, a table of short recordings for training, and SPLIT.ctm with the time of each word. Keys of the
    corpus are further options, such as --data_dir DIR.
    """
    from hf_speech.inference import load_model
    from hf_speech.inference.aligning import CutOptions, align_rows
    from hf_speech.training import load_rows

    prepare_inference()
    loaded = load_model(model, verb="transcribe")
    _, selection = load_rows(loaded, corpus, split, context.args)
    options = CutOptions(min_seconds, max_seconds, min_pause)
    counts = align_rows(loaded, selection.rows, output, name=split, options=options, batch_size=batch_size)
    for error in counts.errors:
        echo(f"error: {error}", error=True)
    table = output / f"{split}.csv"
    mean = counts.seconds / max(1, counts.pieces)
    pieces = f"{counted(counts.pieces, 'piece')} of {counted(counts.recordings, 'recording')}"
    echo(f"Written: {table} ({pieces}, {mean:.1f} s on average)")
    echo(f"To train on it: hf-speech train RECIPE --corpus.name csv --train_file {table} --text_column text")
    if counts.errors:
        raise typer.Exit(1)
