"""Downloads and unpacks archives: downloads resume and are verified, and archives cannot write outside their folder.

This uses only the standard library; data on the Hub is loaded with `datasets` instead. A file is downloaded to `.part`
next to its target and renamed when it is complete, so an existing target is always complete.
"""

from __future__ import annotations

import http.client
import math
import os
import sys
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from hf_speech.common.digests import digest_file
from hf_speech.common.progress import progress_bar
from hf_speech.data.cache import build_once
from hf_speech.errors import CorpusError

if TYPE_CHECKING or sys.version_info >= (3, 12):
    import tarfile
else:  # tarfile in Python 3.11.0 to 3.11.3 has no filters that keep files inside the folder.
    from backports import tarfile

# Limits against archives that would fill the disk. Audio is compressed to a third of its size, transcripts to a tenth.
MAX_RATIO = 50
MIN_UNPACKED_BYTES = 100_000_000

ATTEMPTS = 4
TIMEOUT_SECONDS = 30.0
_CHUNK_BYTES = 1 << 18
_ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")


class _Interrupted(Exception):
    """Raised when the connection breaks or the server is busy, so that another attempt may succeed."""


def download(
    url: str, target: Path, sha256: str | None = None, wait_seconds: float = 1.0, *, md5: str | None = None
) -> Path:
    """Downloads a file, and resumes an interrupted download.

    Args:
        url: The address (http, https or file).
        target: The path of the file. If it exists, nothing is downloaded.
        sha256: The expected SHA-256 digest in hexadecimal. A file with a different digest is removed.
        wait_seconds: Pause before the second attempt, doubled before each further one.
        md5: The expected MD5 digest, for files whose publisher gives no SHA-256.

    Returns:
        `target`.

    Raises:
        CorpusError: If the file cannot be downloaded, or has a different digest.
    """
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    for attempt in range(ATTEMPTS):
        try:
            _fetch(url, part)
            break
        except _Interrupted as error:
            if attempt + 1 == ATTEMPTS:
                raise CorpusError(f"{url} cannot be downloaded ({error}).") from error
            time.sleep(wait_seconds * 2**attempt)
    for algorithm, digest in (("sha256", sha256), ("md5", md5)):
        if digest is not None and (found := digest_file(part, algorithm)) != digest:
            part.unlink()
            raise CorpusError(
                f"{url} is not the file expected ({algorithm} {found}, not {digest}): it was removed, try again."
            )
    os.replace(part, target)
    return target


def is_archive(path: Path) -> bool:
    """Returns whether a path has the suffix of an archive that `extract` unpacks."""
    return path.name.lower().endswith(_ARCHIVE_SUFFIXES)


def extract(archive: Path, folder: Path, trusted: bool = False) -> Path:
    """Unpacks a zip or tar(.gz, .bz2, .xz) archive into a new folder atomically.

    Args:
        archive: The archive.
        folder: The new folder. If it exists, nothing is unpacked.
        trusted: Whether to skip the limit of the unpacked size.

    Raises:
        CorpusError: If the archive is damaged, would write outside the folder, or is far larger unpacked.
    """
    with build_once(folder) as part:
        if part is not None:
            unpack(archive, part, trusted)
    return folder


def unpack(archive: Path, folder: Path, trusted: bool = False) -> None:
    """Unpacks an archive into an existing folder; `extract` does so atomically."""
    max_bytes = math.inf if trusted else max(MAX_RATIO * archive.stat().st_size, MIN_UNPACKED_BYTES)
    try:
        if zipfile.is_zipfile(archive):
            _extract_zip(archive, folder, max_bytes)
        else:
            with tarfile.open(archive) as tar:
                tar.extractall(folder, _bounded(tar, archive, max_bytes), filter="data")
    except tarfile.FilterError as error:
        raise CorpusError(
            f"{archive} would write outside its folder ({error}): get it from a source that you trust."
        ) from error
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, zlib.error, LZMAError, RuntimeError) as error:
        raise CorpusError(f"{archive} cannot be unpacked ({error}): get it again.") from error


def _bounded(tar: tarfile.TarFile, archive: Path, max_bytes: float) -> Iterator[tarfile.TarInfo]:
    """Yields the members of an archive, and raises `CorpusError` once they exceed the maximum size."""
    total = 0
    for member in tar:
        total += member.size
        _check_size(archive, total, max_bytes)
        yield member


def _check_size(archive: Path, size: int, max_bytes: float) -> None:
    if size > max_bytes:
        raise CorpusError(
            f"{archive} has {archive.stat().st_size / 1e6:,.1f} MB and is more than {max_bytes / 1e6:,.0f} MB "
            "unpacked: if that is right, set trust_archive, or unpack it yourself."
        )


def _extract_zip(archive: Path, folder: Path, max_bytes: float) -> None:
    with zipfile.ZipFile(archive) as zipped:
        _check_size(archive, sum(member.file_size for member in zipped.infolist()), max_bytes)
        for name in zipped.namelist():
            # zipfile would silently strip these parts, but an archive that contains them cannot be trusted.
            if ".." in PurePosixPath(name.replace("\\", "/")).parts or name.startswith(("/", "\\")) or ":" in name[:2]:
                raise CorpusError(
                    f"{archive} would write outside its folder ({name!r}): get it from a source that you trust."
                )
        zipped.extractall(folder)


def _fetch(url: str, part: Path) -> None:
    """Downloads the rest of a file to `part`.

    Raises:
        _Interrupted: If another attempt may succeed.
        CorpusError: If no attempt can succeed.
    """
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
            resumes = have > 0 and _range_start(response) == have
            _write(response, part, have if resumes else 0)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # range not satisfiable: the part is complete, or longer than the file
            total = (error.headers.get("Content-Range") or "").rpartition("/")[2]
            if total != str(have):
                part.unlink(missing_ok=True)
                raise _Interrupted("the file on the server is shorter than the part downloaded before") from error
        elif error.code in (408, 425, 429) or error.code >= 500:
            raise _Interrupted(f"the server answers {error.code} {error.reason}") from error
        else:
            raise CorpusError(f"{url} cannot be downloaded ({error.code} {error.reason}).") from error
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        raise _Interrupted(str(getattr(error, "reason", None) or error or type(error).__name__)) from error


def _write(response: http.client.HTTPResponse, part: Path, offset: int) -> None:
    """Appends a response to the `offset` bytes of `part`, or overwrites `part` if the offset is 0."""
    length = response.headers.get("Content-Length")
    total = offset + int(length) if length else None
    with part.open("ab" if offset else "wb") as file:
        progress = progress_bar(
            desc=part.stem, initial=offset, total=total, unit="B", unit_scale=True, unit_divisor=1024
        )
        with progress:
            while block := response.read(_CHUNK_BYTES):
                file.write(block)
                progress.update(len(block))
            written = file.tell()
    if total is not None and written < total:  # a closed connection ends the response without an error
        raise _Interrupted(f"the connection broke after {written} of {total} bytes")


def _range_start(response: http.client.HTTPResponse) -> int:
    """Returns the first byte of a partial response, from "bytes 100-199/200", or -1 if it is not declared."""
    start = (response.headers.get("Content-Range") or "").removeprefix("bytes ").partition("-")[0]
    return int(start) if start.isdigit() else -1
