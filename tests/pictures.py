"""Replaces pictures by copies, because drawing takes a third of a short training run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

PICTURE = (Path(__file__).resolve().parent.parent / "pretrained" / "an4" / "curves.png").read_bytes()


def copy_pictures(patch: pytest.MonkeyPatch) -> None:
    """Makes training and evaluation write `PICTURE` instead of curves and confusion matrices."""

    def curves(log: Any, path: Path, *arguments: Any, **options: Any) -> None:
        Path(path).write_bytes(PICTURE)

    def matrix(names: Any, counts: Any, path: Path, **options: Any) -> None:
        Path(path).write_bytes(PICTURE)

    patch.setattr("hf_speech.training.run.plot_training_curves", curves)
    patch.setattr("hf_speech.evaluation.report.plot_confusion_matrix", matrix)
