"""Checks the header of an audio file against its content before decoding.

libsndfile reads most truncated files without an error and returns the remaining samples, so that a model would be
trained on incomplete words. It also reports "Format not recognized" for a text file, an empty file and an AAC recording
alike. This module tells these cases apart. Files that were never finalized, because the recording program was killed,
are read to their end.

References: "Multimedia Programming Interface and Data Specifications 1.0" (RIFF/WAVE, 1991); "Audio Interchange File
Format" 1.3 (AIFF, 1989); EBU Tech 3306 (RF64); RFC 3533 (Ogg); NIST SPHERE 2.7.
"""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

from hf_speech.data.mpeg import header_without_length
from hf_speech.data.streams import SplicedStream
from hf_speech.errors import AudioError


class BadAudio(AudioError):
    """Raised for an unusable recording.

    Attributes:
        kind: The kind of defect, which `inspection` counts: "missing", "empty", "truncated", "not finite",
            "not scaled", "canceled", "too short", "too long" or "unreadable".
    """

    def __init__(self, message: str, kind: str = "unreadable") -> None:
        super().__init__(message)
        self.kind = kind


# Lengths in a wav file that was written to a pipe: 0xFFFFFFFF from ffmpeg, about 2 GiB from sox, arecord and others.
# The samples then extend to the end of the file. Any other length that exceeds the file means that it is truncated.
_LENGTHS_UNKNOWN = (range(0x7FFF0000, 0x80000001), range(0xFFFFFF00, 0x100000000))
_UNKNOWN = b"\xff\xff\xff\xff"

# Maximum number of chunks before the samples; a gigabyte of zeros would look like a hundred million chunks.
_MAX_CHUNKS = 1_000

# A wav file with more seconds of samples than this after the declared ones was never finalized.
_UNFINISHED_SECONDS = 0.05
_TAGS = (b"TAG", b"ID3", b"APETAGEX", b"LYRICS")

_OGG_TAIL = 1 << 17  # a page has at most 65,307 bytes
_OGG_HEADER = 27
_OGG_LAST_PAGE = 4  # a flag

_W64 = bytes.fromhex("726966662e91cf11a5d628db04c10000")  # "riff" as a GUID

# Offset and first bytes of formats that FFmpeg supports and libsndfile does not.
_FFMPEG_FORMATS = (
    (4, b"ftyp", "an MP4/M4A (AAC)"),
    (0, b"\x1a\x45\xdf\xa3", "a WebM/Matroska"),
    (0, b"\x30\x26\xb2\x75", "a Windows Media (WMA)"),
    (0, b"#!AMR", "an AMR"),
    (0, b"\xff\xf1", "an AAC"),
    (0, b"\xff\xf9", "an AAC"),
)


