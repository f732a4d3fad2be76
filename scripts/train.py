"""Train a recipe: `accelerate launch scripts/train.py recipes/digits.yaml` (the same as `hf-speech train`)."""

from __future__ import annotations

import sys
from pathlib import Path

# Python puts this folder first on the path, where evaluate.py would shadow the library of that name.
sys.path = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).resolve().parent]

from hf_speech.cli.app import main  # noqa: E402

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
