"""Files of a corpus folder: listed in natural order, and found by name.

Symbolic links are followed. Names are compared in one form of Unicode: a Mac stores "e" and its accent where a table
made elsewhere has one letter.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from hf_speech.common.text import printable, same_form
from hf_speech.errors import CorpusError

# What FFmpeg alone reads is among them, so that such a file is reported rather than overlooked.
AUDIO_SUFFIXES = frozenset(
    f".{suffix}"
    for suffix in (
        *("wav", "wave", "flac", "ogg", "oga", "opus", "mp3", "sph", "nist", "aif", "aiff", "aifc", "au", "snd", "caf"),
        *("w64", "rf64", "voc", "m4a", "mp4", "aac", "webm", "wma", "amr"),
    )
)


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """A sorting key that puts "2" before "10" and leaves everything else to the alphabet."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]


def is_hidden(relative: Path) -> bool:
    """Whether a path below a corpus is hidden, or in a resource folder that macOS puts into zip archives."""
    return any(part.startswith(".") or part == "__MACOSX" for part in relative.parts)


def visible(paths: Iterable[Path]) -> list[Path]:
    """The paths of one folder in natural order, without the hidden ones."""
    return sorted((path for path in paths if not is_hidden(Path(path.name))), key=lambda path: natural_key(path.name))


def sound_files(sources: Iterable[str | Path]) -> list[Path]:
    """Files as they are given, and in place of each folder the sound files below it."""
    found: list[Path] = []
    for source in map(Path, sources):
        if source.is_dir():
            found += [path for path in walk_files(source) if path.suffix.lower() in AUDIO_SUFFIXES]
        else:
            found.append(source)
    return found


def walk_files(root: Path) -> list[Path]:
    """All files below a folder in natural order, without the hidden ones; links to folders are followed.

    A broken link is among them; reading it raises the error.

    Raises:
        CorpusError: If a folder cannot be read, or links lead in a circle.
    """

    def refuse(error: OSError) -> None:
        raise CorpusError(
            f"{printable(str(error.filename))} cannot be read ({error.strerror or error}): correct its permissions."
        ) from error

    files: list[Path] = []
    for folder, folders, names in os.walk(root, onerror=refuse, followlinks=True):
        here = Path(folder)
        folders[:] = [name for name in folders if not is_hidden(Path(name))]
        real = here.resolve()
        for name in folders:
            if (here / name).is_symlink() and real.is_relative_to((here / name).resolve()):
                raise CorpusError(f"{printable(str(here / name))} is a link to a folder that it is in: remove it.")
        files += [here / name for name in names if not is_hidden(Path(name))]
    return sorted(files, key=lambda path: natural_key(path.as_posix()))


def find_file(root: Path, name: str) -> Path:
    """The file below a folder that a name in a list means, or where it would be if it is not there.

    Args:
        root: The folder.
        name: A path, relative to `root` or absolute; it may have backslashes, and another form of Unicode than the
            file system.
    """
    for spelling in (name, name.replace("\\", "/")):
        path = root / spelling
        if len(spelling) < 4096 and os.path.exists(path):
            return path
    return _in_any_form(path) or root / name


def _in_any_form(path: Path) -> Path | None:
    """A path that exists and differs by the form of Unicode alone, None if there is none."""
    if os.path.exists(path):
        return path
    if str(path).isascii() or path.parent == path or (parent := _in_any_form(path.parent)) is None:
        return None
    if not parent.is_dir():
        return None
    found = _names_by_form(str(parent), parent.stat().st_mtime_ns).get(same_form(path.name))
    return None if found is None else parent / found


@lru_cache(maxsize=64)
def _names_by_form(folder: str, changed: int) -> dict[str, str]:
    """The names in a folder by their NFC form."""
    return {same_form(name): name for name in os.listdir(folder)}


def unwrap(folder: Path) -> Path:
    """The one folder inside that many archives consist of, or the folder itself."""
    inside = visible(folder.iterdir())
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else folder
