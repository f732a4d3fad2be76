"""The sounds that visitors upload: where they are stored, how much is stored, and when they are erased.

Decisions:

- A visitor never names a file. Each upload gets a random folder, and a table on the server says which paths are
  uploads; a path that is not in the table is refused. The name that a file had is kept for messages only.
- Erasing is done here, not by gradio: one sweeper erases what is older than `keep_seconds`, and the oldest uploads as
  soon as there are more than `max_bytes`. An upload is also erased when the page that used it is closed.
- Everything lies in a new folder, made when this module is imported, so that only files of this process are erased. The
  module is imported before gradio, which reads the folder's name from the environment.
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

# The suffix decides only what a browser is told about a file; all others are left out.
_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".au", ".caf", ".webm", ".m4a"})
_MAX_NAME = 100


@dataclass(frozen=True)
class Upload:
    """A file that a visitor uploaded, or an example.

    Attributes:
        path: Where it is stored.
        name: The name to show, made safe.
        size: Bytes.
        created: When it was stored, in seconds of the monotonic clock.
        permanent: Whether it stays, as examples do.
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
        max_bytes: Size of all uploads together above which the oldest are erased.
        root: The folder in which they are stored; everything in it may be erased.
    """

    def __init__(self, keep_seconds: float, max_bytes: float, root: Path = ROOT) -> None:
        self.keep_seconds, self.max_bytes, self.root = keep_seconds, max_bytes, root
        self._table: dict[str, Upload] = {}
        self._pages: dict[str, set[str]] = {}
        self._lock = threading.RLock()

    def add(self, name: str, content: BinaryIO) -> Upload:
        """Store a file under a random name."""
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
        """Store a copy of a file that is never erased; returns its path."""
        with self._lock:
            path = self.root / secrets.token_hex(16) / f"sound{file.suffix}"
            path.parent.mkdir()
            shutil.copyfile(file, path)
            self._table[str(path)] = Upload(path, clean_name(file.name), path.stat().st_size, time.monotonic(), True)
        return str(path)

    def find(self, path: object) -> Upload | None:
        """The upload that is stored at a path, which must be written exactly as it was given to the visitor."""
        return self._table.get(path) if isinstance(path, str) else None

    def name(self, path: object) -> str:
        """What to call an upload in messages."""
        upload = self.find(path)
        return upload.name if upload else "The sound"

    def read(self, path: str | None, rate: int, limits: Settings) -> np.ndarray:
        """The samples of an upload at `rate` Hz, `(samples,)`, as `read_sound` gives them.

        Raises:
            SoundError: If there is no upload yet, or it cannot be read within the limits.
        """
        if not path:
            raise SoundError("There is no sound yet: upload one, or record it.")
        return read_sound(path, rate, limits.max_seconds, limits.max_megabytes, self.name(path))

    def answer_each(self, paths: list[str], answer: Callable[[str], dict[str, Any]], most: int) -> list[dict[str, Any]]:
        """The answers about several uploads, each with the file's name; for one that cannot be read, the error.

        Raises:
            SoundError: If there are none, or more than `most`.
        """
        if not paths:
            raise SoundError("There is no sound yet: upload some.")
        if len(paths) > most:
            raise SoundError(f"These are {len(paths)} files, and {most} are the most at a time: give fewer.")
        answers = []
        for path in paths:
            try:
                found = answer(path)
            except SoundError as error:
                found = {"error": str(error)}
            answers.append({"file": self.name(path), **found})
        return answers

    def use(self, page: str | None, path: str | None) -> None:
        """Note that a page uses an upload, which is then erased when the page is closed."""
        with self._lock:
            if page and path in self._table and not self._table[path].permanent:
                self._pages.setdefault(page, set()).add(path)

    def close_page(self, page: str | None) -> None:
        """Erase the uploads that a closed page has used and that no other page uses."""
        with self._lock:
            for path in self._pages.pop(page or "", set()).difference(*self._pages.values()):
                self._erase(path)

    def sweep(self) -> None:
        """Erase uploads that are too old, and old files and empty folders that gradio left behind."""
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
                            os.rmdir(path)  # only if it is empty

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
    """The last part of a file name, without characters that steer a terminal or a page; "sound" if nothing is left."""
    last = re.split(r"[/\\]", name)[-1]
    shown = "".join(character for character in last if unicodedata.category(character)[0] != "C").strip()
    if len(shown) > _MAX_NAME:
        shown = shown[: _MAX_NAME - 10] + shown[-10:]
    return shown if shown.strip(".") else "sound"
