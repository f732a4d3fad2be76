"""Finds local paths and e-mail addresses, so that neither is published by accident.

Local paths are absolute paths in folders that usually hold users' files, paths on Windows drives and network shares,
home folders (`~anna/x`), remote paths of `scp` (`anna@host:/x`), and the folders of this machine. Paths that exist on
every machine (`/usr/bin`) are allowed.
"""

from __future__ import annotations

import functools
import os
import re
import tempfile
from pathlib import Path

from hf_speech.errors import PublishError
from hf_speech.publishing.checks.texts import IN_BYTES, locate, texts_of
from hf_speech.publishing.checks.upload import CARD, Upload

# Top-level folders that hold users' files on some system.
_ROOTS = (
    *("home", "Users", "root", "tmp", "mnt", "media", "data", "scratch", "work", "workspace", "workspaces", "content"),
    *("kaggle", "private", "var/folders", "var/tmp", "Volumes", "gpfs", "lustre", "nfs", "storage", "projects", "net"),
    *("export", "exports", "cluster", "afs", "beegfs", "ceph", "dbfs", "nobackup", "proj", "project", "shared"),
    *("share", "teamspace", "users", "vol", "volume1", "work1", "scratch1", "datasets", "cvmfs", "efs", "fsx", "raid"),
    "home2",
)
# Top-level folders that are the same on every machine.
_PUBLIC = frozenset(
    {"bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "libx32", "lost+found", "opt", "proc", "run", "sbin"}
    | {"srv", "sys", "usr", "var"}
)
_NAME = r"[\w.@+~=-]+"
_BACKSLASH = r"\\{1,2}"  # JSON doubles it.
_WINDOWS = rf"\b(?:[A-Za-z]:{_BACKSLASH}|[A-Zcd]:/)(?:{_NAME}(?:{_BACKSLASH}|/))+{_NAME}"
_SHARE = rf"(?<![\\\w])\\{{2,4}}[\w.-]{{2,}}{_BACKSLASH}[\w.$-]{{2,}}(?:{_BACKSLASH}{_NAME})*"
_USER_HOME = rf"(?<![\w./~\\-])~[a-z][\w-]*(?:/{_NAME})+"
_SCP = rf"(?<![\w./:@-])(?!git@)[\w.-]+@[\w.-]+:~?/?{_NAME}(?:/{_NAME})+"
_EMAIL = re.compile(r"(?<![\w.+/:@-])[A-Za-z0-9][\w.+-]*@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}(?![\w@:-])")
# 256 MB of random bytes, such as compressed audio or pixels, contain 114 matches like `~f/x`, none over 8 characters.
_MIN_LENGTH_IN_BYTES = 14
# Example addresses, and addresses that nobody reads.
_PLACEHOLDER_EMAIL = re.compile(
    r"@(?:.*\.)?(?:example\.(?:com|org|net)|example|noreply\.github\.com|localhost)$|^(?:git|noreply)@"
)
# Files in which an address is given on purpose.
_MAY_HAVE_EMAILS = re.compile(r"LICENSE.*|NOTICE|CITATION.*|README\.md")


def check(upload: Upload) -> None:
    """Rejects files that contain a path of this machine or an e-mail address."""
    for path in upload.files():
        name = upload.name(path)
        for text, where in texts_of(path):
            min_length = _MIN_LENGTH_IN_BYTES if where == IN_BYTES else 0
            if (local_path := find_path(text, min_length)) is not None:
                at = locate(where, local_path[1])
                raise PublishError(
                    f"{name}{at}, names {local_path[0]}, a place on this machine: write a relative path instead."
                )
            if _MAY_HAVE_EMAILS.fullmatch(path.name) or (upload.kind != "model" and path.name == CARD):
                continue
            if (address := find_email(text, min_length)) is not None:
                raise PublishError(f"{name}{locate(where, address[1])}, has an e-mail address: remove it.")


def find_path(text: str, min_length: int = 0) -> tuple[str, int] | None:
    """Returns the first local path and its line, counted from 1.

    Paths that do not begin with a slash must have at least `min_length` characters.
    """
    for match in _paths().finditer(text) if _may_contain_path(text) else ():
        if len(match.group()) >= min_length or match.group().startswith("/"):
            return match.group(), text.count("\n", 0, match.start()) + 1
    return None


def find_email(text: str, min_length: int = 0) -> tuple[str, int] | None:
    """Returns the first e-mail address that is not a placeholder, and its line, counted from 1."""
    for match in _EMAIL.finditer(text) if "@" in text else ():
        if len(match.group()) >= min_length and not _PLACEHOLDER_EMAIL.search(match.group()):
            return match.group(), text.count("\n", 0, match.start()) + 1
    return None


def shorten_paths(text: str) -> str:
    """Replaces each local path by `path/to/NAME`."""
    if not _may_contain_path(text):
        return text
    return _paths().sub(lambda match: "path/to/" + re.split(r"[\\/]+", match.group().rstrip("\\/"))[-1], text)


def anonymize(text: str) -> str:
    """Shortens local paths and replaces each e-mail address by `name@example.org`."""
    text = shorten_paths(text)
    return _EMAIL.sub(
        lambda match: match.group() if _PLACEHOLDER_EMAIL.search(match.group()) else "name@example.org", text
    )


def _may_contain_path(text: str) -> bool:
    """Returns quickly for long texts without paths, such as language models."""
    return "/" in text or "\\" in text


def _paths() -> re.Pattern[str]:
    """Returns the pattern of local paths, in the usual folders and in those of this machine."""
    folders = (str(Path.home()), os.getcwd(), tempfile.gettempdir())
    return _compile_paths(tuple(sorted(folder for folder in folders if len(Path(folder).parts) > 1)))


@functools.lru_cache(maxsize=8)
def _compile_paths(folders: tuple[str, ...]) -> re.Pattern[str]:
    try:
        own = [entry.name for entry in os.scandir("/") if entry.is_dir() and entry.name not in _PUBLIC]
    except OSError:  # Not a POSIX system.
        own = []
    roots = "|".join(re.escape(root) for root in sorted({*_ROOTS, *own}, key=len, reverse=True))
    exact = "|".join(re.escape(folder) for folder in sorted(folders, key=len, reverse=True))
    # Not in the middle of a relative path, a URL or a tag.
    before = r"(?:(?<=file://)|(?<![\w./<~\\-]))"
    posix = rf"{before}/(?:{roots})/{_NAME}(?:/{_NAME})*/?"
    patterns = [_SCP, posix, _WINDOWS, _SHARE, _USER_HOME]
    return re.compile("|".join([*patterns, *([rf"{before}(?:{exact})(?![\w-])"] if exact else [])]))
