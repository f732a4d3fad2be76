"""The experiment of a teacher: recordings whose transcripts are withheld are labeled by a model, and trained on."""

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


def labels_of(name: str) -> PurePosixPath:
    """The table of labels of an item, in the words of a recorded command."""
    return PurePosixPath(RUNS, f"{name}-labels", "labeled.csv")


@dataclass(frozen=True)
class Taught(Item):
    """A training on some transcribed recordings of a corpus, and on what a teacher makes of the others.

    Attributes:
        teacher: A model folder, or the item whose model it is, which has to be run before.
        corpus: The corpus.
        transcribed: The share of its training recordings whose transcripts are used.
    """

    teacher: str = ""
    corpus: str = ""
    transcribed: float = 1.0

    def run(self, folders: ExperimentFolders) -> dict[str, Any]:
        """Labels the recordings and trains, as far as that is missing."""
        labels = self._label(folders)
        return {**super().run(folders), "labels": labels}

    def _label(self, folders: ExperimentFolders) -> dict[str, Any]:
        """Labels the recordings without a transcript, and compares the labels with the transcripts."""
        place = folders.data_dir(self.corpus)
        options = {"data_dir": place[1] if place else None, "validation_fraction": 0}
        used = make_corpus(self.corpus, train_fraction=self.transcribed, **options).load()["train"]["audio"]
        rows = make_corpus(self.corpus, **options).load()["train"]
        known = {audio["path"] for audio in used}
        withheld = {
            str(Path(audio["path"]).absolute()): text
            for audio, text in zip(rows["audio"], rows["text"], strict=True)
            if audio["path"] not in known
        }
        run = folders.runs / self.teacher
        teacher = open_teacher(str(run if run.is_dir() else self.teacher))
        table = Path(folders.placed(str(labels_of(self.name))))
        table.parent.mkdir(parents=True, exist_ok=True)
        label_recordings(teacher, [Path(path) for path in withheld], table)
        with table.open(encoding="utf-8", newline="") as file:
            labels = {str(table.parent / row["path"]): row["text"] for row in csv.DictReader(file)}
        errors = count_errors([withheld[path] for path in labels], list(labels.values()))
        return {"withheld": len(withheld), "labels": len(labels), "wer": float(error_rates(errors.sum(axis=0))["wer"])}
