"""The loopback Hub's Xet storage: a folder that hf_xet itself reads and writes.

With `local:///folder` as the address of its storage, hf_xet stores chunks and shards in that folder instead of
uploading them. Commits identify a file by its SHA-256, hf_xet by its Xet hash, and shards contain both. A shard is a
header of 48 bytes and records of 48 bytes: for each file, one with its Xet hash, one per segment, another one per
segment if it has verification data (bit 31 of its flags), and one with the SHA-256 (bit 30). Hashes are four
little-endian words.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

RECORD = 48
END = b"\xff" * 32
HAS_VERIFICATION, HAS_SHA256 = 1 << 31, 1 << 30


class XetFile(NamedTuple):
    """A file in Xet storage."""

    xet_hash: str
    sha256: str
    size: int


class XetStorage:
    """Xet storage in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        """The address for clients."""
        return f"local://{self.folder}"

    def files(self) -> dict[str, XetFile]:
        """Returns every file that was ever uploaded, by its SHA-256."""
        found = (file for shard in self.folder.rglob("shards/*.mdb") for file in parse_shard(shard.read_bytes()))
        return {file.sha256: file for file in found}

    def read(self, sha256: str) -> bytes:
        """Returns the content of a file, assembled by hf_xet.

        Raises:
            KeyError: If the file does not exist.
        """
        import hf_xet

        file = self.files()[sha256]
        group = hf_xet.XetSession().new_download_stream_group(endpoint=self.url)
        return b"".join(bytes(part) for part in group.download_stream(hf_xet.XetFileInfo(file.xet_hash, file.size)))


def parse_shard(content: bytes) -> list[XetFile]:
    """Yields the files in a shard with their SHA-256."""
    files, position = [], RECORD
    while (record := content[position : position + RECORD])[:32] != END and len(record) == RECORD:
        flags, segments = struct.unpack_from("<II", record, 32)
        size = sum(
            struct.unpack_from("<I", content, position + RECORD * (1 + segment) + 36)[0] for segment in range(segments)
        )
        position += RECORD * (1 + segments * (2 if flags & HAS_VERIFICATION else 1))
        if flags & HAS_SHA256:
            files.append(XetFile(_hash(record), _hash(content[position:]), size))
            position += RECORD
    return files


def _hash(record: bytes) -> str:
    return "".join(f"{word:016x}" for word in struct.unpack_from("<4Q", record))
