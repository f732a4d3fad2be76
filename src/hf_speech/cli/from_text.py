"""`hf-speech from-text`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hf_speech.cli.process import command_line, metric_row
from hf_speech.common.console import echo


def from_text(
    context: typer.Context,
    text: Annotated[
        Path,
        typer.Argument(
            help="A file with one sentence per line, one word per line for classes, or a grammar NAME.jsgf.",
            show_default=False,
        ),
    ],
    sentences: Annotated[
        int, typer.Option("--sentences", min=2, max=100_000, help="Number of sentences to sample from a grammar.")
    ] = 2000,
    recipe: Annotated[
        str,
        typer.Option(
            "--recipe", help="Recipe to train: words_from_text to classify words, wake_words to spot keywords."
        ),
    ] = "from_text",
    init_from: Annotated[str | None, typer.Option("--init_from", help="A run folder or Hub id to start from.")] = None,
    old_data_dir: Annotated[
        Path | None, typer.Option("--old_data_dir", help="Folder of the training corpus of --init_from, to mix in.")
    ] = None,
    voices: Annotated[
        list[str] | None,
        typer.Option(
            "--voices",
            help="An eSpeak NG accent, piper:FILE.onnx or kokoro:FOLDER; may be repeated.",
            show_default="the English accents of eSpeak NG",
        ),
    ] = None,
    test_voices: Annotated[
        list[str] | None,
        typer.Option("--test_voices", help="Voices used only for testing.", show_default="some of --voices"),
    ] = None,
    clips: Annotated[
        Path | None,
        typer.Option(
            "--clips", help="Real recordings to measure on: a folder with a subfolder for each class, or a table."
        ),
    ] = None,
    output_dir: Annotated[
        Path | None, typer.Option("--output_dir", help="Run folder.", show_default="runs/NAME")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the last checkpoint.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run folder.")] = False,
) -> None:
    """Train a model from a list of sentences or words.

    Synthetic voices speak the text. The model is measured on held-out voices and, with --clips, on real recordings. A
    recognizer gets a language model of the same sentences. Keys of the recipe are further options, as for
    `hf-speech train`.
    """
    from hf_speech.common.tables import format_text
    from hf_speech.training.from_text import from_text as train_from_text

    result, measurements = train_from_text(
        text,
        recipe,
        output_dir,
        clips=clips,
        resume=resume,
        overwrite=overwrite,
        command=command_line(),
        init_from=init_from,
        old_data_dir=old_data_dir,
        voices=voices,
        test_voices=test_voices,
        sentences=sentences,
        overrides=context.args,
    )
    rows = [metric_row(description, *reports) for description, reports in measurements]
    head = ["", "utterances", "alone", "language model"][: len(rows[0]) - 1]
    echo(f"\n{format_text([*head, '95% interval'], rows)}")
    echo(
        f"\nThe model is in {result.run_dir} (trained in {result.seconds / 60:.1f} minutes). Next:\n"
        f"  hf-speech demo {result.run_dir} --static"
    )
