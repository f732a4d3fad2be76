"""Which checkpoint a training may continue from: the newest one that is whole.

A checkpoint is a dozen files, written one after the other, and whatever kills a training (a power cut, a full disk, the
scheduler of a cluster) can do it between two of them or in the middle of one. Nothing is marked as finished here: what
is there is looked at, because a mark would only say that writing ended once, not what lies on the disk now.
"""

from __future__ import annotations

import errno
import json
import re
import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from hf_speech.errors import TrainingError

FILES = ("model.safetensors", "optimizer.pt", "scheduler.pt", "trainer_state.json")
_FOLDER = re.compile(r"checkpoint-(\d+)")
_RANDOM_STATES = "rng_state*.pth"
_ALMOST_NOTHING = 1 << 20  # bytes


@dataclass(frozen=True)
class FoundCheckpoint:
    """Where a training continues.

    Attributes:
        folder: The newest whole checkpoint.
        skipped: What is wrong with those that are newer, a sentence each.
    """

    folder: Path
    skipped: tuple[str, ...]


def find_checkpoint(run_dir: Path, also: Sequence[str] = ()) -> FoundCheckpoint:
    """Finds the checkpoint to continue from.

    Args:
        run_dir: The run folder, with checkpoints in `checkpoints/checkpoint-STEP`.
        also: Names of files that this training needs besides those of every checkpoint.

    Raises:
        TrainingError: If there is none that is whole, saying what is wrong with those that are there.
    """
    folder = run_dir / "checkpoints"
    steps = {int(match[1]): path for path in folder.glob("*") if (match := _FOLDER.fullmatch(path.name))}
    skipped: list[str] = []
    for step in sorted(steps, reverse=True):
        fault = what_is_missing(steps[step], also)
        if fault is None:
            return FoundCheckpoint(steps[step], tuple(skipped))
        skipped.append(f"{steps[step]} is not whole ({fault})")
    reasons = f": {'; '.join(skipped)}" if skipped else ""
    raise TrainingError(f"There is no whole checkpoint in {folder} to resume from{reasons}; train without --resume.")


def what_is_missing(checkpoint: Path, also: Sequence[str] = ()) -> str | None:
    """What a checkpoint lacks, in a few words, or `None` if it is whole.

    Args:
        checkpoint: Its folder, `checkpoint-STEP`.
        also: Names of further files that must be there.
    """
    random_states = sorted(path.name for path in checkpoint.glob(_RANDOM_STATES)) or [_RANDOM_STATES]
    others = sorted(path.name for path in checkpoint.glob("*.json") if path.name not in FILES)
    for name in (*FILES, *random_states, *also, *others):
        path = checkpoint / name
        if not path.is_file():
            return f"{name} is missing"
        if not _is_whole(path):
            return f"{name} is cut short"
    state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    if not isinstance(state, dict) or checkpoint.name != f"checkpoint-{state.get('global_step')}":
        return "trainer_state.json belongs to another step"
    return None


def _is_whole(path: Path) -> bool:
    """Whether a file can be read to its end. Nothing is unpickled."""
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt"):  # Compares the lengths in the header with the file's.
                return True
        if path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
            return True
        with zipfile.ZipFile(path) as archive:  # torch.save writes zip archives, which hold check sums.
            return archive.testzip() is None
    except (OSError, ValueError, SafetensorError, zipfile.BadZipFile):
        return False


def disk_is_full(error: BaseException, folder: Path) -> bool:
    """Whether an error while writing into a folder means that its disk is full.

    Python says so by number, safetensors in words, and torch only that its writer failed.
    """
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    if "no space left" in str(error).lower():
        return True
    # Which of them it says depends on how much of the file was written.
    writer_failed = any(words in str(error) for words in ("PytorchStreamWriter", "unexpected pos", "iostream error"))
    return writer_failed and shutil.disk_usage(folder).free < _ALMOST_NOTHING


__all__ = ["FoundCheckpoint", "disk_is_full", "find_checkpoint", "what_is_missing"]
