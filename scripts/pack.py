#!/usr/bin/env python
"""Pack a run folder into a small model folder to keep and publish: weights stored in float16, no checkpoints.

The weights are computed with in float32 as ever: config.json says so, and loading widens them. What was measured on the
run's own weights is left behind, so evaluate the packed model: every figure belongs to exactly these bytes.

    python scripts/pack.py runs/an4 pretrained/an4
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from hf_speech.common.fingerprint import LANGUAGE_MODELS

HISTORY = ("recipe.yaml", "inspection.json", "training.json", "curves.png", *LANGUAGE_MODELS, "lexicon.txt")


def main() -> None:
    """Copies what belongs to the model and its history, and halves the weights."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="Run folder.")
    parser.add_argument("destination", type=Path, help="Folder to be made anew.")
    options = parser.parse_args()
    shutil.rmtree(options.destination, ignore_errors=True)
    options.destination.mkdir(parents=True)
    for path in sorted(options.run.iterdir()):
        if path.suffix == ".py" or path.name in HISTORY or path.suffix == ".json":
            shutil.copyfile(path, options.destination / path.name)
    weights = load_file(options.run / "model.safetensors")
    halved = {name: weight.half() if weight.dtype == torch.float32 else weight for name, weight in weights.items()}
    save_file(halved, options.destination / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((options.destination / "config.json").read_text(encoding="utf-8"))
    (options.destination / "config.json").write_text(json.dumps(config | {"dtype": "float32"}, indent=2) + "\n")
    print(f"{options.destination}: {sum(path.stat().st_size for path in options.destination.iterdir()) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
