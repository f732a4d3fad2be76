"""Download a corpus: `python scripts/download_data.py speech_commands` (the same as `hf-speech download`)."""

from __future__ import annotations

import sys
from pathlib import Path

# Python puts this folder first on the path, where evaluate.py would shadow the library of that name.
sys.path = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).resolve().parent]

from hf_speech.cli.app import main  # noqa: E402

if __name__ == "__main__":
    main(["download", *sys.argv[1:]])
