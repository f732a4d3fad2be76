"""Stores the sounds that visitors upload, and erases them.

Decisions:

- A visitor cannot choose a path. Each upload is stored in a random folder, and a table on the server lists all uploads;
  other paths are rejected. The original file name is used only in messages.
- This module erases uploads, not gradio: those older than `keep_seconds`, the oldest ones if there are more than
  `max_bytes`, and those of a page that is closed.
- All uploads are in a new folder, made when this module is imported, so that only files of this process are erased. The
  module must be imported before gradio, which reads the folder's path from the environment.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import secrets
import shutil
import tempfile
import threading
import time
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from sound import SoundError, read_sound

if TYPE_CHECKING:
    from settings import Settings

if os.environ.get("GRADIO_TEMP_DIR"):
    Path(os.environ["GRADIO_TEMP_DIR"]).mkdir(parents=True, exist_ok=True)
ROOT = Path(tempfile.mkdtemp(prefix="hf-speech-demo-", dir=os.environ.get("GRADIO_TEMP_DIR") or None)).resolve()
os.environ["GRADIO_TEMP_DIR"] = str(ROOT)
atexit.register(shutil.rmtree, ROOT, ignore_errors=True)

# The suffix only determines the media type for browsers; other suffixes are dropped.
_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".au", ".caf", ".webm", ".m4a"})
_MAX_NAME = 100


@dataclass(frozen=True)
class Upload:
    """A file that a visitor uploaded, or an example.

    Attributes:
        path: The stored file.
        name: The sanitized name, for display.
        size: Size in bytes.
        created: The time at which it was stored, in seconds of the monotonic clock.
        permanent: Whether it is never erased, for examples.
    """

    path: Path
    name: str
    size: int
    created: float
    permanent: bool = False


class Uploads:
    """The table of uploads; its methods may be called from any thread.

    Args:
        keep_seconds: Age at which an upload is erased.
        max_bytes: Total size of uploads above which the oldest are erased.
        root: The folder of the uploads; everything in it may be erased.
    """

    def __init__(self, keep_seconds: float, max_bytes: float, root: Path = ROOT) -> None:
        self.keep_seconds, self.max_bytes, self.root = keep_seconds, max_bytes, root
        self._table: dict[str, Upload] = {}
        self._pages: dict[str, set[str]] = {}
        self._lock = threading.RLock()

    def add(self, name: str, content: BinaryIO) -> Upload:
        """Stores a file under a random name."""
        name = clean_name(name)
        suffix = PurePosixPath(name).suffix.lower()
        with self._lock:
            folder = self.root / secrets.token_hex(16)
            folder.mkdir()
            path = folder / f"sound{suffix if suffix in _SUFFIXES else ''}"
            with path.open("xb") as stream:
                shutil.copyfileobj(content, stream)
            upload = Upload(path, name, path.stat().st_size, time.monotonic())
            self._table[str(path)] = upload
            self._limit_size()
        return upload

    def add_example(self, file: Path) -> str:
        """Stores a copy of a file that is never erased, and returns its path."""
        with self._lock:
            path = self.root / secrets.token_hex(16) / f"sound{file.suffix}"
            path.parent.mkdir()
            shutil.copyfile(file, path)
            self._table[str(path)] = Upload(path, clean_name(file.name), path.stat().st_size, time.monotonic(), True)
        return str(path)

    def find(self, path: object) -> Upload | None:
        """Returns the upload with exactly this path, or None."""
        return self._table.get(path) if isinstance(path, str) else None

    def name(self, path: object) -> str:
        """Returns the name of an upload for messages."""
        upload = self.find(path)
        return upload.name if upload else "The sound"

    def read(self, path: str | None, rate: int, limits: Settings) -> np.ndarray:
        """Reads an upload with `read_sound`.

        Raises:
            SoundError: If there is no upload yet, or it cannot be read within the limits.
        """
        if not path:
            raise SoundError("There is no sound yet: upload one, or record it.")
        return read_sound(path, rate, limits.max_seconds, limits.max_megabytes, self.name(path))

    def answer_each(
        self, paths: list[str], answer: Callable[[str], dict[str, Any]], limit: int
    ) -> list[dict[str, Any]]:
        """Returns the answers for several uploads, each with the file's name and, if it cannot be read, the error.

        Raises:
            SoundError: If there are none, or more than `limit`.
        """
        if not paths:
            raise SoundError("There is no sound yet: upload some.")
        if len(paths) > limit:
            raise SoundError(f"There are {len(paths)} files (limit: {limit}): upload fewer at a time.")
        answers = []
        for path in paths:
            try:
                found = answer(path)
            except SoundError as error:
                found = {"error": str(error)}
            answers.append({"file": self.name(path), **found})
        return answers

    def use(self, page: str | None, path: str | None) -> None:
        """Records that a page uses an upload, so that it is erased when the page is closed."""
        with self._lock:
            if page and path in self._table and not self._table[path].permanent:
                self._pages.setdefault(page, set()).add(path)

    def close_page(self, page: str | None) -> None:
        """Erases the uploads of a closed page that no other page uses."""
        with self._lock:
            for path in self._pages.pop(page or "", set()).difference(*self._pages.values()):
                self._erase(path)

    def sweep(self) -> None:
        """Erases old uploads, and old files and empty folders that gradio left behind."""
        with self._lock:
            now = time.monotonic()
            for path, upload in list(self._table.items()):
                if not upload.permanent and now - upload.created > self.keep_seconds:
                    self._erase(path)
            for page, paths in list(self._pages.items()):
                paths &= self._table.keys()
                if not paths:
                    del self._pages[page]
            oldest = time.time() - self.keep_seconds
            for folder, folders, files in os.walk(self.root, topdown=False, followlinks=False):
                for name in files:
                    path = os.path.join(folder, name)
                    if path not in self._table:
                        with contextlib.suppress(OSError):
                            if os.lstat(path).st_mtime < oldest:
                                os.unlink(path)
                for name in folders:
                    path = os.path.join(folder, name)
                    with contextlib.suppress(OSError):
                        if os.lstat(path).st_mtime < oldest:
                            os.rmdir(path)  # fails unless it is empty

    def _limit_size(self) -> None:
        temporary = [upload for upload in self._table.values() if not upload.permanent]
        total = sum(upload.size for upload in temporary)
        for upload in temporary[:-1]:
            if total <= self.max_bytes:
                return
            total -= upload.size
            self._erase(str(upload.path))

    def _erase(self, path: str) -> None:
        upload = self._table.pop(path, None)
        if upload is not None and not upload.permanent:
            upload.path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                upload.path.parent.rmdir()


def clean_name(name: str) -> str:
    """Returns the last part of a path without control characters, shortened; "sound" if nothing is left."""
    last = re.split(r"[/\\]", name)[-1]
    clean = "".join(character for character in last if unicodedata.category(character)[0] != "C").strip()
    if len(clean) > _MAX_NAME:
        clean = clean[: _MAX_NAME - 10] + clean[-10:]
    return clean if clean.strip(".") else "sound"
