"""Run folders of interrupted training runs."""

from __future__ import annotations

import shutil
from pathlib import Path


def cut_off(run: Path, folder: Path, step: int) -> Path:
    """Returns a copy of a run without anything written after the checkpoint of a step."""
    shutil.copytree(run, folder)
    for checkpoint in (folder / "checkpoints").iterdir():
        if step_of(checkpoint) > step:
            shutil.rmtree(checkpoint)
    (folder / "model.safetensors").unlink()
    return folder


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])
