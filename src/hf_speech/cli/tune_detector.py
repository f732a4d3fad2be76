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
        float, typer.Option("--false_alarms_per_hour", min=0, help="Accepted false alarms per hour, over all keywords.")
    ] = 0.5,
    corpus: CorpusOption = None,
) -> None:
    """Find keyword thresholds for a given rate of false alarms.

    The thresholds are chosen on the validation split, which should contain hours of negatives, and written to the
    model's folder. Keys of the corpus are further options, such as --validation_negatives '[DIR]'."""
    from hf_speech.evaluation.thresholds import choose_thresholds
    from hf_speech.inference import load_model
    from hf_speech.training import load_rows

    folder = Path(model).expanduser()
    if not folder.is_dir():
        raise HFSpeechError(
            f"There is no folder {model} to write thresholds to: give a run folder, or download a model from the Hub "
            "first with hf download OWNER/NAME --local-dir FOLDER."
        )
    prepare_inference()
    loaded = load_model(model, verb="listen")
    source, selection = load_rows(loaded, corpus, "validation", context.args)
    tuned = choose_thresholds(loaded, selection.rows, rate)
    echo(tuned.format_table())
    path = tuned.options.save(folder, corpus=source.name, command=command_line(), **tuned.origin(rate))
    echo(f"Written: {path}")
