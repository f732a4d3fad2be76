"""What the header of a sound file promises, checked against the file before a decoder believes it.

libsndfile reads a truncated wav or SPHERE file without a word and gives the samples that are left; a model
would be trained on half words. Of a text file, an empty file and an AAC recording alike it says "Format not
recognized". So the few header fields that tell these apart are read here before decoding.

References: "Multimedia Programming Interface and Data Specifications 1.0" (RIFF/WAVE, 1991); "Audio Interchange File
Format" 1.3 (AIFF, 1989); NIST SPHERE 2.7.
"""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

from hf_speech.errors import AudioError


class BadAudio(AudioError):
    """A sound that cannot be used, and what kind of defect that is.

    Attributes:
        kind: "missing", "empty", "truncated", "not finite", "too short" or "unreadable"; `inspection` counts them.
    """

    def __init__(self, message: str, kind: str = "unreadable") -> None:
        super().__init__(message)
        self.kind = kind


# A wav written into a pipe does not know its length. ffmpeg writes 0xFFFFFFFF; sox, arecord and others nearly or just
# 2 GiB. It then lasts to the end of the file. Any other length is a promise, and 3 GB in a small file a broken one.
_LENGTHS_UNKNOWN = (range(0x7FFF0000, 0x80000001), range(0xFFFFFF00, 0x100000000))

# Chunks that may stand before the samples; in a gigabyte of zeros one would find a hundred million.
_MOST_CHUNKS = 1_000

# Beginnings of formats that FFmpeg reads and libsndfile does not.
_FFMPEG_FORMATS = (
    (4, b"ftyp", "an MP4/M4A (AAC)"),
    (0, b"\x1a\x45\xdf\xa3", "a WebM/Matroska"),
    (0, b"\x30\x26\xb2\x75", "a Windows Media (WMA)"),
    (0, b"#!AMR", "an AMR"),
    (0, b"\xff\xf1", "an AAC"),
    (0, b"\xff\xf9", "an AAC"),
)


def check_header(stream: BinaryIO, name: str) -> None:
    """Refuse what the header alone gives away: no bytes, no sampling rate, fewer bytes than promised.

    Args:
        stream: A seekable sound file, which is left at its beginning.
        name: What the error calls the file.

    Raises:
        BadAudio: If the file is empty, or is a wav, AIFF or SPHERE file that is truncated, has a sampling rate of
            0 Hz, or is compressed with shorten.
    """
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    if size == 0:
        raise BadAudio(f"{name} is an empty file (0 bytes): record or download it again.", "empty")
    magic = stream.read(12)
    if magic[:4] in (b"RIFF", b"RIFX") and magic[8:12] == b"WAVE":
        _check_wav(stream, size, name, "<" if magic[:4] == b"RIFF" else ">")
    elif magic[:4] == b"FORM" and magic[8:11] == b"AIF":
        promised = struct.unpack(">I", magic[4:8])[0]
        if size - 8 < promised and not _is_unknown(promised):
            raise BadAudio(_truncated(name, promised, size - 8), "truncated")
    elif magic[:7] == b"NIST_1A":
        _check_sphere(stream, size, name)
    stream.seek(0)


def describe_unknown(stream: BinaryIO) -> str:
    """Say what a file is that libsndfile does not recognize, as the end of a sentence "FILE is ...".

    Args:
        stream: A seekable file of any kind.
    """
    stream.seek(0)
    head = stream.read(16)
    for offset, magic, kind in _FFMPEG_FORMATS:
        if head[offset : offset + len(magic)] == magic:
            return f"{kind} file, which needs torchcodec and FFmpeg: install them, or convert it to wav or flac"
    return (
        f"not a sound file that libsndfile or FFmpeg knows (it begins with {head!r}): replace it by a wav, "
        "flac, ogg, opus, mp3 or SPHERE recording"
    )


def _check_wav(stream: BinaryIO, size: int, name: str, order: str) -> None:
    """Walk the chunks of a RIFF file up to its samples."""
    frame_bytes = 1
    for _ in range(_MOST_CHUNKS):
        if len(header := stream.read(8)) < 8:
            break
        chunk, length = struct.unpack(order + "4sI", header)
        if chunk == b"data":
            present = size - stream.tell()
            if present + frame_bytes <= length and not _is_unknown(length):
                raise BadAudio(_truncated(name, length, present), "truncated")
            return
        start = stream.tell()
        if chunk == b"fmt ":
            fields = stream.read(16)
            if len(fields) < 16:
                break
            _, _, rate, _, frame_bytes, _ = struct.unpack(order + "HHIIHH", fields)
            if rate == 0:
                raise BadAudio(f"{name} says in its header that its sampling rate is 0 Hz: write it again.")
        stream.seek(start + length + length % 2)  # chunks are padded to even lengths
    else:
        raise BadAudio(f"{name} is damaged: none of its first {_MOST_CHUNKS} chunks holds samples; get it again.")
    raise BadAudio(f"{name} is truncated: it ends before its samples begin (no data chunk); get it again.", "truncated")


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


def _is_unknown(length: int) -> bool:
    return any(length in lengths for lengths in _LENGTHS_UNKNOWN)


def _truncated(name: str, promised: int, present: int) -> str:
    return f"{name} is truncated: its header promises {promised} bytes, it holds {max(present, 0)}; get it again."
