"""`hf-speech tune-decoder`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hf_speech.cli.options import BeamSizeOption, CorpusOption, ModelArgument
from hf_speech.cli.process import command_line, prepare_inference
from hf_speech.common.console import echo
from hf_speech.common.text import counted


def tune_decoder(
    context: typer.Context,
    model: ModelArgument,
    language_model: Annotated[Path, typer.Option("--language_model", help="ARPA file.")],
    corpus: CorpusOption = None,
    beam_size: BeamSizeOption = None,
) -> None:
    """Find the best decoding weights for a language model.

    The weights are chosen on the validation split and written next to the language model. If the model was trained with
    CMUdict, pronunciations of the language model's words are added to its dictionary. Keys of the corpus are further
    options, such as --data_dir DIR."""
    from hf_speech.inference import BeamOptions, load_model, tune_beam
    from hf_speech.inference.tuning import add_pronunciations
    from hf_speech.training import load_rows

    prepare_inference()
    loaded = load_model(model, verb="transcribe")
    source, selection = load_rows(loaded, corpus, "validation", context.args)
    if added := add_pronunciations(loaded, language_model):
        echo(f"Added to the model's dictionary: {counted(added, 'word')} of the language model")
    best, tuning = tune_beam(loaded, selection.rows, BeamOptions.beside(language_model, beam_size=beam_size))
    echo(tuning.format_table())
    if best.phones is not None:
        echo(f"The table is for a search by phones with letter_weight {best.phones.letter_weight:g}.")
    elif best.phone_weight:
        echo(f"The table is for phone_weight {best.phone_weight:g}.")
    echo(f"Written: {best.save(corpus=source.name, command=command_line())}")
