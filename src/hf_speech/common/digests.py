"""Digests of content, of files and of plain data: SHA-256, in hexadecimal."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def digest_bytes(content: bytes) -> str:
    """SHA-256 of bytes, 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def digest_file(path: str | Path, algorithm: str = "sha256") -> str:
    """Digest of a file's content, read in blocks."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def digest_data(*values: Any) -> str:
    """SHA-256 of values that JSON can write; the order of a mapping's keys does not matter."""
    return digest_bytes(json.dumps(values, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass"))


def digest_files(files: Iterable[Path]) -> str:
    """SHA-256 of the names and contents of files, in the order given."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode("utf-8", "surrogateescape") + b"\0" + bytes.fromhex(digest_file(file)))
    return digest.hexdigest()
