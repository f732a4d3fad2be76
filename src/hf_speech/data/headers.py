"""Checks the header of an audio file against its content before decoding.

libsndfile silently reads most truncated files and returns the remaining samples; a model would be trained on half
words. For a text file, an empty file and an AAC recording alike it reports "Format not recognized". So the header
fields that distinguish these are read here before decoding. Files that were never finalized, because their recorder was
killed, are read to their end.

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
    """A sound that cannot be used, and what kind of defect that is.

    Attributes:
        kind: "missing", "empty", "truncated", "not finite", "not scaled", "canceled", "too short" or "unreadable";
            `inspection` counts them.
    """

    def __init__(self, message: str, kind: str = "unreadable") -> None:
        super().__init__(message)
        self.kind = kind


# A wav written into a pipe does not know its length. ffmpeg writes 0xFFFFFFFF; sox, arecord and others nearly or just
# 2 GiB. It then lasts to the end of the file. Any other length is a promise, and 3 GB in a small file a broken one.
_LENGTHS_UNKNOWN = (range(0x7FFF0000, 0x80000001), range(0xFFFFFF00, 0x100000000))
_UNKNOWN = b"\xff\xff\xff\xff"

# The most chunks before the samples; a gigabyte of zeros would look like a hundred million.
_MAX_CHUNKS = 1_000

# A wav with more seconds of samples than this after the declared ones counts as one that was never finished.
_UNFINISHED_SECONDS = 0.05
_TAGS = (b"TAG", b"ID3", b"APETAGEX", b"LYRICS")

# An Ogg page has at most 65,307 bytes.
_OGG_TAIL = 1 << 17
_OGG_HEADER = 27
_OGG_LAST_PAGE = 4  # a flag

_W64 = bytes.fromhex("726966662e91cf11a5d628db04c10000")  # "riff" as a GUID

# Beginnings of formats that FFmpeg reads and libsndfile does not.
_FFMPEG_FORMATS = (
    (4, b"ftyp", "an MP4/M4A (AAC)"),
    (0, b"\x1a\x45\xdf\xa3", "a WebM/Matroska"),
    (0, b"\x30\x26\xb2\x75", "a Windows Media (WMA)"),
    (0, b"#!AMR", "an AMR"),
    (0, b"\xff\xf1", "an AAC"),
    (0, b"\xff\xf9", "an AAC"),
)


def check_header(stream: BinaryIO, name: str) -> BinaryIO:
    """Refuse faults that the header alone shows: no bytes, no sampling rate, fewer bytes than declared.

    Args:
        stream: A seekable sound file.
        name: What the error calls the file.

    Returns:
        What the decoder is to read, at its beginning: `stream`, or the same file with a length in its header where
        its own header has a wrong one (a wav that was never finished) or none (an mp3 of variable bit rate).

    Raises:
        BadAudio: If the file is empty, or is truncated, has a sampling rate of 0 Hz, or is compressed with shorten.
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
        offset, promised = struct.unpack((">" if magic[:4] == b".snd" else "<") + "4xII", magic[:12].ljust(12, b"\0"))
        _check_length(promised, size - offset, name)
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
    """Say what a file is that libsndfile does not recognize, as the end of a sentence "FILE is ..."."""
    stream.seek(0)
    head = stream.read(16)
    for offset, magic, kind in _FFMPEG_FORMATS:
        if head[offset : offset + len(magic)] == magic:
            return f"{kind} file, which needs torchcodec and FFmpeg: install them, or convert it to wav or flac"
    return (
        f"not a sound file that libsndfile or FFmpeg knows (it begins with {head!r}): replace it by a wav, "
        "flac, ogg, opus, mp3 or SPHERE recording"
    )


