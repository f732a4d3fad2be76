"""Finds the newest intact checkpoint to resume from.

A checkpoint has a dozen files, and training can be killed between or during their writing (power cut, full disk,
scheduler of a cluster). When all files are written, their digests are written too; they are compared before the
checkpoint is read. A checkpoint without digests (from version 0.1, or killed just before) is checked for missing and
truncated files.
"""

from __future__ import annotations

import errno
import json
import re
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from transformers import TrainerCallback
from transformers.trainer_callback import TrainerControl, TrainerState
from transformers.training_args import TrainingArguments

from hf_speech.common.digests import digest_file
from hf_speech.common.files import write_json
from hf_speech.errors import TrainingError
from hf_speech.training.processes import process_state

DIGESTS_FILE = "sha256.json"
FILES = ("model.safetensors", "optimizer.pt", "scheduler.pt", "trainer_state.json")
_FOLDER = re.compile(r"checkpoint-(\d+)")
_RANDOM_STATES = "rng_state*.pth"
_FULL_DISK_BYTES = 1 << 20  # A disk with less free space is full.


class CheckpointDigests(TrainerCallback):
    """Writes the digests of a checkpoint's files; must be the last callback, because others write files too."""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Waits until all processes have written their files, then writes the digests."""
        process_state().wait_for_everyone()
        if state.is_world_process_zero:
            write_digests(checkpoint_folder(args, state))


def checkpoint_folder(args: TrainingArguments, state: TrainerState) -> Path:
    """Returns the checkpoint folder of the current step."""
    return Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"


def write_digests(checkpoint: Path) -> None:
    """Writes the digests of all files of a checkpoint."""
    files = sorted(path for path in checkpoint.rglob("*") if path.is_file() and path.name != DIGESTS_FILE)
    write_json(
        checkpoint / DIGESTS_FILE, {path.relative_to(checkpoint).as_posix(): digest_file(path) for path in files}
    )


def list_checkpoints(run_dir: Path) -> list[Path]:
    """Returns the checkpoints of a run folder, the newest first."""
    by_step = {
        int(match[1]): path for path in (run_dir / "checkpoints").glob("*") if (match := _FOLDER.fullmatch(path.name))
    }
    return [by_step[step] for step in sorted(by_step, reverse=True)]


def find_checkpoint(run_dir: Path, also: Sequence[str] = ()) -> tuple[Path, list[str]]:
    """Finds the checkpoint to resume from.

    Args:
        run_dir: The run folder, with checkpoints in `checkpoints/checkpoint-STEP`.
        also: Names of additional files that this training needs.

    Returns:
        The newest intact checkpoint, and a message about each newer one that is damaged.

    Raises:
        TrainingError: If no checkpoint is intact; the message lists the damaged ones.
    """
    skipped: list[str] = []
    for checkpoint in list_checkpoints(run_dir):
        fault = find_fault(checkpoint, also)
        if fault is None:
            return checkpoint, skipped
        skipped.append(f"{checkpoint} is damaged ({fault})")
    reasons = f": {'; '.join(skipped)}" if skipped else ""
    raise TrainingError(
        f"There is no intact checkpoint in {run_dir / 'checkpoints'} to resume from{reasons}; train without --resume."
    )


def find_fault(checkpoint: Path, also: Sequence[str] = ()) -> str | None:
    """Returns a short description of the damage to a checkpoint, or None if it is intact. Nothing is unpickled."""
    random_states = sorted(path.name for path in checkpoint.glob(_RANDOM_STATES)) or [_RANDOM_STATES]
    others = sorted(path.name for path in checkpoint.glob("*.json") if path.name not in (*FILES, DIGESTS_FILE))
    for name in (*FILES, *random_states, *also, *others):
        path = checkpoint / name
        if not path.is_file():
            return f"{name} is missing"
        if not _is_whole(path):
            return f"{name} is cut short"
    state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    if not isinstance(state, dict) or checkpoint.name != f"checkpoint-{state.get('global_step')}":
        return "trainer_state.json belongs to another step"
    if not (checkpoint / DIGESTS_FILE).exists():
        return None
    try:
        return _compare_digests(checkpoint)
    except (OSError, ValueError, RecursionError):
        return f"{DIGESTS_FILE} cannot be read"


def _compare_digests(checkpoint: Path) -> str | None:
    """Returns a description of the first file that does not match its digest, or None."""
    digests = json.loads((checkpoint / DIGESTS_FILE).read_text(encoding="utf-8"))
    if not isinstance(digests, dict):
        return f"{DIGESTS_FILE} cannot be read"
    for name, digest in digests.items():
        path = checkpoint / name
        if not path.is_file():
            return f"{name} is missing"
        if digest_file(path) != digest:
            return f"{name} is damaged"
    added = {path.name for path in checkpoint.iterdir() if path.suffix in (".pt", ".pth", ".bin", ".safetensors")}
    return next((f"{name} does not belong to it" for name in sorted(added - digests.keys())), None)


def _is_whole(path: Path) -> bool:
    """Returns whether a file is complete. Nothing is unpickled."""
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt"):  # Compares the lengths in the header with the file's.
                return True
        if path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
            return True
        with zipfile.ZipFile(path) as archive:  # torch.save writes zip archives with checksums.
            return archive.testzip() is None
    except (OSError, ValueError, RecursionError, SafetensorError, zipfile.BadZipFile):
        return False


def disk_is_full(error: BaseException, folder: Path) -> bool:
    """Returns whether an error while writing to a folder means that the disk is full.

    Python reports a full disk by number, safetensors in words, and PyTorch only reports that its writer failed.
    """
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    if "no space left" in str(error).lower():
        return True
    # The error depends on how much of the file was written.
    writer_failed = any(words in str(error) for words in ("PytorchStreamWriter", "unexpected pos", "iostream error"))
    return writer_failed and shutil.disk_usage(folder).free < _FULL_DISK_BYTES
