"""Refuses local paths and e-mail addresses, so that neither is published by accident.

Recognized are absolute paths in folders that usually hold users' files, Windows drives and network shares, home
folders of others (`~anna/x`), copies between machines (`anna@host:/x`), and the folders of this machine. Paths that
every machine has (`/usr/bin`) are not secret.
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

# Folders that hold users' files on some system.
_ROOTS = (
    *("home", "Users", "root", "tmp", "mnt", "media", "data", "scratch", "work", "workspace", "workspaces", "content"),
    *("kaggle", "private", "var/folders", "var/tmp", "Volumes", "gpfs", "lustre", "nfs", "storage", "projects", "net"),
    *("export", "exports", "cluster", "afs", "beegfs", "ceph", "dbfs", "nobackup", "proj", "project", "shared"),
    *("share", "teamspace", "users", "vol", "volume1", "work1", "scratch1", "datasets", "cvmfs", "efs", "fsx", "raid"),
    "home2",
)
# Those that are the same on every machine.
_PUBLIC = frozenset(
    {"bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "libx32", "lost+found", "opt", "proc", "run", "sbin"}
    | {"srv", "sys", "usr", "var"}
)
_NAME = r"[\w.@+~=-]+"
_BACKSLASH = r"\\{1,2}"  # Two of them in JSON.
_WINDOWS = rf"\b(?:[A-Za-z]:{_BACKSLASH}|[A-Zcd]:/)(?:{_NAME}(?:{_BACKSLASH}|/))+{_NAME}"
_SHARE = rf"(?<![\\\w])\\{{2,4}}[\w.-]{{2,}}{_BACKSLASH}[\w.$-]{{2,}}(?:{_BACKSLASH}{_NAME})*"
_OF_A_USER = rf"(?<![\w./~\\-])~[a-z][\w-]*(?:/{_NAME})+"
_COPY = rf"(?<![\w./:@-])(?!git@)[\w.-]+@[\w.-]+:~?/?{_NAME}(?:/{_NAME})+"
_EMAIL = re.compile(r"(?<![\w.+/:@-])[A-Za-z0-9][\w.+-]*@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}(?![\w@:-])")
# 256 MB of random bytes, as compressed sound and pixels look, contain 114 things like `~f/x`, of 8 characters at most.
_SHORTEST_IN_BYTES = 14
# Addresses for examples, and those that nobody reads.
_NOBODY = re.compile(
    r"@(?:.*\.)?(?:example\.(?:com|org|net)|example|noreply\.github\.com|localhost)$|^(?:git|noreply)@"
)
# Where an address is given on purpose.
_MAY_NAME_ADDRESSES = re.compile(r"LICENSE.*|NOTICE|CITATION.*|README\.md")


def check(upload: Upload) -> None:
    """Refuses files that say where things lie on this machine, or give somebody's e-mail address."""
    for path in upload.files():
        name = upload.name(path)
        for text, where in texts_of(path):
            shortest = _SHORTEST_IN_BYTES if where == IN_BYTES else 0
            if (place := find_path(text, shortest)) is not None:
                at = locate(where, place[1])
                raise PublishError(
                    f"{name}{at}, names {place[0]}, a place on this machine: write a relative path instead."
                )
            if _MAY_NAME_ADDRESSES.fullmatch(path.name) or (upload.kind != "model" and path.name == CARD):
                continue
            if (address := find_email(text, shortest)) is not None:
                raise PublishError(f"{name}{locate(where, address[1])}, has an e-mail address: take it out.")


def find_path(text: str, shortest: int = 0) -> tuple[str, int] | None:
    """The first local path and its line, from 1; relative ones count from `shortest` characters on."""
    for match in _paths().finditer(text) if _may_name_a_path(text) else ():
        if len(match.group()) >= shortest or match.group().startswith("/"):
            return match.group(), text.count("\n", 0, match.start()) + 1
    return None


def find_email(text: str, shortest: int = 0) -> tuple[str, int] | None:
    """The first e-mail address (not one made for examples) and its line, from 1."""
    for match in _EMAIL.finditer(text) if "@" in text else ():
        if len(match.group()) >= shortest and not _NOBODY.search(match.group()):
            return match.group(), text.count("\n", 0, match.start()) + 1
    return None


def shorten_paths(text: str) -> str:
    """Replaces each local path by `path/to/NAME`."""
    if not _may_name_a_path(text):
        return text
    return _paths().sub(lambda match: "path/to/" + re.split(r"[\\/]+", match.group().rstrip("\\/"))[-1], text)


def anonymize(text: str) -> str:
    """`shorten_paths`, and `name@example.org` for each e-mail address."""
    text = shorten_paths(text)
    return _EMAIL.sub(lambda match: match.group() if _NOBODY.search(match.group()) else "name@example.org", text)


def _may_name_a_path(text: str) -> bool:
    """A quick check that skips long texts without paths, such as language models."""
    return "/" in text or "\\" in text


def _paths() -> re.Pattern[str]:
    """The pattern of local paths: in the usual folders, and in those of this machine."""
    here = (str(Path.home()), os.getcwd(), tempfile.gettempdir())
    return _compile_paths(tuple(sorted(folder for folder in here if len(Path(folder).parts) > 1)))


@functools.lru_cache(maxsize=8)
def _compile_paths(here: tuple[str, ...]) -> re.Pattern[str]:
    try:
        own = [entry.name for entry in os.scandir("/") if entry.is_dir() and entry.name not in _PUBLIC]
    except OSError:  # Not a POSIX system.
        own = []
    roots = "|".join(re.escape(root) for root in sorted({*_ROOTS, *own}, key=len, reverse=True))
    exact = "|".join(re.escape(folder) for folder in sorted(here, key=len, reverse=True))
    # Not in the middle of a relative path, a URL or a tag.
    before = r"(?:(?<=file://)|(?<![\w./<~\\-]))"
    posix = rf"{before}/(?:{roots})/{_NAME}(?:/{_NAME})*/?"
    kinds = [_COPY, posix, _WINDOWS, _SHARE, _OF_A_USER]
    return re.compile("|".join([*kinds, *([rf"{before}(?:{exact})(?![\w-])"] if exact else [])]))
