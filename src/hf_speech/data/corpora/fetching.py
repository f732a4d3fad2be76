"""Downloads and verifies archives of corpora, and unpacks them into the cache."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from hf_speech.common.digests import digest_files
from hf_speech.data.cache import build_once, cache_dir
from hf_speech.data.corpora.files import unwrap
from hf_speech.data.download import download, unpack
from hf_speech.errors import CorpusError


def fetch_archive(
    title: str,
    name: str,
    urls: Sequence[str],
    *,
    sha256: str | None = None,
    md5: str | None = None,
    verify: Callable[[Path], None] | None = None,
) -> Path:
    """Downloads and unpacks an archive into the cache, unless it is there already.

    Args:
        title: The name of the corpus in error messages, with its article.
        name: The folder of the corpus in the cache.
        urls: Addresses of the archive, which are tried in order.
        sha256: SHA-256 of the archive in hexadecimal, if known.
        md5: MD5 of the archive, if its publisher gives no SHA-256.
        verify: Raises `CorpusError` if the unpacked folder is not the expected corpus, for archives without a fixed
            digest.

    Returns:
        The folder of the corpus.

    Raises:
        CorpusError: If the archive cannot be downloaded or unpacked, or is not the expected corpus.
    """
    folder = cache_dir() / name
    with build_once(folder) as part:
        if part is not None:
            archive = _download(title, name, urls, sha256, md5)
            try:
                unpack(archive, part)
                if verify is not None:
                    verify(unwrap(part))
            except CorpusError:
                archive.unlink()  # so that the next attempt downloads it again
                raise
            archive.unlink()
    return unwrap(folder)


def content_digest(files: Iterable[Path]) -> str:
    """Returns the SHA-256 of the names and contents of files, in the order of their names."""
    return digest_files(sorted(files, key=lambda path: path.name))


def _download(title: str, name: str, urls: Sequence[str], sha256: str | None, md5: str | None) -> Path:
    """Downloads an archive from the first address that works."""
    reasons: list[str] = []
    for url in urls:
        # The corpus is part of the name, since many archives are called master.zip or download.zip.
        archive = cache_dir() / "downloads" / f"{name.replace('/', '-')}-{url.rpartition('/')[2]}"
        try:
            return download(url, archive, sha256, md5=md5)
        except CorpusError as error:
            reasons.append(str(error).rstrip("."))
    raise CorpusError(
        f"{title} is not on this machine, and {', and '.join(reasons)}: get it elsewhere, and give its folder or "
        "archive as --data_dir."
    )
