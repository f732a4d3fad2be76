"""The cache of downloaded, unpacked and synthesized corpora; each folder is created exactly once.

A corpus is made in a `.part` folder and renamed when it is complete, so that an interrupted run leaves nothing that
looks finished. A lock lets the processes of one `accelerate launch` wait for the first instead of all doing the work.
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
    """The cache folder: `$HF_SPEECH_CACHE`, or else `~/.cache/hf_speech`."""
    return Path(os.environ.get("HF_SPEECH_CACHE") or "~/.cache/hf_speech").expanduser()


def digest(sources: Sequence[Mapping[str, Any]], *settings: Any) -> str:
    """Names what is made of recordings: by the settings of its making and by the state of every recording.

    Args:
        sources: Recordings as rows of a corpus have them, in their order: a path, or the bytes of a file.
        *settings: Whatever else decides about the result, as JSON can write it.

    Returns:
        Sixteen hexadecimal digits; others for another size or time of change of any file.
    """
    return digest_data(settings, [_state(source) for source in sources])[:16]


def _state(source: Mapping[str, Any]) -> tuple[Any, ...]:
    if source.get("bytes") is not None:
        return (digest_bytes(source["bytes"]),)
    path = Path(source["path"]).absolute()
    state = path.stat()
    return str(path), state.st_size, state.st_mtime_ns


@contextmanager
def build_once(folder: Path, resumes: bool = False) -> Iterator[Path | None]:
    """Make a folder once, whole or not at all.

    Args:
        folder: The folder.
        resumes: Whether what an interrupted run has put into it is kept, for the next one to go on.

    Yields:
        A new empty folder to fill, which becomes `folder` when the block ends without an error; None if `folder` is
        there already and nothing is to be done.

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
            "folder that can."
        ) from error
    try:
        if folder.is_dir():
            yield None
            return
        part = folder.with_name(f"{folder.name}.part")
        if not resumes:
            shutil.rmtree(part, ignore_errors=True)  # of a run that was killed
        part.mkdir(exist_ok=resumes)
        try:
            yield part
            part.rename(folder)
        except BaseException:
            if not resumes:
                shutil.rmtree(part, ignore_errors=True)
            raise
    finally:
        lock.release()