def check_header(stream: BinaryIO, name: str) -> BinaryIO:
    """Checks a file for defects that are visible in its header, such as fewer bytes than declared.

    Args:
        stream: A seekable audio file.
        name: The name of the file in error messages.

    Returns:
        The stream to decode, at its start: `stream`, or one with the correct length in its header if that of the file
        is wrong (a wav file that was never finalized) or missing (an mp3 file with a variable bit rate).

    Raises:
        BadAudio: If the file is empty or truncated, has a sampling rate of 0 Hz, or is compressed with shorten.
    """
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    if size == 0:
        raise BadAudio(f"{name} is an empty file (0 bytes): record or download it again.", "empty")
    magic = stream.read(24)
    checked = stream
    if magic[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and magic[8:12] == b"WAVE":
        stream.seek(12)
        checked = _check_wav(stream, size, name, ">" if magic[:4] == b"RIFX" else "<")
    elif magic[:4] == b"FORM" and magic[8:12] in (b"AIFF", b"AIFC", b"8SVX", b"16SV"):
        _check_length(struct.unpack(">I", magic[4:8])[0], size - 8, name)
    elif magic[:4] in (b".snd", b"dns."):
        offset, declared = struct.unpack((">" if magic[:4] == b".snd" else "<") + "4xII", magic[:12].ljust(12, b"\0"))
        _check_length(declared, size - offset, name)
    elif magic[:16] == _W64:
        _check_length(struct.unpack("<Q", magic[16:24].ljust(8, b"\0"))[0], size, name)
    elif magic[:7] == b"NIST_1A":
        _check_sphere(stream, size, name)
    elif magic[:19] == b"Creative Voice File":
        _check_voc(stream, size, name)
    elif magic[:4] == b"OggS":
        _check_ogg(stream, size, name)
    elif (missing := header_without_length(stream)) is not None:
        checked = SplicedStream(stream, *missing)
    checked.seek(0)
    return checked


def describe_unknown(stream: BinaryIO) -> str:
    """Describes a file that libsndfile does not recognize, as the end of a sentence "FILE is ..."."""
    stream.seek(0)
    head = stream.read(16)
    for offset, magic, kind in _FFMPEG_FORMATS:
        if head[offset : offset + len(magic)] == magic:
            return f"{kind} file, which needs torchcodec and FFmpeg: install them, or convert it to wav or flac"
    return (
        f"not an audio file that libsndfile or FFmpeg supports (it begins with {head!r}): replace it with a wav, "
        "flac, ogg, opus, mp3 or SPHERE recording"
    )


def _check_wav(stream: BinaryIO, size: int, name: str, order: str) -> BinaryIO:
    """Checks the chunks of a RIFF or RF64 file up to its samples, and returns the stream to decode."""
    frame_bytes, bytes_per_second, long_length = 1, 1, None
    for _ in range(_MAX_CHUNKS):
        if len(header := stream.read(8)) < 8:
            break
        chunk, length = struct.unpack(order + "4sI", header)
        start = stream.tell()
        if chunk == b"data":
            if length == 0xFFFFFFFF and long_length is not None:
                length = long_length
            elif _is_unknown(length):
                return stream
            if size - start + frame_bytes <= length:
                raise BadAudio(_truncated(name, length, size - start), "truncated")
            rest = size - start - length
            if long_length is None and rest > _UNFINISHED_SECONDS * bytes_per_second:
                stream.seek(start + length)
                if _is_sound(stream.read(64), size - stream.tell(), order):
                    stream.seek(0)
                    return SplicedStream(stream, stream.read(start - 4) + _UNKNOWN, start)
            return stream
        if chunk == b"fmt ":
            fields = stream.read(16)
            if len(fields) < 16:
                break
            _, _, rate, bytes_per_second, frame_bytes, _ = struct.unpack(order + "HHIIHH", fields)
            if rate == 0:
                raise BadAudio(_zero_rate(name))
        elif chunk == b"ds64" and len(fields := stream.read(16)) == 16:
            long_length = struct.unpack("<8xQ", fields)[0]
        stream.seek(start + length + length % 2)  # chunks are padded to even lengths
    else:
        raise BadAudio(f"{name} is damaged: none of its first {_MAX_CHUNKS} chunks holds samples; get it again.")
    raise BadAudio(f"{name} is truncated: it ends before its samples begin (no data chunk); get it again.", "truncated")


def _is_sound(rest: bytes, remaining: int, order: str) -> bool:
    """Returns whether the bytes after the declared samples are samples as well, not a chunk, a tag or padding."""
    if not any(rest) or rest.startswith(_TAGS):
        return False
    for chunk in (rest[:8], rest[1:9]):  # after an odd length, a chunk begins a byte later
        if len(chunk) < 8 or not all(32 <= byte < 127 for byte in chunk[:4]):
            continue
        if struct.unpack(order + "4xI", chunk)[0] <= remaining + 64:
            return False
    return True


def _check_sphere(stream: BinaryIO, size: int, name: str) -> None:
    """Checks the "field -type value" lines of a SPHERE header."""
    stream.seek(0)
    lines = stream.read(1024).decode("latin-1").splitlines()
    fields = {parts[0]: parts[2] for line in lines if len(parts := line.split(maxsplit=2)) == 3}
    if "shorten" in fields.get("sample_coding", ""):
        raise BadAudio(f"{name} is a SPHERE file compressed with shorten: convert it to wav with sph2pipe.")
    try:
        header = int(lines[1])
        rate = int(fields.get("sample_rate", "-1"))
        declared = int(fields["sample_count"]) * int(fields["channel_count"]) * int(fields["sample_n_bytes"])
    except (KeyError, IndexError, ValueError):
        return  # an unusual header, left to libsndfile
    if rate == 0:
        raise BadAudio(_zero_rate(name))
    if size - header < declared:
        raise BadAudio(_truncated(name, declared, size - header), "truncated")


def _check_voc(stream: BinaryIO, size: int, name: str) -> None:
    """Checks the blocks of a Creative Voice file, each with a length of three bytes, up to the terminator."""
    stream.seek(20)
    position = int.from_bytes(stream.read(2), "little")
    for _ in range(_MAX_CHUNKS):
        stream.seek(position)
        header = stream.read(4)
        if len(header) < 4:
            return  # the terminator has one byte, and some programs omit it
        length = int.from_bytes(header[1:], "little")
        if header[0] == 0:
            return
        if position + 4 + length > size:
            raise BadAudio(_truncated(name, length, size - position - 4), "truncated")
        position += 4 + length


def _check_ogg(stream: BinaryIO, size: int, name: str) -> None:
    """Checks that an Ogg file ends with a complete page that is marked as the last one."""
    stream.seek(max(0, size - _OGG_TAIL))
    tail = stream.read(_OGG_TAIL)
    start = tail.rfind(b"OggS")
    header = tail[start : start + _OGG_HEADER]
    if start >= 0 and len(header) == _OGG_HEADER and header[5] & _OGG_LAST_PAGE:
        segments = tail[start + _OGG_HEADER : start + _OGG_HEADER + header[26]]
        if start + _OGG_HEADER + len(segments) + sum(segments) <= len(tail) and len(segments) == header[26]:
            return
    raise BadAudio(f"{name} is truncated: its last page is missing or incomplete; get it again.", "truncated")


def _check_length(declared: int, present: int, name: str) -> None:
    if present < declared and not _is_unknown(declared):
        raise BadAudio(_truncated(name, declared, present), "truncated")


def _is_unknown(length: int) -> bool:
    return any(length in lengths for lengths in _LENGTHS_UNKNOWN)


def _truncated(name: str, declared: int, present: int) -> str:
    return f"{name} is truncated: its header declares {declared} bytes, it holds {max(present, 0)}; get it again."


def _zero_rate(name: str) -> str:
    return f"{name} has a sampling rate of 0 Hz in its header: record or convert it again."
