"""`hf-speech label`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from hf_speech.cli.process import prepare_inference
from hf_speech.common.console import echo
from hf_speech.common.text import counted


def label(
    model: Annotated[
        str,
        typer.Argument(
            help="A run folder, a Hub id, or a transformers model for CTC, sequence-to-sequence or classification.",
            show_default=False,
        ),
    ],
    files: Annotated[list[str], typer.Argument(help="Sound files, or folders of sound files.", show_default=False)],
    output: Annotated[
        Path,
        typer.Option(
            "--output", help="Table to write: a file NAME.csv, or a folder of shards NAME.parquet.", show_default=False
        ),
    ],
    agree_with: Annotated[
        str | None, typer.Option("--agree_with", help="A second model that has to give the same answer.")
    ] = None,
    max_disagreement: Annotated[
        float,
        typer.Option("--max_disagreement", min=0, max=1, help="Largest word error rate between the two models."),
    ] = 0.0,
    min_confidence: Annotated[
        float,
        typer.Option(
            "--min_confidence", min=0, max=1, help="Minimum probability of the class, or of the least certain word."
        ),
    ] = 0.0,
    min_seconds: Annotated[float, typer.Option("--min_seconds", min=0, help="Shortest recording.")] = 0.1,
    max_seconds: Annotated[float, typer.Option("--max_seconds", min=0, help="Longest recording.")] = 30.0,
    min_rate: Annotated[
        float | None, typer.Option("--min_rate", min=0, help="Fewest characters per second; fewer mean skipped speech.")
    ] = None,
    max_rate: Annotated[float | None, typer.Option("--max_rate", min=0, help="Most characters per second.")] = None,
    max_repeats: Annotated[
        int | None, typer.Option("--max_repeats", min=0, help="Most repetitions of the same words in a row.")
    ] = None,
    min_log_probability: Annotated[
        float | None,
        typer.Option(
            "--min_log_probability", max=0, help="Lowest mean log probability of a transcript; -1 suits Whisper."
        ),
    ] = None,
    cut: Annotated[bool, typer.Option("--cut", help="Cut recordings longer than --max_seconds at pauses.")] = False,
    normalizer: Annotated[
        Literal["none", "lower", "upper", "english"],
        typer.Option("--normalizer", help="Normalize transcripts like a recipe."),
    ] = "none",
    spell_numbers: Annotated[bool, typer.Option("--spell_numbers", help="Spell out numbers in English.")] = False,
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch_size",
            min=1,
            help="Recordings per batch of a transformers model.",
            show_default="8, or 1 for CTC on a CPU",
        ),
    ] = None,
) -> None:
    """Label recordings for training with a model.

    Writes a table for the corpus csv, and rejected recordings to NAME.rejected.csv. After an interruption, run the same
    command again to continue. Processes started by accelerate launch -m hf_speech.cli label share the recordings.
    """
    from functools import partial

    from accelerate.utils import gather_object

    from hf_speech.inference.cutting import cut_long
    from hf_speech.inference.labeling import LabelFilter, Processes, find_recordings, label_recordings
    from hf_speech.inference.teachers import open_teacher
    from hf_speech.training.processes import on_main_process, process_state

    prepare_inference()
    state = process_state()
    recordings = find_recordings(files)
    if cut:
        recordings = cut_long(recordings, output.with_suffix(".pieces"), max_seconds)
    teacher = open_teacher(model, batch_size)
    second = None if agree_with is None else open_teacher(agree_with, batch_size)
    label_filter = LabelFilter(
        min_confidence,
        min_seconds,
        max_seconds,
        max_disagreement,
        min_rate,
        max_rate,
        max_repeats,
        min_log_probability,
    )
    counts = label_recordings(
        teacher,
        recordings,
        output,
        second=second,
        chosen=label_filter,
        normalizer=normalizer,
        spell_numbers=spell_numbers,
        processes=Processes(state.process_index, state.num_processes, partial(on_main_process, state), gather_object),
    )
    if not state.is_main_process:
        return
    for error in counts.errors:
        echo(f"error: {error}", error=True)
    echo(f"Written: {output} ({counted(counts.kept, 'recording')}, {counts.rejected:,} rejected)")
    if counts.kept:
        column = " --text_column text" if teacher.column == "text" else ""
        echo(f"To train on it: hf-speech train RECIPE --corpus.name csv --train_file {output}{column}")
    if counts.errors:
        raise typer.Exit(1)
