"""`hf-speech build-lm`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

import typer

from hf_speech.cli.options import standard_input
from hf_speech.cli.process import prepare_inference
from hf_speech.common.console import echo
from hf_speech.common.text import counted
from hf_speech.errors import HFSpeechError


def build_lm(
    context: typer.Context,
    text: Annotated[
        Path,
        typer.Argument(
            help="A text file with one sentence per line, a folder of .txt and .md files, or a run folder to use its "
            "training transcripts; - for standard input.",
            metavar="text",
            parser=lambda name: Path(standard_input(name)),
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", help="File to write: .arpa, or .ngram, which loads instantly.")
    ] = Path("language_model.arpa"),
    order: Annotated[int, typer.Option("--order", min=1, max=6, help="Order of the model: the longest n-gram.")] = 4,
    normalizer: Annotated[
        Literal["none", "lower", "upper", "english"],
        typer.Option("--normalizer", help="Normalize the text like a recipe, and split it into sentences."),
    ] = "none",
    spell_numbers: Annotated[bool, typer.Option("--spell_numbers", help="Spell out numbers in English.")] = False,
    characters: Annotated[
        bool, typer.Option("--characters", help="Use n-grams of characters, for languages written without spaces.")
    ] = False,
    max_words: Annotated[
        int | None, typer.Option("--max_words", min=1, help="Keep only the most frequent words.", show_default="all")
    ] = None,
    min_counts: Annotated[
        str | None,
        typer.Option("--min_counts", help="Minimum count for each order, such as 1,1,2,2.", show_default="1"),
    ] = None,
    entropy_threshold: Annotated[
        float,
        typer.Option("--entropy_threshold", help="Prune n-grams whose relative perplexity gain is below this value."),
    ] = 0.0,
    held_out: Annotated[
        Path | None,
        typer.Option("--held_out", help="Test transcripts; text from the same books is left out."),
    ] = None,
) -> None:
    """Build an n-gram language model from text.

    Uses modified Kneser-Ney smoothing. An .arpa file works with other programs too, an .ngram file only with hf_speech.
    For a run folder, the text is its training transcripts in the spelling of the model; keys of its corpus are further
    options, such as --data_dir DIR."""
    from hf_speech.decoding import build_arpa
    from hf_speech.tasks.text import read_plain_text, read_sentences

    if output.suffix not in (".arpa", ".ngram"):
        raise typer.BadParameter("the file name has to end in .arpa or .ngram", param_hint="--output")
    sentences: Iterable[str]
    if (text / "config.json").is_file():
        from hf_speech.inference import load_model
        from hf_speech.training import load_rows

        prepare_inference()
        loaded = load_model(text, verb="transcribe")
        _, selection = load_rows(loaded, None, "train", context.args)
        sentences = loaded.task.references(selection.rows, loaded.model.config, loaded.tokenizer)
    elif context.args:
        raise HFSpeechError(f"{context.args[0]} is an option of the corpus of a run folder, and {text} is not one.")
    elif text.exists():
        sentences = read_sentences(text, normalizer, spell_numbers)
    else:
        raise HFSpeechError(f"There is no text {text}: give a file with one sentence per line, or a run folder.")
    summary = build_arpa(
        sentences,
        order,
        output,
        "character" if characters else "word",
        max_words=max_words,
        min_counts=_read_counts(min_counts),
        entropy_threshold=entropy_threshold,
        held_out=[] if held_out is None else read_plain_text(held_out),
    )
    counts = ", ".join(f"{count:,}" for count in summary.ngrams)
    if summary.left_out:
        echo(f"Left out because of the held-out transcripts: {counted(summary.left_out, 'sentence')}")
    echo(
        f"{summary.order}-grams of {counted(summary.words, 'word')} in {counted(summary.sentences, 'sentence')}\n"
        f"N-grams of each order: {counts}\nWritten: {output}"
    )


def _read_counts(text: str | None) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",")) if text else ()
    except ValueError:
        raise HFSpeechError(f"--min_counts {text!r} is not a list of whole numbers: write 1,1,2,2.") from None