def _check_wav(stream: BinaryIO, size: int, name: str, order: str) -> BinaryIO:
    """Walk the chunks of a RIFF or RF64 file up to its samples; the stream to decode."""
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
                raise BadAudio(f"{name} says in its header that its sampling rate is 0 Hz: write it again.")
        elif chunk == b"ds64" and len(fields := stream.read(16)) == 16:
            long_length = struct.unpack("<8xQ", fields)[0]
        stream.seek(start + length + length % 2)  # chunks are padded to even lengths
    else:
        raise BadAudio(f"{name} is damaged: none of its first {_MAX_CHUNKS} chunks holds samples; get it again.")
    raise BadAudio(f"{name} is truncated: it ends before its samples begin (no data chunk); get it again.", "truncated")


def _is_sound(rest: bytes, remaining: int, order: str) -> bool:
    """Whether the bytes after the declared samples are samples, too: no further chunk, no tag, no padding."""
    if not any(rest) or rest.startswith(_TAGS):
        return False
    for chunk in (rest[:8], rest[1:9]):  # after an odd length, a chunk begins a byte later
        if all(32 <= byte < 127 for byte in chunk[:4]) and struct.unpack(order + "4xI", chunk)[0] <= remaining + 64:
            return False
    return True


def _check_sphere(stream: BinaryIO, size: int, name: str) -> None:
    """Read the "field -type value" lines of a SPHERE header."""
    stream.seek(0)
    lines = stream.read(1024).decode("latin-1").splitlines()
    fields = {parts[0]: parts[2] for line in lines if len(parts := line.split(maxsplit=2)) == 3}
    if "shorten" in fields.get("sample_coding", ""):
        raise BadAudio(f"{name} is a SPHERE file compressed with shorten: convert it to wav with sph2pipe.")
    try:
        header = int(lines[1])
        rate = int(fields.get("sample_rate", "-1"))
        promised = int(fields["sample_count"]) * int(fields["channel_count"]) * int(fields["sample_n_bytes"])
    except (KeyError, IndexError, ValueError):
        return  # an unusual header: libsndfile is the judge
    if rate == 0:
        raise BadAudio(f"{name} says in its header that its sampling rate is 0 Hz: write it again.")
    if size - header < promised:
        raise BadAudio(_truncated(name, promised, size - header), "truncated")


def _check_voc(stream: BinaryIO, size: int, name: str) -> None:
    """Walk the blocks of a Creative Voice file, each with a length of three bytes, up to the terminator."""
    stream.seek(20)
    position = int.from_bytes(stream.read(2), "little")
    for _ in range(_MAX_CHUNKS):
        stream.seek(position)
        header = stream.read(4)
        if len(header) < 4:
            return  # a terminator is one byte, and some writers leave it out
        length = int.from_bytes(header[1:], "little")
        if header[0] == 0:
            return
        if position + 4 + length > size:
            raise BadAudio(_truncated(name, length, size - position - 4), "truncated")
        position += 4 + length


def _check_ogg(stream: BinaryIO, size: int, name: str) -> None:
    """Look for the last page of an Ogg file, which is whole and marked as the last one."""
    stream.seek(max(0, size - _OGG_TAIL))
    tail = stream.read(_OGG_TAIL)
    place = tail.rfind(b"OggS")
    header = tail[place : place + _OGG_HEADER]
    if place >= 0 and len(header) == _OGG_HEADER and header[5] & _OGG_LAST_PAGE:
        segments = tail[place + _OGG_HEADER : place + _OGG_HEADER + header[26]]
        if place + _OGG_HEADER + len(segments) + sum(segments) <= len(tail) and len(segments) == header[26]:
            return
    raise BadAudio(f"{name} is truncated: its last page is missing or incomplete; get it again.", "truncated")


def _check_length(promised: int, present: int, name: str) -> None:
    if present < promised and not _is_unknown(promised):
        raise BadAudio(_truncated(name, promised, present), "truncated")


def _is_unknown(length: int) -> bool:
    return any(length in lengths for lengths in _LENGTHS_UNKNOWN)


def _truncated(name: str, promised: int, present: int) -> str:
    return f"{name} is truncated: its header promises {promised} bytes, it holds {max(present, 0)}; get it again."
