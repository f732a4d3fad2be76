#!/usr/bin/env python
"""Pack a run folder into a small model folder to publish: weights in float16, no checkpoints.

The model still computes in float32: config.json sets the dtype, and loading converts the weights. Evaluations are not
copied, because they apply to the run's own weights: evaluate the packed model again.

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
    """Copies the files of the model and its training, with weights converted to float16."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="Run folder.")
    parser.add_argument("destination", type=Path, help="Output folder; an existing one is replaced.")
    options = parser.parse_args()
    shutil.rmtree(options.destination, ignore_errors=True)
    options.destination.mkdir(parents=True)
    for path in sorted(options.run.iterdir()):
        if path.suffix == ".py" or path.name in HISTORY or path.suffix == ".json":
            shutil.copyfile(path, options.destination / path.name)
    weights = load_file(options.run / "model.safetensors")
    weights = {name: weight.half() if weight.dtype == torch.float32 else weight for name, weight in weights.items()}
    save_file(weights, options.destination / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((options.destination / "config.json").read_text(encoding="utf-8"))
    (options.destination / "config.json").write_text(json.dumps(config | {"dtype": "float32"}, indent=2) + "\n")
    print(f"{options.destination}: {sum(path.stat().st_size for path in options.destination.iterdir()) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
