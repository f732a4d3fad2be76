"""Lists the files of a corpus folder in natural order, and finds files by name.

Symbolic links are followed. Names are compared after Unicode normalization, since macOS may store "e" and an accent
where a table has a single letter.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from hf_speech.common.text import nfc, printable
from hf_speech.errors import CorpusError

# Includes formats that only FFmpeg reads, so that such files are reported instead of ignored.
AUDIO_SUFFIXES = frozenset(
    f".{suffix}"
    for suffix in (
        *("wav", "wave", "flac", "ogg", "oga", "opus", "mp3", "sph", "nist", "aif", "aiff", "aifc", "au", "snd", "caf"),
        *("w64", "rf64", "voc", "m4a", "mp4", "aac", "webm", "wma", "amr"),
    )
)


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Returns a key that sorts numbers in names by value ("2" before "10") and everything else alphabetically."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]


def is_hidden(relative: Path) -> bool:
    """Returns whether a path is hidden, or in a resource folder that macOS adds to zip archives."""
    return any(part.startswith(".") or part == "__MACOSX" for part in relative.parts)


def visible(paths: Iterable[Path]) -> list[Path]:
    """Returns the paths of one folder in natural order, without hidden ones."""
    return sorted((path for path in paths if not is_hidden(Path(path.name))), key=lambda path: natural_key(path.name))


def sound_files(sources: Iterable[str | Path]) -> list[Path]:
    """Returns the given files, with each folder replaced by the audio files below it."""
    found: list[Path] = []
    for source in map(Path, sources):
        if source.is_dir():
            found += [path for path in walk_files(source) if path.suffix.lower() in AUDIO_SUFFIXES]
        else:
            found.append(source)
    return found


def walk_files(root: Path) -> list[Path]:
    """Returns all files below a folder in natural order, without hidden ones. Follows links to folders.

    Broken links are included, so that reading them raises an error.

    Raises:
        CorpusError: If a folder cannot be read, or links are circular.
    """

    def refuse(error: OSError) -> None:
        raise CorpusError(
            f"{printable(str(error.filename))} cannot be read ({error.strerror or error}): correct its permissions."
        ) from error

    files: list[Path] = []
    for folder, folders, names in os.walk(root, onerror=refuse, followlinks=True):
        parent = Path(folder)
        folders[:] = [name for name in folders if not is_hidden(Path(name))]
        resolved = parent.resolve()
        for name in folders:
            if (parent / name).is_symlink() and resolved.is_relative_to((parent / name).resolve()):
                raise CorpusError(f"{printable(str(parent / name))} is a link to a folder that contains it: remove it.")
        files += [parent / name for name in names if not is_hidden(Path(name))]
    return sorted(files, key=lambda path: natural_key(path.as_posix()))


def find_file(root: Path, name: str) -> Path:
    """Returns the file for a name in a list, or the expected path if it does not exist.

    Args:
        root: The folder.
        name: A path, relative to `root` or absolute. It may have backslashes, or a different Unicode normalization than
            the file system.
    """
    for spelling in (name, name.replace("\\", "/")):
        path = root / spelling
        if len(spelling) < 4096 and os.path.exists(path):
            return path
    return _find_normalized(path) or root / name


def _find_normalized(path: Path) -> Path | None:
    """Returns an existing path that is equal after Unicode normalization, or None."""
    if os.path.exists(path):
        return path
    if str(path).isascii() or path.parent == path or (parent := _find_normalized(path.parent)) is None:
        return None
    if not parent.is_dir():
        return None
    name = _normalized_names(str(parent), parent.stat().st_mtime_ns).get(nfc(path.name))
    return None if name is None else parent / name


@lru_cache(maxsize=64)
def _normalized_names(folder: str, modified: int) -> dict[str, str]:
    """Returns the names in a folder by their NFC form; `modified` is part of the cache key."""
    return {nfc(name): name for name in os.listdir(folder)}


def unwrap(folder: Path) -> Path:
    """Returns the only subfolder of an unpacked archive if it contains nothing else, or the folder itself."""
    content = visible(folder.iterdir())
    return content[0] if len(content) == 1 and content[0].is_dir() else folder
