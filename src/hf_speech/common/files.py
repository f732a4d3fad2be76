"""Atomic file writes: each file is written next to its target and then renamed.

Every file that this package writes for a user goes through `write_text`, `write_json`, `write_bytes` or `replacing`.
A full or read-only disk, or an invalid target, raises a one-sentence error that names the file.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hf_speech.errors import HFSpeechError

REASONS = {
    errno.ENOSPC: "the disk is full: free some space",
    errno.EDQUOT: "your disk quota is used up: free some space",
    errno.EROFS: "the file system is read-only: choose another folder",
    errno.EACCES: "permission is denied: choose another folder",
    errno.EPERM: "it is not permitted: choose another folder",
    errno.ENOENT: "there is no such file or folder",
    errno.EISDIR: "it is a folder: give the name of a file",
    errno.ENOTDIR: "a part of its path is a file: choose another folder",
    errno.EEXIST: "a part of its path is a file or a broken link: choose another folder",
    errno.ENAMETOOLONG: "its name is too long: choose a shorter one",
    errno.ELOOP: "its path is a loop of symbolic links: choose another one",
}


class FileError(HFSpeechError):
    """Raised when a file or folder cannot be written."""


def file_error(path: str | os.PathLike[str], error: BaseException) -> FileError:
    """Returns the error to raise when the operating system refuses to write `path`."""
    return FileError(f"{os.fspath(path)!r} cannot be written: {_reason(error)}.")


def describe_os_error(error: OSError) -> str:
    """Returns a one-sentence message for an operating-system error that no other code has explained."""
    if error.errno is None:  # Raised by a library, with its own message.
        return str(error)
    subject = f"{os.fsdecode(error.filename)!r} cannot be used: " if isinstance(error.filename, str | bytes) else ""
    sentence = f"{subject}{_reason(error)}."
    return sentence[0].upper() + sentence[1:]


def _reason(error: BaseException) -> str:
    """Returns the cause of an operating-system error, and its remedy."""
    code = getattr(error, "errno", None)
    known = None if code is None else REASONS.get(code)
    return known or f"{getattr(error, 'strerror', None) or error}: choose another path"


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary path next to `path`, and moves it to `path` if the block ends without an error.

    Missing parent folders are created. The file gets the permissions that `open` would give it, not the private ones of
    `tempfile`. After an error, the temporary file is removed and `path` is unchanged.

    Raises:
        FileError: If the operating system reports an error.
    """
    target = Path(path)
    part: Path | None = None
    try:
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".", suffix=target.suffix or ".part", dir=target.parent)
        os.close(handle)
        part = Path(name)
        yield part
        part.chmod(target.stat().st_mode & 0o7777 if target.exists() else 0o666 & ~current_umask())
        os.replace(part, target)
        part = None
    except FileError as error:
        # The block may itself use `replacing` to write the temporary file.
        if part is None or not str(error).startswith(repr(str(part))) or error.__cause__ is None:
            raise
        raise file_error(path, error.__cause__) from error
    except (OSError, ValueError) as error:
        # The standard library raises ValueError for a null byte in a path. Any other ValueError comes from the block.
        if isinstance(error, ValueError) and "null" not in str(error):
            raise
        raise file_error(path, error) from error
    finally:
        if part is not None:
            part.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_all(*paths: Path) -> Iterator[list[Path]]:
    """Like `replacing`, for several files: an error in the block leaves all of them unchanged.

    Raises:
        FileError: If the operating system reports an error.
    """
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(replacing(path)) for path in paths]


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Replaces a file's content.

    Raises:
        FileError: If the operating system reports an error; the file is unchanged.
    """
    with replacing(path) as part:
        part.write_bytes(content)


def write_text(path: str | os.PathLike[str], content: str) -> None:
    """Replaces a file's content with UTF-8 text, without changing line ends.

    Raises:
        FileError: If the operating system reports an error; the file is unchanged.
    """
    write_bytes(path, content.encode("utf-8"))


def write_json(path: str | os.PathLike[str], content: Any, indent: int | None = 2) -> None:
    """Replaces a file's content with UTF-8 JSON and a final line feed.

    Raises:
        FileError: If the operating system reports an error; the file is unchanged.
    """
    write_text(path, json.dumps(content, indent=indent, ensure_ascii=False) + "\n")


def bundled_folder(name: str) -> Path:
    """Returns a folder of the distribution: inside the installed package, or at the top of a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / name
    return installed if installed.is_dir() else package.parents[1] / name


def current_umask() -> int:
    """Returns the umask of the process, which can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def file_size(count: float) -> str:
    """Formats a number of bytes, such as `1.5 MB`."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
