"""Removes metadata from images: text, dates, locations, names of programs, thumbnails.

PNG and JPEG files store metadata in separate chunks or segments, which are dropped. The image itself is not encoded
again, so no pixel changes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

from hf_speech.errors import PublishError
from hf_speech.publishing.checks.formats import invalid_file

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
# Chunks of pixels, colors, animation and physical size.
_PNG_CHUNKS = frozenset(
    {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"sBIT", b"bKGD", b"pHYs"}
    | {b"acTL", b"fcTL", b"fdAT", b"cICP"}
)
# Comments and all application segments except JFIF's (E0) and Adobe's (EE), which defines the color encoding.
_JPEG_METADATA = frozenset({0xFE, *range(0xE1, 0xF0)} - {0xEE})


def without_metadata(content: bytes) -> bytes:
    """Returns a PNG or JPEG file without metadata, and any other file unchanged.

    Raises:
        ValueError: If the file is truncated.
    """
    for magic, strip in _STRIPPERS.items():
        if content.startswith(magic):
            try:
                return strip(content)
            except (struct.error, IndexError) as error:
                raise ValueError("it is truncated") from error
    return content


def copy_picture(source: Path, target: Path, name: str) -> None:
    """Copies a picture without its metadata; `name` is its name in error messages."""
    try:
        target.write_bytes(without_metadata(source.read_bytes()))
    except ValueError as error:
        raise PublishError(invalid_file(name, str(error))) from error


def _png(content: bytes) -> bytes:
    kept, at = [PNG], len(PNG)
    while at < len(content):
        size, kind = struct.unpack_from(">I4s", content, at)
        end = at + 12 + size
        if end > len(content):
            raise ValueError("it is truncated")
        if kind in _PNG_CHUNKS:
            kept.append(content[at:end])
        at = end
        if kind == b"IEND":
            break
    return b"".join(kept) + content[at:]  # The check of formats rejects trailing data.


def _jpeg(content: bytes) -> bytes:
    kept, at = [content[:2]], 2
    while content[at] == 0xFF and content[at + 1] != 0xDA:  # The scan (DA) extends to the end of the file.
        marker = content[at + 1]
        if marker == 0xFF:  # A fill byte.
            at += 1
            continue
        end = at + 2 + struct.unpack_from(">H", content, at + 2)[0]
        if end > len(content):
            raise ValueError("it is truncated")
        if marker not in _JPEG_METADATA:
            kept.append(content[at:end])
        at = end
    return b"".join(kept) + content[at:]


_STRIPPERS: dict[bytes, Callable[[bytes], bytes]] = {PNG: _png, JPEG: _jpeg}
