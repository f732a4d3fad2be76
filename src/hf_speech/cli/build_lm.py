"""`hf-speech build-lm`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hf_speech.cli.process import prepare_inference
from hf_speech.common.console import echo
from hf_speech.common.reading import read_lines
from hf_speech.errors import HFSpeechError


def build_lm(
    context: typer.Context,
    text: Annotated[
        Path,
        typer.Argument(help="A text file with a sentence in each line, or a run folder for its training transcripts."),
    ],
    output: Annotated[Path, typer.Option("--output", help="ARPA file to write.")] = Path("language_model.arpa"),
    order: Annotated[int, typer.Option("--order", min=1, max=6, help="Length of the longest n-grams.")] = 4,
) -> None:
    """Build an n-gram language model from text.

    It is written in ARPA format, with modified Kneser-Ney smoothing. Given a run folder, the text is its training
    transcripts as the model writes them, and further options are keys of its corpus: --data_dir DIR."""
    from hf_speech.decoding import build_arpa

    if text.is_dir():
        from hf_speech.inference import load_model
        from hf_speech.training import load_rows

        prepare_inference()
        loaded = load_model(text, verb="transcribe")
        _, selection = load_rows(loaded, None, "train", context.args)
        sentences = loaded.task.references(selection.rows, loaded.model.config, loaded.tokenizer)
    elif text.is_file():
        sentences = read_lines(text)
    else:
        raise HFSpeechError(f"There is no text {text}: give a file with a sentence in each line, or a run folder.")
    summary = build_arpa(sentences, order, output)
    echo(f"{summary.order}-grams of {summary.words:,} words in {summary.sentences:,} sentences\nWritten: {output}")
