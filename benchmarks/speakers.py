"""Leave-one-speaker-out evaluation: trains a recipe once for each speaker of FSDD, and tests it on that speaker.

    python benchmarks/speakers.py --data_dir DIR

Trains six models (runs/loso/SPEAKER) and prints a table. Finished runs are not repeated, so an interrupted series
continues where it stopped.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

from hf_speech.training import load_recipe, train

SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="fsdd")
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--output_dir", type=Path, default=Path("runs/loso"))
    options, overrides = parser.parse_known_args()

    accuracies, rows = [], []
    for speaker in SPEAKERS:
        run_dir = options.output_dir / speaker
        report_file = run_dir / "evaluation" / "test.json"
        if not report_file.is_file():
            words = ["--data_dir", options.data_dir, "--holdout_speaker", speaker, *overrides]
            command = f"hf-speech train {options.recipe} {' '.join(words)}"
            train(load_recipe(options.recipe, words), run_dir, overwrite=True, command=command)
        report = json.loads(report_file.read_text())
        seconds = json.loads((run_dir / "training.json").read_text())["seconds"]
        accuracies.append(report["metrics"]["accuracy"])
        low, high = report["confidence"]["accuracy"]
        rows.append(f"| {speaker} | {accuracies[-1]:.1%} | {low:.1%} to {high:.1%} | {seconds / 60:.1f} |")
    print("| speaker left out | accuracy | 95% interval | minutes |\n|---|---|---|---|")
    print("\n".join(rows))
    print(f"| **mean** | **{statistics.mean(accuracies):.1%}** | | |")


if __name__ == "__main__":
    main()
