"""The length of variable-bit-rate MP3 files that do not declare it.

Most mp3 files begin with a frame ("Xing") that has the number of frames. Recorded streams have none, and libsndfile
then estimates the length from the first frames: of a file that begins loudly and continues quietly it reads a quarter.
Here the frames are counted, and the decoder is given a header with their number.

References: ISO/IEC 11172-3 and 13818-3 (frame headers); "MPEG Audio Frame Header" (Windszus, Code Project, 2007), which
describes the Xing and VBRI headers.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import BinaryIO

# Kilobits a second of layer III by their index, of version 1 and of versions 2 and 2.5; 0 is unusable.
_BITRATES = {
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0),
}
# Sampling rates by version (3: 1, 2: 2, 0: 2.5) and index.
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_LAYER_3 = 1
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class _Frame:
    """A frame header: its four bytes, and what they say."""

    header: bytes
    bitrate: int
    length: int
    is_version_1: bool
    is_mono: bool

    @property
    def tag_offset(self) -> int:
        """Offset of a Xing header in the frame: after the side information."""
        return 4 + ((17 if self.is_mono else 32) if self.is_version_1 else (9 if self.is_mono else 17))


def header_without_length(stream: BinaryIO) -> tuple[bytes, int] | None:
    """The header that an mp3 of variable bit rate lacks if it does not declare its length.

    Returns:
        A frame that says the number of frames, and the place of the first frame, before which it belongs; None for
        files of any other kind.
    """
    stream.seek(0)
    start = _end_of_tag(stream.read(10))
    stream.seek(start)
    head = stream.read(4096)
    first = _parse(head)
    if first is None or _parse(head[first.length :]) is None:
        return None
    tag = head[first.tag_offset : first.tag_offset + 4]
    if tag in (b"Xing", b"Info") or head[36:40] == b"VBRI":
        return None
    count = _count_variable_frames(stream, start, first.bitrate)
    return None if count is None else (_xing_frame(first, count), start)


def _end_of_tag(head: bytes) -> int:
    """Where an ID3v2 tag at the beginning ends; 0 without one."""
    if len(head) < 10 or head[:3] != b"ID3":
        return 0
    size = 0
    for byte in head[6:10]:  # seven bits each
        size = size << 7 | byte & 0x7F
    return 10 + size + (10 if head[5] & 0x10 else 0)


def _parse(data: bytes | memoryview) -> _Frame | None:
    """The header of a frame of layer III, None if there is none."""
    if len(data) < 4 or data[0] != 0xFF or data[1] & 0xE0 != 0xE0:
        return None
    version, layer = data[1] >> 3 & 3, data[1] >> 1 & 3
    index, rate_index, padding = data[2] >> 4, data[2] >> 2 & 3, data[2] >> 1 & 1
    if layer != _LAYER_3 or version not in _RATES or rate_index == 3:
        return None
    is_version_1 = version == 3
    bitrate = _BITRATES[is_version_1][index]
    if not bitrate:
        return None
    length = (144_000 if is_version_1 else 72_000) * bitrate // _RATES[version][rate_index] + padding
    return _Frame(bytes(data[:4]), bitrate, length, is_version_1, data[3] >> 6 == 3)


def _count_variable_frames(stream: BinaryIO, start: int, bitrate: int) -> int | None:
    """The number of frames if their bit rate varies, None if it does not."""
    size = stream.seek(0, os.SEEK_END)
    position, count, varies = start, 0, False
    block, block_start = b"", 0
    while position + 4 <= size:
        if position + 4 > block_start + len(block) or position < block_start:
            stream.seek(position)
            block, block_start = stream.read(_BLOCK_BYTES), position
        frame = _parse(block[position - block_start : position - block_start + 4])
        if frame is None:
            break  # a tag after the sound, or damage, which the decoder judges
        varies = varies or frame.bitrate != bitrate
        count += 1
        position += frame.length
    return count if varies else None


def _xing_frame(first: _Frame, count: int) -> bytes:
    """A frame without sound that says how many frames follow, as long as its tag needs."""
    flags = first.header[2]
    for index in range(1, 15):
        header = bytes((first.header[0], first.header[1] | 1, index << 4 | flags & 0x0C, first.header[3]))
        frame = _parse(header)
        if frame is not None and frame.length >= frame.tag_offset + 12:
            tag = b"Xing" + struct.pack(">II", 1, count)
            return (header + bytes(frame.tag_offset - 4) + tag).ljust(frame.length, b"\0")
    raise AssertionError("a frame of the highest bit rate has room for its tag")
