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
            help="A file with a sentence in each line, or a word for classes; or a grammar, NAME.jsgf.",
            show_default=False,
        ),
    ],
    sentences: Annotated[
        int, typer.Option("--sentences", min=2, max=100_000, help="Sentences to draw from a grammar.")
    ] = 2000,
    recipe: Annotated[
        str,
        typer.Option(
            "--recipe", help="What is trained: words_from_text for classes of words, wake_words for keywords."
        ),
    ] = "from_text",
    init_from: Annotated[str | None, typer.Option("--init_from", help="A run folder or Hub id to start from.")] = None,
    old_data_dir: Annotated[
        Path | None, typer.Option("--old_data_dir", help="Folder of the corpus that it was trained on, to mix in.")
    ] = None,
    voices: Annotated[
        list[str] | None,
        typer.Option(
            "--voices",
            help="An accent of eSpeak NG, piper:FILE.onnx or kokoro:FOLDER; may be repeated.",
            show_default="English accents of eSpeak NG",
        ),
    ] = None,
    test_voices: Annotated[
        list[str] | None,
        typer.Option("--test_voices", help="Likewise, for the test alone.", show_default="some of --voices"),
    ] = None,
    clips: Annotated[
        Path | None,
        typer.Option("--clips", help="Real recordings to measure on: a folder of classes, or a table of transcripts."),
    ] = None,
    output_dir: Annotated[
        Path | None, typer.Option("--output_dir", help="Run folder.", show_default="runs/NAME")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the last checkpoint.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run folder.")] = False,
) -> None:
    """Train a model of a list of sentences or words.

    Synthetic voices speak the text, and the model is measured on voices held out, and on real recordings if there are
    some. A recognizer gets a language model of the same sentences. Further options are keys of the recipe, as for
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
    rows = [metric_row(one.what, *filter(None, (one.greedy, one.with_language_model))) for one in measurements]
    head = ["", "utterances", "alone", "language model"][: len(rows[0]) - 1]
    echo(f"\n{format_text([*head, '95 % interval'], rows)}")
    echo(
        f"\nThe model is in {result.run_dir} (trained in {result.seconds / 60:.1f} minutes). Next:\n"
        f"  hf-speech demo {result.run_dir} --static"
    )
