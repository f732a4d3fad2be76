"""Measures how well a recognizer generalizes to new sentences and to another corpus.

Prints the word error rate on the test split of the corpus that the model was trained on, on the utterances of that
split whose sentences are not in the training split, and on the test split of another corpus. Confidence intervals
resample whole speakers. No setting was chosen with these numbers.

    python benchmarks/crossed.py MODEL --data_dir DIR [--corpus kaldi] --other an4 --other_dir DIR
"""

from __future__ import annotations

import argparse

from datasets import Dataset

from hf_speech.data import make_corpus
from hf_speech.evaluation import EvaluationReport, evaluate_model
from hf_speech.inference import load_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="A run folder, or a Hub id.")
    parser.add_argument("--corpus", default="kaldi", help="The corpus that the model was trained on.")
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--other", default="an4", help="Another corpus.")
    parser.add_argument("--other_dir", required=True)
    options = parser.parse_args()

    own = make_corpus(options.corpus, data_dir=options.data_dir).load()
    known = {text.strip().casefold() for split in ("train", "validation") for text in own[split]["text"]}
    new = [index for index, text in enumerate(own["test"]["text"]) if text.strip().casefold() not in known]
    splits: dict[str, Dataset] = {
        "test": own["test"],
        f"test, without {len(own['test']) - len(new)} utterances of training sentences": own["test"].select(new),
        f"test of {options.other}": make_corpus(options.other, data_dir=options.other_dir).load()["test"],
    }
    loaded = load_model(options.model)
    print(f"| {loaded.name} on | utterances | words | WER | 95% interval | CER |\n|---|--:|--:|--:|--:|--:|")
    for name, rows in splits.items():
        report = evaluate_model(
            loaded, rows, corpus=options.corpus, split=name, command="benchmarks/crossed.py", intervals_over="speakers"
        )
        print(f"| {name} | {row_of(report, rows)} |", flush=True)


def row_of(report: EvaluationReport, rows: Dataset) -> str:
    """Returns the cells of a row after the first."""
    words = sum(len(text.split()) for text in rows["text"])
    low, high = report.confidence["wer"]
    wer, cer = report.metrics["wer"], report.metrics["cer"]
    return f"{len(rows):,} | {words:,} | {wer:.2%} | {low:.1%} to {high:.1%} | {cer:.2%}"


if __name__ == "__main__":
    main()
