"""SHA-256 digests of bytes, files and plain data, in hexadecimal."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def digest_bytes(content: bytes) -> str:
    """Returns the SHA-256 of bytes as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def digest_file(path: str | Path, algorithm: str = "sha256") -> str:
    """Returns the digest of a file's content, which is read in blocks."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def digest_data(*values: Any) -> str:
    """Returns the SHA-256 of JSON-serializable values, regardless of the order of a mapping's keys."""
    return digest_bytes(json.dumps(values, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass"))


def digest_files(files: Iterable[Path]) -> str:
    """Returns the SHA-256 of the names and contents of files, in the given order."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode("utf-8", "surrogateescape") + b"\0" + bytes.fromhex(digest_file(file)))
    return digest.hexdigest()
