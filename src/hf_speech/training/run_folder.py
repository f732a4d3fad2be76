"""The run folder of a training, locked during training and bound to one recipe.

Two trainings in one folder would overwrite each other's checkpoints. The operating system releases the lock when the
process ends for any reason, so nothing has to be removed by hand.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import yaml

from hf_speech.common.files import current_umask, file_error, write_json, write_text
from hf_speech.data.reports import InspectionReport
from hf_speech.errors import RecipeError, TrainingError
from hf_speech.training.checkpoints import list_checkpoints
from hf_speech.training.recipe import Recipe, load_recipe
from hf_speech.training.warm_start import BASE_MODEL, read_record

LOCK = "training.lock"
# Keys that resumed training may change: its length, locations of files, and options that do not affect the weights.
CHANGEABLE = frozenset(
    {
        "name",
        "corpus.data_dir",
        "augmentation.noise_folder",
        "augmentation.rooms",
        *(
            f"training.{key}"
            for key in (
                *("num_train_epochs", "max_steps", "min_steps", "early_stopping_patience", "load_best_model_at_end"),
                *("per_device_eval_batch_size", "dataloader_num_workers", "cpu_threads", "cache_features"),
                *("logging_steps", "save_total_limit", "report_to", "gradient_histograms", "profile"),
                "nonfinite_loss",
            )
        ),
    }
)
_held: set[Path] = set()


@contextlib.contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """Holds the lock of a run folder. Creates a missing folder, and removes it if it stays empty.

    Raises:
        TrainingError: If another training holds the lock, in this process or another.
        FileError: If the folder cannot be written.
    """
    path = run_dir.resolve() / LOCK
    created = not run_dir.exists()
    with contextlib.ExitStack() as stack:
        try:
            run_dir.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(_open_lock(path))
            while not (busy := path in _held or not _try_lock(file)) and not _is_file(path, file):
                file = stack.enter_context(_open_lock(path))  # The previous holder has removed the file meanwhile.
        except OSError as error:
            raise file_error(run_dir, error) from error
        if busy:
            raise TrainingError(
                f"Another training is running in {run_dir} ({file.read().strip() or 'unknown process'}): wait for it "
                "to end, stop it, or choose another folder with --name or --output_dir."
            )
        _held.add(path)
        try:
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            file.flush()
            yield
        finally:
            _held.discard(path)
            with contextlib.suppress(OSError):
                path.unlink()
                if created:
                    run_dir.rmdir()  # Fails unless the folder is empty.


def _open_lock(path: Path) -> IO[str]:
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+", encoding="utf-8")


def _is_file(path: Path, file: IO[str]) -> bool:
    """Returns whether a path still refers to an open file."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _try_lock(file: IO[str]) -> bool:
    """Locks a file for this process; returns False if another process holds the lock."""
    try:
        import fcntl
    except ImportError:  # Windows.
        import msvcrt

        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError:
            return False
        return True
    try:
        # Not flock: loader processes would inherit the lock, and hold it for seconds after this process was killed.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:  # The file system does not support locks.
        print(f"note: {file.name} cannot be locked ({error.strerror}): run only one training in this folder.")
    return True


def check_free(run_dir: Path, overwrite: bool) -> None:
    """Checks that training may write to a folder.

    Raises:
        RecipeError: If the folder has content and `overwrite` is not set, or the content is not a run.
    """
    if not run_dir.is_dir():
        if run_dir.exists():
            raise RecipeError(f"{run_dir} is a file: choose another folder with --name or --output_dir.")
        return
    if not any(path.name != LOCK for path in run_dir.iterdir()):
        return
    if not overwrite:
        raise RecipeError(
            f"{run_dir} exists: add --resume to continue it, --overwrite to replace it, or --name for another folder."
        )
    if not (run_dir / "recipe.yaml").is_file():
        raise RecipeError(f"{run_dir} is not a run folder (it has no recipe.yaml), so it is not overwritten.")


def begin(
    run_dir: Path,
    recipe: Recipe,
    report: InspectionReport,
    checkpoint: str | None,
    base: dict[str, Any] | None = None,
) -> None:
    """Writes the recipe and the inspection to the run folder, and removes outdated files.

    Args:
        run_dir: The run folder, locked.
        recipe: The resolved recipe.
        report: The report of the inspection.
        checkpoint: The checkpoint that training resumes from; if None, all old files are removed.
        base: The record of the model to start from.

    Raises:
        TrainingError: If training resumes, but the model to start from has changed.
    """
    if checkpoint is not None and base is not None:
        earlier = read_record(run_dir) or base
        if earlier["weights"] != base["weights"]:
            raise TrainingError(
                f"{base['name']} is no longer the model that {run_dir} started from ({earlier['weights']:.16}... "
                f"then, {base['weights']:.16}... now): restore the old one, or train again with --overwrite."
            )
    if checkpoint is None:
        outdated = [path for path in run_dir.iterdir() if path.name != LOCK]
    else:
        newest_first = list_checkpoints(run_dir)
        outdated = newest_first[: newest_first.index(Path(checkpoint))]  # Damaged checkpoints.
    for path in outdated:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    write_text(run_dir / "recipe.yaml", recipe.to_yaml())
    write_json(run_dir / "inspection.json", report.to_dict())
    if base is not None:
        write_json(run_dir / BASE_MODEL, base)


def share(run_dir: Path) -> None:
    """Applies the user's umask to the files of a run folder, because safetensors creates private files."""
    for path in run_dir.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.stat().st_mode & 0o777 == 0o600:
            path.chmod(0o666 & ~current_umask())


def check_same_recipe(recipe: Recipe, written: Path) -> None:
    """Checks that a recipe may continue a run.

    Raises:
        RecipeError: If keys differ that resumed training must not change; the message lists them.
    """
    differences = {
        key: values
        for key, values in differing_keys(recipe, written).items()
        if re.sub(r"\.\d+\.", ".", key) not in CHANGEABLE
    }
    if differences:
        listed = "; ".join(f"{key} is {new!r}, but was {old!r}" for key, (old, new) in differences.items())
        raise RecipeError(
            f"{written.parent} was trained with another recipe ({listed}), and resumed training must not change "
            "options that affect the weights: undo the change, or train in another folder with --name."
        )


def differing_keys(recipe: Recipe, written: Path) -> dict[str, tuple[Any, Any]]:
    """Returns the keys in which a recipe differs from one in a file, with the old and the new value."""
    # Loading the file fills in the defaults of options that are newer than the run.
    old, new = (flatten(yaml.safe_load(each.to_yaml())) for each in (load_recipe(written, to_train=False), recipe))
    return {
        key: (old.get(key), new.get(key)) for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)
    }


def flatten(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values of a recipe by dotted key, `{"training.seed": 0}`."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            for inner, content in value.items():
                if isinstance(content, list) and content and all(isinstance(entry, Mapping) for entry in content):
                    for number, entry in enumerate(content):  # The corpora of a mixture.
                        flat |= {f"{key}.{number}.{name}": each for name, each in entry.items()}
                else:
                    flat[f"{key}.{inner}"] = content
        else:
            flat[key] = value
    return flat
