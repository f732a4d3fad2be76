"""`hf-speech tune-detector`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hf_speech.cli.options import CorpusOption, NoiseFolderOption, NoiseSNROption, snr_of_noise
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
    noise_folder: NoiseFolderOption = None,
    noise_snr: NoiseSNROption = None,
) -> None:
    """Find keyword thresholds for a given rate of false alarms.

    The thresholds are chosen on the validation split, which should contain hours of negatives, and written to the
    model's folder. With --noise_folder, they are chosen for the recordings with and without noise together. Keys of
    the corpus are further options, such as --validation_negatives '[DIR]'."""
    from hf_speech.data.augmentation import Conditions
    from hf_speech.evaluation.thresholds import choose_thresholds
    from hf_speech.inference import load_model
    from hf_speech.training import load_rows

    folder = Path(model).expanduser()
    if not folder.is_dir():
        raise HFSpeechError(
            f"There is no folder {model} to write thresholds to: give a run folder, or download a model from the Hub "
            "first with hf download OWNER/NAME --local-dir FOLDER."
        )
    snr = snr_of_noise(noise_folder, noise_snr)
    noise = None if noise_folder is None else Conditions(noise_folder=noise_folder, noise_snr=snr)
    prepare_inference()
    loaded = load_model(model, verb="listen")
    source, selection = load_rows(loaded, corpus, "validation", context.args)
    tuned = choose_thresholds(loaded, selection.rows, rate, noise)
    echo(tuned.format_table())
    simulated = {} if noise is None else noise.describe()
    origin = {"corpus": source.name, "command": command_line(), **simulated, **tuned.origin(rate)}
    path = tuned.options.save(folder, **origin)
    echo(f"Written: {path}")
