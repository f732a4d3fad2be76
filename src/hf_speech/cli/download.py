"""`hf-speech download`."""

from __future__ import annotations

from typing import Annotated

import typer

from hf_speech.common.console import echo


def download(
    context: typer.Context,
    corpus: Annotated[
        str,
        typer.Argument(help="Name of the corpus in recipes: fsdd, ravdess, ...", show_default=False),
    ],
) -> None:
    """Download, verify and unpack a corpus.

    The corpus is downloaded once, to $HF_SPEECH_CACHE or by default ~/.cache/hf_speech, where every recipe finds it. An
    interrupted download resumes. Keys of the corpus are further options, such as --version v0.01."""
    from hf_speech.training import load_recipe

    source = load_recipe({"corpus": {"name": corpus}}, context.args).corpus
    echo(f"{source.title} is in {source.fetch()}; recipes find it there without --data_dir.")
