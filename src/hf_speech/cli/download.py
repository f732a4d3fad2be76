"""`hf-speech download`."""

from __future__ import annotations

from typing import Annotated

import typer

from hf_speech.common.console import echo


def download(
    context: typer.Context,
    corpus: Annotated[
        str,
        typer.Argument(help="A corpus, by its name in recipes: fsdd, ravdess, ...", show_default=False),
    ],
) -> None:
    """Download a corpus, verify it and unpack it.

    This happens only once, and continues after an interruption. Further options are keys of the corpus: --version
    v0.01. The corpus is stored in $HF_SPEECH_CACHE or, by default, ~/.cache/hf_speech, where every recipe finds it."""
    from hf_speech.training import load_recipe

    wanted = load_recipe({"corpus": {"name": corpus}}, context.args).corpus
    echo(f"{wanted.title} is in {wanted.fetch()}; recipes find it there without --data_dir.")
