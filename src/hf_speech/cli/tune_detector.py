"""`hf-speech tune-detector`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hf_speech.cli.options import CorpusOption
from hf_speech.cli.process import command_line, prepare_inference
from hf_speech.common.console import echo
from hf_speech.errors import HFSpeechError


def tune_detector(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="A run folder.", show_default=False)],
    rate: Annotated[
        float, typer.Option("--false_alarms_per_hour", min=0, help="False alarms an hour of all keywords together.")
    ] = 0.5,
    corpus: CorpusOption = None,
) -> None:
    """Find thresholds for a given rate of false alarms.

    They are chosen on the validation split, whose negatives should last for hours, and written into the model's folder.
    Further options are keys of the corpus: --validation_negatives '[DIR]'."""
    from hf_speech.evaluation.thresholds import choose_thresholds
    from hf_speech.inference import load_model
    from hf_speech.training import load_rows

    folder = Path(model).expanduser()
    if not folder.is_dir():
        raise HFSpeechError(
            f"There is no folder {model} to write thresholds into: give a run folder, or what "
            "hf download OWNER/NAME --local-dir FOLDER makes of a model on the Hub."
        )
    prepare_inference()
    loaded = load_model(model, verb="listen")
    source, selection = load_rows(loaded, corpus, "validation", context.args)
    tuned = choose_thresholds(loaded, selection.rows, rate)
    echo(tuned.format_table())
    path = tuned.options.save(folder, corpus=source.name, command=command_line(), **tuned.origin(rate))
    echo(f"Written: {path}")
