"""The cache of downloaded, unpacked and synthesized corpora, in which each folder is created exactly once.

A folder is built under a name with `.part` and renamed when it is complete, so that an interrupted run never leaves an
incomplete folder under the final name. Of several processes, such as those of `accelerate launch`, one builds the
folder while the others wait for its lock.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from hf_speech.common.digests import digest_bytes, digest_data
from hf_speech.errors import CorpusError


def cache_dir() -> Path:
    """Returns the cache folder: `$HF_SPEECH_CACHE`, or `~/.cache/hf_speech` if it is not set."""
    return Path(os.environ.get("HF_SPEECH_CACHE") or "~/.cache/hf_speech").expanduser()


def digest(sources: Sequence[Mapping[str, Any]], *settings: Any) -> str:
    """Returns a digest of recordings and settings, which names the folder of derived data.

    Args:
        sources: The recordings in order, as in rows of a corpus: a path, or the bytes of a file.
        *settings: All other settings that affect the derived data, as JSON-serializable values.

    Returns:
        Sixteen hexadecimal digits, which change if the size or modification time of any file changes.
    """
    return digest_data(settings, [_state(source) for source in sources])[:16]


def _state(source: Mapping[str, Any]) -> tuple[Any, ...]:
    if source.get("bytes") is not None:
        return (digest_bytes(source["bytes"]),)
    path = Path(source["path"]).absolute()
    state = path.stat()
    return str(path), state.st_size, state.st_mtime_ns


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the lock of a folder, so that only one process at a time writes to it.

    Args:
        folder: The folder, which does not have to exist. Its parent folder is created.

    Raises:
        CorpusError: If the cache cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.with_name(f"{folder.name}.lock"))
        lock.acquire()
    except OSError as error:
        raise CorpusError(
            f"The cache folder {folder.parent} cannot be written ({error.strerror or error}): set HF_SPEECH_CACHE to a "
            "writable folder."
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def build_once(folder: Path) -> Iterator[Path | None]:
    """Builds a folder atomically, unless it exists.

    Args:
        folder: The folder.

    Yields:
        A temporary folder to fill, which is renamed to `folder` when the block ends without an error; None if `folder`
        exists.

    Raises:
        CorpusError: If the cache cannot be written.
    """
    with locked(folder):
        if folder.is_dir():
            yield None
            return
        part = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)  # left by a run that was killed
        part.mkdir()
        try:
            yield part
            part.rename(folder)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
