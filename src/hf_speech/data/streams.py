"""File-like objects for libsndfile that tolerate damaged headers and can replace the header of a file."""

from __future__ import annotations

import io
import os
from typing import BinaryIO


class SteadyStream:
    """A stream that ignores seeks to before its beginning, as a damaged header may cause.

    Python's own streams raise an error then, which cannot pass through libsndfile: it would be printed as a traceback.

    Args:
        stream: A seekable stream.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.tell = stream.tell
        self.readinto = stream.readinto  # type: ignore[attr-defined]

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Goes to a place, if there is such a place; returns where the stream is."""
        try:
            return self._stream.seek(offset, whence)
        except (OSError, ValueError, OverflowError):
            return self._stream.tell()


class SplicedStream(io.RawIOBase, BinaryIO):
    """A stream whose beginning is replaced by other bytes.

    Args:
        stream: A seekable stream.
        head: The new beginning.
        start: The place in `stream` from which on its own bytes follow.
    """

    def __init__(self, stream: BinaryIO, head: bytes, start: int) -> None:
        self._stream, self._head, self._start = stream, head, start
        self._size = len(head) + stream.seek(0, os.SEEK_END) - start
        self._position = 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Where it is."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Goes to a place; returns it."""
        place = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence] + offset
        if place < 0:
            raise ValueError("negative seek position")
        self._position = place
        return place

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fills a buffer as far as there are bytes; returns how many."""
        target = memoryview(buffer).cast("B")
        count = max(0, min(len(self._head) - self._position, len(target)))
        target[:count] = self._head[self._position : self._position + count]
        if count < len(target):
            self._stream.seek(self._start + self._position + count - len(self._head))
            rest = self._stream.read(len(target) - count)
            target[count : count + len(rest)] = rest
            count += len(rest)
        self._position += count
        return count
