"""The command line, run in this process."""

from __future__ import annotations

import pytest

from hf_speech.cli import main


def run(*words: str) -> int:
    """Runs a command and returns its exit status."""
    with pytest.raises(SystemExit) as exit_:
        main(list(words))
    return int(exit_.value.code or 0)
