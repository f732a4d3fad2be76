"""File-like objects for libsndfile that tolerate damaged headers or replace the header of a file."""

from __future__ import annotations

import io
import os
from typing import BinaryIO


class SteadyStream:
    """A stream that ignores seeks to invalid positions, which a damaged header may cause.

    Python's streams raise an error, which cannot propagate through libsndfile and would be printed as a traceback.

    Args:
        stream: A seekable stream.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.tell = stream.tell
        self.readinto = stream.readinto  # type: ignore[attr-defined]

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Moves to a position if it is valid, and returns the current position."""
        try:
            return self._stream.seek(offset, whence)
        except (OSError, ValueError, OverflowError):
            return self._stream.tell()


class SplicedStream(io.RawIOBase, BinaryIO):
    """A stream with its first bytes replaced.

    Args:
        stream: A seekable stream.
        head: The new first bytes.
        start: The position in `stream` of the byte that follows `head`.
    """

    def __init__(self, stream: BinaryIO, head: bytes, start: int) -> None:
        self._stream, self._head, self._start = stream, head, start
        self._size = len(head) + stream.seek(0, os.SEEK_END) - start
        self._position = 0

    def readable(self) -> bool:
        """Returns True."""
        return True

    def seekable(self) -> bool:
        """Returns True."""
        return True

    def tell(self) -> int:
        """Returns the current position."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Moves to a position and returns it."""
        position = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence] + offset
        if position < 0:
            raise ValueError("negative seek position")
        self._position = position
        return position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Reads bytes into a buffer and returns their number."""
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
