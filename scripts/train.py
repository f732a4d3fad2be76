"""Train a recipe: `accelerate launch scripts/train.py recipes/digits.yaml` (the same as `hf-speech train`)."""

from __future__ import annotations

import sys

from hf_speech.cli import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
