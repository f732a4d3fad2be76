"""What the verbs need from the process: the command as typed, and the number of threads."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path


def command_line() -> str:
    """The command as typed, recorded in evaluation files and tables."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def prepare_inference() -> None:
    """Sets one thread, which is fastest for small recurrent networks, unless the user chose.

    PyTorch is not imported for it: it reads the variable when it is.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        os.environ["OMP_NUM_THREADS"] = "1"
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(1)
