"""`hf-speech adapt`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hf_speech.cli.options import ModelArgument
from hf_speech.cli.process import command_line, metric_row
from hf_speech.common.console import echo


def adapt(
    context: typer.Context,
    model: ModelArgument,
    clips: Annotated[
        str, typer.Argument(help="A folder with a subfolder for each class, or a table.", show_default=False)
    ],
    old_data_dir: Annotated[
        Path | None, typer.Option("--old_data_dir", help="Folder of the original training corpus.")
    ] = None,
    output_dir: Annotated[
        Path | None, typer.Option("--output_dir", help="Run folder.", show_default="runs/MODEL-adapted")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the last checkpoint.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run folder.")] = False,
) -> None:
    """Adapt a model to a new voice or room with a few clips.

    With --old_data_dir, training also replays the original corpus to limit forgetting, and the model is measured on
    that corpus before and after. Keys of the recipe are further options, as for `hf-speech train`.
    """
    from hf_speech.common.tables import format_text
    from hf_speech.training.adapt import adapt as adapt_model

    result, comparisons = adapt_model(
        model,
        clips,
        old_data_dir,
        context.args,
        output_dir,
        resume=resume,
        overwrite=overwrite,
        command=command_line(),
    )
    if rows := [metric_row(description, *reports) for description, reports in comparisons]:
        echo(f"\n{format_text(['', 'utterances', 'before', 'after', '95% interval'], rows)}")
    if old_data_dir is None:
        echo("Forgetting was not measured: --old_data_dir DIR measures and reduces it.")
    echo(
        f"\nThe adapted model is in {result.run_dir} (trained in {result.seconds / 60:.1f} minutes). Next:\n"
        f"  hf-speech publish {result.run_dir} --repo_id OWNER/NAME"
    )
