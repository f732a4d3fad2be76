"""An experiment with pseudo-labels: a teacher labels recordings whose transcripts are withheld, for training."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from hf_speech.data import make_corpus
from hf_speech.experiments.suite import RUNS, ExperimentFolders, Item
from hf_speech.inference.labeling import label_recordings
from hf_speech.inference.teachers import open_teacher
from hf_speech.tasks.metrics import count_errors, error_rates


def labels_path(name: str) -> PurePosixPath:
    """Returns the path of an item's table of labels, as recorded commands give it."""
    return PurePosixPath(RUNS, f"{name}-labels", "labeled.csv")


@dataclass(frozen=True)
class PseudoLabelItem(Item):
    """A training on part of a corpus with its transcripts, and on the rest with a teacher's labels.

    Attributes:
        teacher: A model folder, or the name of the item that trains the teacher, which must be run first.
        corpus: Name of the corpus.
        transcribed: Share of the training recordings whose transcripts are used.
    """

    teacher: str = ""
    corpus: str = ""
    transcribed: float = 1.0

    def run(self, folders: ExperimentFolders) -> dict[str, Any]:
        """Labels the recordings and trains, skipping what is already done."""
        labels = self._label(folders)
        return {**super().run(folders), "labels": labels}

    def _label(self, folders: ExperimentFolders) -> dict[str, Any]:
        """Labels the recordings whose transcripts are withheld, and computes the word error rate of the labels."""
        data_dir = folders.data_dir(self.corpus)
        options = {"data_dir": data_dir[1] if data_dir else None, "validation_fraction": 0}
        transcribed = make_corpus(self.corpus, train_fraction=self.transcribed, **options).load()["train"]["audio"]
        rows = make_corpus(self.corpus, **options).load()["train"]
        transcribed_paths = {audio["path"] for audio in transcribed}
        withheld = {
            str(Path(audio["path"]).absolute()): text
            for audio, text in zip(rows["audio"], rows["text"], strict=True)
            if audio["path"] not in transcribed_paths
        }
        run = folders.runs / self.teacher
        teacher = open_teacher(str(run if run.is_dir() else self.teacher))
        table = Path(folders.resolve(str(labels_path(self.name))))
        table.parent.mkdir(parents=True, exist_ok=True)
        label_recordings(teacher, [Path(path) for path in withheld], table)
        with table.open(encoding="utf-8", newline="") as file:
            labels = {str(table.parent / row["path"]): row["text"] for row in csv.DictReader(file)}
        errors = count_errors([withheld[path] for path in labels], list(labels.values()))
        return {"withheld": len(withheld), "labels": len(labels), "wer": float(error_rates(errors.sum(axis=0))["wer"])}
