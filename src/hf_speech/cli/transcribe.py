"""`hf-speech transcribe`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from hf_speech.cli import options
from hf_speech.cli.process import prepare_inference
from hf_speech.common.console import echo
from hf_speech.common.files import write_text
from hf_speech.common.text import one_line


def transcribe(
    model: options.AnyModelArgument,
    files: options.FilesArgument,
    output_format: Annotated[
        Literal["text", "srt", "vtt", "json"], typer.Option("--format", help="Output format.")
    ] = "text",
    output_dir: Annotated[
        Path | None, typer.Option("--output_dir", help="Folder to write a transcript file for each sound file to.")
    ] = None,
    language_model: Annotated[
        Path | None,
        typer.Option(
            "--language_model",
            help="ARPA file: decode with a beam search instead of greedily; 'auto' uses the one in the model's folder.",
        ),
    ] = None,
    lm_weight: options.LMWeightOption = None,
    word_score: options.WordScoreOption = None,
    phone_weight: options.PhoneWeightOption = None,
    beam_size: options.BeamSizeOption = None,
    hot_words: Annotated[
        str | None, typer.Option("--hot_words", help="Words to favor, such as names: 'MARY,ZIP'.")
    ] = None,
    hot_word_weight: Annotated[
        float | None, typer.Option("--hot_word_weight", help="Bonus for each hot word.", show_default="5")
    ] = None,
    nbest: Annotated[
        int, typer.Option("--nbest", min=1, help="Number of alternatives, with scores (text and json only).")
    ] = 1,
) -> None:
    """Transcribe sound files of any length.

    Writes plain text, subtitles (srt, vtt), or JSON with the time and confidence of each word. For several files
    without --output_dir, JSON has a line for each file.
    """
    from hf_speech.inference import choose_decoder, find_language_model, open_model, transcribe_files
    from hf_speech.inference.transcription import transcript_files

    if nbest > 1 and output_format in ("srt", "vtt"):
        raise typer.BadParameter("subtitles hold one transcript: use --format text or json", param_hint="--nbest")
    if len(files) > 1 and output_dir is None and output_format in ("srt", "vtt"):
        raise typer.BadParameter("give a folder for the subtitles of several files", param_hint="--output_dir")
    prepare_inference()
    recognizer = open_model(model, verb="transcribe")
    given = {"lm_weight": lm_weight, "word_score": word_score, "phone_weight": phone_weight, "beam_size": beam_size}
    decoder = choose_decoder(
        recognizer, language_model, hot_words=hot_words, num_best=nbest, hot_word_weight=hot_word_weight, **given
    )
    if language_model is None and Path(model).is_dir() and find_language_model(recognizer):
        echo(f"note: {model} has a language model; --language_model auto uses it.", error=True)
    targets: list[Path | None] = [None] * len(files)
    if output_dir is not None:
        targets[:] = transcript_files(files, output_dir, ".txt" if output_format == "text" else f".{output_format}")
    json_lines = output_format == "json" and output_dir is None and len(files) > 1
    failures = 0
    transcripts = transcribe_files(recognizer, files, decoder=decoder, num_best=nbest)
    for transcript, target in zip(transcripts, targets, strict=True):
        if transcript.error is not None:
            failures += 1
            echo(f"error: {transcript.error}", error=True)
            if json_lines:
                echo(json.dumps({"file": transcript.file, "error": transcript.error}, ensure_ascii=False))
            continue
        content = transcript.format(output_format, scores=nbest > 1, indent=None if json_lines else 2)
        if target is not None:
            write_text(target, content)
            echo(f"Written: {target}")
        elif output_format == "text" and len(files) > 1:
            for line in content.splitlines():
                echo(f"{one_line(transcript.file)}: {line}")
        else:
            echo(content, end="")
    if failures:
        raise typer.Exit(1)
