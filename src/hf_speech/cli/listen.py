"""`hf-speech listen`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hf_speech.cli.options import AnyModelArgument
from hf_speech.cli.process import command_line, prepare_inference
from hf_speech.common.console import echo
from hf_speech.common.text import one_line
from hf_speech.errors import AudioError

if TYPE_CHECKING:
    from hf_speech.decoding import Event
    from hf_speech.inference import Detector


def listen(
    model: AnyModelArgument,
    files: Annotated[
        list[str] | None,
        typer.Argument(
            help="Sound files, - for raw 16-bit mono samples at the model's rate from standard input, or none for the "
            "microphone.",
            show_default=False,
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold", min=-1000, max=1000, help="Minimum score of an event.", show_default="tune-detector's"
        ),
    ] = None,
    output_format: Annotated[
        Literal["text", "json"], typer.Option("--format", help="Format of the events, one per line.")
    ] = "text",
    save_clips: Annotated[
        Path | None,
        typer.Option(
            "--save_clips",
            help="Folder in which to save the sound around each event, for example false alarms to train on.",
        ),
    ] = None,
    word: Annotated[
        str | None,
        typer.Option(
            "--enroll", help="Make a detector of this new keyword from recordings of it (FILES), starting from MODEL."
        ),
    ] = None,
    negatives: Annotated[
        list[str] | None,
        typer.Option("--negatives", help="Folder of recordings without the new keyword; may be repeated."),
    ] = None,
    validation_negatives: Annotated[
        list[str] | None,
        typer.Option("--validation_negatives", help="Folder of others, for choosing the threshold; may be repeated."),
    ] = None,
    output_dir: Annotated[
        Path | None, typer.Option("--output_dir", help="Folder of the new model.", show_default="runs/WORD")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing folder.")] = False,
) -> None:
    """Print the keywords in sound files or live sound.

    With --enroll WORD, make a detector of a new keyword from 5 to 20 recordings of it and recordings without it.
    MODEL is a recognizer that can stream, or a keyword spotter for other words.
    """
    from hf_speech.inference import Detector

    prepare_inference()
    if word is not None:
        folders = {"train_negatives": negatives or [], "validation_negatives": validation_negatives or []}
        _enroll(model, word, files or [], folders, output_dir, overwrite)
        return
    if negatives or validation_negatives or output_dir or overwrite:
        raise typer.BadParameter(
            "--negatives, --validation_negatives, --output_dir and --overwrite need --enroll WORD."
        )
    detector = Detector(model, threshold=threshold)
    if save_clips is not None:
        failed = _save_clips(detector, files or [], save_clips)
    else:
        failed = _print_events(detector, files or [None], output_format)
    if failed:
        raise typer.Exit(1)


def _print_events(detector: Detector, sources: Sequence[str | None], output_format: str) -> bool:
    """Prints the events of each source, one per line; returns whether a source could not be read."""
    failed = False
    for source in sources:
        try:
            with suppress(KeyboardInterrupt):  # Ctrl+C ends listening to the microphone.
                for event in _events(detector, source):
                    if output_format == "json":
                        named = {"file": source} if source not in (None, "-") else {}
                        echo(json.dumps({**named, **asdict(event)}, ensure_ascii=False))
                    else:
                        where = f"{one_line(source)}: " if source is not None and len(sources) > 1 else ""
                        echo(f"{where}{event.time:9.2f} s   {one_line(event.keyword)}   {event.score:.1f}")
        except AudioError as error:
            failed = True
            echo(f"error: {error}", error=True)
    return failed


def _events(detector: Detector, source: str | None) -> Iterator[Event]:
    from hf_speech.inference import microphone_pieces, raw_pieces

    if source is None:
        return detector.listen(microphone_pieces(detector.sampling_rate))
    if source == "-":
        read = sys.stdin.buffer.read1  # type: ignore[union-attr] # the standard input has it
        return detector.listen(raw_pieces(read, detector.sampling_rate))
    return detector.listen_to_file(source)


def _save_clips(detector: Detector, files: list[str], folder: Path) -> bool:
    """Writes the sound around each event of files and folders; whether a file cannot be read."""
    from hf_speech.data import read_audio
    from hf_speech.inference import save_clip
    from hf_speech.inference.labeling import find_recordings
    from hf_speech.inference.transcription import distinct_names

    failed = False
    folder.mkdir(parents=True, exist_ok=True)
    for file, name in distinct_names(find_recordings(files)).items():
        try:
            if not (times := [event.time for event in detector.listen_to_file(file)]):
                continue
            sound = read_audio(file, detector.sampling_rate)
        except AudioError as error:
            failed = True
            echo(f"error: {error}", error=True)
            continue
        for time in times:
            echo(f"Written: {save_clip(sound, time, detector.sampling_rate, folder, name)}")
    return failed


def _enroll(
    model: str,
    word: str,
    files: list[str],
    folders: dict[str, list[str]],
    output_dir: Path | None,
    overwrite: bool,
) -> None:
    from hf_speech.training.enroll import enroll

    words = [part for key, value in folders.items() if value for part in (f"--{key}", json.dumps(value))]
    result, tuned = enroll(model, word, files, words, output_dir, overwrite=overwrite, command=command_line())
    if tuned is None:
        echo("Its threshold is 0, a probability of one half: --validation_negatives DIR chooses a better one.")
    else:
        echo(tuned.format_table())
    echo(f"The model is in {result.run_dir} (made in {result.seconds / 60:.1f} minutes). Next:")
    echo(f"  hf-speech listen {result.run_dir}")
