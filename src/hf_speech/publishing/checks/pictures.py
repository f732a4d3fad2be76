"""Images without their metadata: text, dates, places, names of programs, thumbnails.

PNG and JPEG files store metadata in separate chunks or segments, which are dropped; the image itself is not encoded
again, so no pixel changes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

from hf_speech.errors import PublishError

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
# The picture, its colors, its animation and its size on paper.
_PNG_PARTS = frozenset(
    {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"sBIT", b"bKGD", b"pHYs"}
    | {b"acTL", b"fcTL", b"fdAT", b"cICP"}
)
# Comments and all application segments but JFIF's own (E0) and Adobe's, which says how colors are stored (EE).
_JPEG_LEFT_OUT = frozenset({0xFE, *range(0xE1, 0xF0)} - {0xEE})


def without_metadata(content: bytes) -> bytes:
    """A PNG or JPEG file without metadata; anything else as it is.

    Raises:
        ValueError: If the file ends in the middle of a part.
    """
    for begins, strip in _STRIPPERS.items():
        if content.startswith(begins):
            try:
                return strip(content)
            except (struct.error, IndexError) as error:
                raise ValueError("it ends in the middle") from error
    return content


def copy_picture(source: Path, target: Path, name: str) -> None:
    """Copies a picture, called `name` in errors, without its metadata."""
    try:
        target.write_bytes(without_metadata(source.read_bytes()))
    except ValueError as error:
        raise PublishError(f"{name} is not what its name says ({error}): write it again, or remove it.") from error


def _png(content: bytes) -> bytes:
    kept, at = [PNG], len(PNG)
    while at < len(content):
        size, kind = struct.unpack_from(">I4s", content, at)
        end = at + 12 + size
        if end > len(content):
            raise ValueError("it ends in the middle")
        if kind in _PNG_PARTS:
            kept.append(content[at:end])
        at = end
        if kind == b"IEND":
            break
    return b"".join(kept) + content[at:]  # What follows the end is refused by the check of formats.


def _jpeg(content: bytes) -> bytes:
    kept, at = [content[:2]], 2
    while content[at] == 0xFF and content[at + 1] != 0xDA:  # Until the scan, which goes on to the end.
        marker = content[at + 1]
        if marker == 0xFF:  # Fill.
            at += 1
            continue
        end = at + 2 + struct.unpack_from(">H", content, at + 2)[0]
        if end > len(content):
            raise ValueError("it ends in the middle")
        if marker not in _JPEG_LEFT_OUT:
            kept.append(content[at:end])
        at = end
    return b"".join(kept) + content[at:]


_STRIPPERS: dict[bytes, Callable[[bytes], bytes]] = {PNG: _png, JPEG: _jpeg}
