"""`hf-speech explore`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hf_speech.cli.options import RecipeArgument, SplitOption
from hf_speech.cli.process import command_line, prepare_inference
from hf_speech.common.console import echo


def explore(
    context: typer.Context,
    recipe: RecipeArgument,
    augmented: Annotated[
        bool, typer.Option("--augmented", help="Also show the examples with training augmentation.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", help="Folder to write.", show_default="explored/NAME")
    ] = None,
    split: SplitOption = "train",
    examples: Annotated[
        int | None,
        typer.Option(
            "--examples", min=1, help="Number of examples.", show_default="2 of each class, or 8 with transcripts"
        ),
    ] = None,
) -> None:
    """Inspect the corpus of a recipe before training.

    Writes one page with a table, charts and audio examples. Keys of the recipe are further options, as for
    `hf-speech train`: --data_dir DIR, --features.feature_type mfcc."""
    from hf_speech.exploration import explore as explore_recipe
    from hf_speech.training import load_recipe

    prepare_inference()
    exploration = explore_recipe(
        load_recipe(recipe, context.args),
        output,
        augmented=augmented,
        split=split,
        examples=examples,
        command=command_line(),
    )
    echo(exploration.report)
    for note in exploration.notes:
        echo(f"  note: {note}")
    echo(f"Written: {exploration.page}")
