"""Computes the length of variable-bit-rate MP3 files that do not declare it.

Most mp3 files begin with a "Xing" frame that contains the number of frames. Recorded streams have none, so libsndfile
estimates the length from the first frames and may read only a quarter of a file that becomes quieter after its start.
This module counts the frames and builds a Xing frame for the decoder.

References: ISO/IEC 11172-3 and 13818-3 (frame headers); "MPEG Audio Frame Header" (Windszus, Code Project, 2007), which
describes the Xing and VBRI headers.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import BinaryIO

# Bit rates of layer III in kbit/s by index, for version 1 (True) and for versions 2 and 2.5 (False); 0 is invalid.
_BITRATES = {
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0),
}
# Sampling rates by version field (3 is version 1, 2 is version 2, 0 is version 2.5) and index.
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_LAYER_3 = 1
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class _Frame:
    """A frame header: its four bytes, and the decoded fields."""

    header: bytes
    bitrate: int
    length: int
    is_version_1: bool
    is_mono: bool

    @property
    def tag_offset(self) -> int:
        """The offset of a Xing header in the frame, after the side information."""
        return 4 + ((17 if self.is_mono else 32) if self.is_version_1 else (9 if self.is_mono else 17))


def header_without_length(stream: BinaryIO) -> tuple[bytes, int] | None:
    """Builds the missing Xing frame of an mp3 file with a variable bit rate.

    Returns:
        A frame with the number of frames, and the position of the first frame, where it must be inserted; None for all
        other files.
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
    """Returns the end of an ID3v2 tag at the start of a file, or 0 if there is none."""
    if len(head) < 10 or head[:3] != b"ID3":
        return 0
    size = 0
    for byte in head[6:10]:  # seven bits each
        size = size << 7 | byte & 0x7F
    return 10 + size + (10 if head[5] & 0x10 else 0)


def _parse(data: bytes | memoryview) -> _Frame | None:
    """Returns the header of a layer III frame, or None if the data does not start with one."""
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
    """Returns the number of frames if their bit rate varies, else None."""
    size = stream.seek(0, os.SEEK_END)
    position, count, varies = start, 0, False
    block, block_start = b"", 0
    while position + 4 <= size:
        if position + 4 > block_start + len(block) or position < block_start:
            stream.seek(position)
            block, block_start = stream.read(_BLOCK_BYTES), position
        frame = _parse(block[position - block_start : position - block_start + 4])
        if frame is None:
            break  # a tag at the end, or damage, which is left to the decoder
        varies = varies or frame.bitrate != bitrate
        count += 1
        position += frame.length
    return count if varies else None


def _xing_frame(first: _Frame, count: int) -> bytes:
    """Returns a silent frame, long enough for a Xing tag, that declares the number of frames that follow."""
    flags = first.header[2]
    for index in range(1, 15):
        header = bytes((first.header[0], first.header[1] | 1, index << 4 | flags & 0x0C, first.header[3]))
        frame = _parse(header)
        if frame is not None and frame.length >= frame.tag_offset + 12:
            tag = b"Xing" + struct.pack(">II", 1, count)
            return (header + bytes(frame.tag_offset - 4) + tag).ljust(frame.length, b"\0")
    raise AssertionError("a frame of the highest bit rate has room for its tag")
