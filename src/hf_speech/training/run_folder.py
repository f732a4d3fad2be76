"""The run folder of a training: locked while it trains, and bound to one recipe from the first step to the last.

Two trainings in one folder would overwrite each other's checkpoints. The lock is the operating system's, held by the
process itself: it is gone when the process is, however it ended, so that nothing has to be removed by hand.
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
# What a resumed training may change: how long it trains, where files are, and what does not touch the weights.
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
    """Holds the lock of a run folder, which is made if it is missing, and removed again if nothing was put into it.

    Raises:
        TrainingError: If another training holds it, in this process or another.
        FileError: If the folder cannot be written.
    """
    path = run_dir.resolve() / LOCK
    created = not run_dir.exists()
    with contextlib.ExitStack() as stack:
        try:
            run_dir.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(_open_lock(path))
            while not (busy := path in _held or not _try_lock(file)) and not _is_file(path, file):
                file = stack.enter_context(_open_lock(path))  # Its last holder has removed it meanwhile.
        except OSError as error:
            raise file_error(run_dir, error) from error
        if busy:
            raise TrainingError(
                f"Another training is running in {run_dir} ({file.read().strip() or 'its process is unknown'}): wait "
                "for its end, stop it, or choose another folder with --name or --output_dir."
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
                    run_dir.rmdir()  # Fails if the training has put something into it.


def _open_lock(path: Path) -> IO[str]:
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+", encoding="utf-8")


def _is_file(path: Path, file: IO[str]) -> bool:
    """Whether an open file is the one that a path names now."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _try_lock(file: IO[str]) -> bool:
    """Locks a file for this process; False if another process holds the lock."""
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
        # Not flock: processes that load data would inherit it, and hold it for seconds after this one was killed.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:  # A file system without locks.
        print(f"note: {file.name} cannot be locked ({error.strerror}): let only one training use this folder.")
    return True


def check_free(run_dir: Path, overwrite: bool) -> None:
    """Refuses a run folder that is in use, or that is not a run folder and so must not be replaced.

    Raises:
        RecipeError: If it has content and `overwrite` is not set, or it has no recipe.
    """
    if not run_dir.is_dir():
        if run_dir.exists():
            raise RecipeError(f"{run_dir} is a file: choose another folder with --name or --output_dir.")
        return
    if not any(path.name != LOCK for path in run_dir.iterdir()):
        return
    if not overwrite:
        raise RecipeError(
            f"{run_dir} exists: pass --resume to continue it, --overwrite to replace it, or --name for another."
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
    """Writes the recipe and the inspection into the run folder, and removes what this training will write again.

    Args:
        run_dir: The run folder, locked.
        recipe: The resolved recipe.
        report: What the inspection found.
        checkpoint: The checkpoint that training continues from; without one, the old content of the folder goes.
        base: What is recorded of the model that training starts from.

    Raises:
        TrainingError: If training continues, and that model is no longer the one that it started from.
    """
    if checkpoint is not None and base is not None:
        before = read_record(run_dir) or base
        if before["weights"] != base["weights"]:
            raise TrainingError(
                f"{base['name']} is no longer the model that {run_dir} started from ({before['weights']:.16}... "
                f"then, {base['weights']:.16}... now): put the old one back, or train again with --overwrite."
            )
    if checkpoint is None:
        outdated = [path for path in run_dir.iterdir() if path.name != LOCK]
    else:
        newest_first = list_checkpoints(run_dir)
        outdated = newest_first[: newest_first.index(Path(checkpoint))]  # Those that are not whole.
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
    """Lets others read the files of a run folder as far as the user's umask does; safetensors keeps its own private."""
    for path in run_dir.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.stat().st_mode & 0o777 == 0o600:
            path.chmod(0o666 & ~current_umask())


def check_same_recipe(recipe: Recipe, written: Path) -> None:
    """Refuses to continue a run with a recipe that would train something else.

    Raises:
        RecipeError: Naming every key that differs and may not.
    """
    differences = {
        key: values
        for key, values in differing_keys(recipe, written).items()
        if re.sub(r"\.\d+\.", ".", key) not in CHANGEABLE
    }
    if differences:
        listed = "; ".join(f"{key} is {there!r} there and {here!r} here" for key, (there, here) in differences.items())
        raise RecipeError(
            f"{written.parent} was made by another recipe ({listed}): a resumed training may change the number of "
            "epochs, loader processes, folders and what is logged, nothing that decides the weights; leave the change "
            "out, or train into another folder with --name."
        )


def differing_keys(recipe: Recipe, written: Path) -> dict[str, tuple[Any, Any]]:
    """The keys in which a recipe differs from one in a file: the value in the file, and that of the recipe."""
    # Resolved again: an option added since then has its default in an older run.
    there, here = (flatten(yaml.safe_load(each.to_yaml())) for each in (load_recipe(written, to_train=False), recipe))
    return {
        key: (there.get(key), here.get(key))
        for key in sorted(there.keys() | here.keys())
        if there.get(key) != here.get(key)
    }


def flatten(values: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a recipe with their sections, `{"training.seed": 0}`."""
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
