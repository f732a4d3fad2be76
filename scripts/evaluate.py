"""Measure a model: `python scripts/evaluate.py runs/digits --split test` (the same as `hf-speech evaluate`)."""

from __future__ import annotations

import sys

from hf_speech.cli import main

if __name__ == "__main__":
    main(["evaluate", *sys.argv[1:]])
