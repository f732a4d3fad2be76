"""What every verb needs from the process: the command as typed, the number of threads, and output that cannot fail."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import typer

from hf_speech.common.text import printable


def command_line() -> str:
    """The command as typed, recorded in evaluation files and tables."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def echo(text: object, *, error: bool = False, newline: bool = True) -> None:
    """Prints text, with the control characters of names from outside written out instead of obeyed by the terminal."""
    typer.echo(printable(str(text)), err=error, nl=newline)


def prepare_inference() -> None:
    """Sets one thread, which is fastest for small recurrent networks, unless the user chose; hides loading bars."""
    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
