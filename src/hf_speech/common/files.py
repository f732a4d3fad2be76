"""Writing files: in UTF-8, next to the target, then renamed, so that no reader ever sees half a file.

Every file that this package writes for a user goes through `write_text`, `write_json`, `write_bytes` or `replacing`.
A disk that is full or read-only, and a target that cannot be a file, end in one sentence that names the file.
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
    """A file or folder that cannot be written."""


def file_error(path: str | os.PathLike[str], error: BaseException) -> FileError:
    """The sentence for an operating-system error on writing `path`."""
    return FileError(f"{os.fspath(path)!r} cannot be written: {_reason(error)}.")


def describe_os_error(error: OSError) -> str:
    """The sentence for an operating-system error that nothing closer to its cause has explained."""
    if error.errno is None:  # Raised by a library, with its own message.
        return str(error)
    name = f"{os.fsdecode(error.filename)!r} cannot be used: " if isinstance(error.filename, str | bytes) else ""
    sentence = f"{name}{_reason(error)}."
    return sentence[0].upper() + sentence[1:]


def _reason(error: BaseException) -> str:
    """The operating system's message, and how to fix it."""
    code = getattr(error, "errno", None)
    known = None if code is None else REASONS.get(code)
    return known or f"{getattr(error, 'strerror', None) or error}: choose another path"


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path next to `path`, which replaces it when the block ends without an error.

    Missing parent folders are made. The file gets the permissions that a plain `open` would give it, where `tempfile`
    would keep it from other users. After an error the temporary file is removed and `path` is what it was.

    Raises:
        FileError: If the operating system refuses.
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
        # The block may write the temporary file by `replacing`, too.
        if part is None or not str(error).startswith(repr(str(part))) or error.__cause__ is None:
            raise
        raise file_error(path, error.__cause__) from error
    except (OSError, ValueError) as error:
        # The standard library raises ValueError for a null byte in a path; other ones are the block's own.
        if isinstance(error, ValueError) and "null" not in str(error):
            raise
        raise file_error(path, error) from error
    finally:
        if part is not None:
            part.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_all(*paths: Path) -> Iterator[list[Path]]:
    """Like `replacing`, for files that belong together: after an error, none of them is replaced.

    Raises:
        FileError: If the operating system refuses.
    """
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(replacing(path)) for path in paths]


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Replaces a file's content.

    Raises:
        FileError: If the operating system refuses; the file is what it was.
    """
    with replacing(path) as part:
        part.write_bytes(content)


def write_text(path: str | os.PathLike[str], content: str) -> None:
    """Replaces a file's content by text in UTF-8, with line feeds as given.

    Raises:
        FileError: If the operating system refuses; the file is what it was.
    """
    write_bytes(path, content.encode("utf-8"))


def write_json(path: str | os.PathLike[str], content: Any, indent: int | None = 2) -> None:
    """Replaces a file's content by JSON in UTF-8 that ends in a line feed.

    Raises:
        FileError: If the operating system refuses; the file is what it was.
    """
    write_text(path, json.dumps(content, indent=indent, ensure_ascii=False) + "\n")


def bundled_folder(name: str) -> Path:
    """A folder that comes with the package: inside the installed package, or at the top of a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / name
    return installed if installed.is_dir() else package.parents[1] / name


def current_umask() -> int:
    """The process's mask of permissions, which can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def file_size(count: float) -> str:
    """Bytes in the unit that suits them."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
