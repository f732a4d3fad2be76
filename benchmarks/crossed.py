"""How well does a recognizer generalize? New sentences, and another corpus.

The word error rate of a model on the test split of the corpus it was trained on, on the part of that split whose
sentences do not occur in train, and on the test split of another corpus. These numbers are not used for any choice.

    python benchmarks/crossed.py MODEL --data_dir DIR [--corpus kaldi] --other an4 --other_dir DIR

Intervals resample whole speakers, to measure how well the model does on other speakers.
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
    parser.add_argument("--corpus", default="kaldi", help="The corpus it was trained on.")
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--other", default="an4", help="Another corpus.")
    parser.add_argument("--other_dir", required=True)
    options = parser.parse_args()

    own = make_corpus(options.corpus, data_dir=options.data_dir).load()
    said = {text.strip().casefold() for split in ("train", "validation") for text in own[split]["text"]}
    new = [index for index, text in enumerate(own["test"]["text"]) if text.strip().casefold() not in said]
    splits: dict[str, Dataset] = {
        "test": own["test"],
        f"test, without the {len(own['test']) - len(new)} utterances of sentences in train": own["test"].select(new),
        f"test of {options.other}": make_corpus(options.other, data_dir=options.other_dir).load()["test"],
    }
    loaded = load_model(options.model)
    print(f"| {loaded.name} on | utterances | words | WER | 95 % interval | CER |\n|---|--:|--:|--:|--:|--:|")
    for name, rows in splits.items():
        report = evaluate_model(
            loaded, rows, corpus=options.corpus, split=name, command="benchmarks/crossed.py", intervals_over="speakers"
        )
        print(f"| {name} | {row_of(report, rows)} |", flush=True)


def row_of(report: EvaluationReport, rows: Dataset) -> str:
    """The other cells of a row."""
    words = sum(len(text.split()) for text in rows["text"])
    low, high = report.confidence["wer"]
    wer, cer = report.metrics["wer"], report.metrics["cer"]
    return f"{len(rows):,} | {words:,} | {wer:.2%} | {low:.1%} to {high:.1%} | {cer:.2%}"


if __name__ == "__main__":
    main()
