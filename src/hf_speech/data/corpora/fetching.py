"""Corpora that can be downloaded: an archive into the cache, once, and verified before anything trains on it."""

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
    """Download and unpack an archive into the cache, once.

    Args:
        title: What an error calls the corpus, with its article.
        name: Name of its folder in the cache.
        urls: Addresses of the archive, of which the first that answers is taken.
        sha256: Digest of the archive in hexadecimal, where it is known.
        md5: The same, where its publisher gives no better one.
        verify: Looks at the unpacked folder and raises a CorpusError if it is not the corpus expected, where the bytes
            of the archive are not known.

    Returns:
        The folder of the corpus.

    Raises:
        CorpusError: If it cannot be downloaded or unpacked, or is not the corpus expected.
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
                archive.unlink()  # it would be in the way of the next attempt
                raise
            archive.unlink()
    return unwrap(folder)


def content_digest(files: Iterable[Path]) -> str:
    """SHA-256 over the names and contents of files, in the order of their names."""
    return digest_files(sorted(files, key=lambda path: path.name))


def _download(title: str, name: str, urls: Sequence[str], sha256: str | None, md5: str | None) -> Path:
    """Download an archive from the first address that gives it."""
    reasons: list[str] = []
    for url in urls:
        # Many archives are called master.zip or download.zip: what is left of one must not be taken for another.
        archive = cache_dir() / "downloads" / f"{name.replace('/', '-')}-{url.rpartition('/')[2]}"
        try:
            return download(url, archive, sha256, md5=md5)
        except CorpusError as error:
            reasons.append(str(error).rstrip("."))
    raise CorpusError(
        f"{title} is not on this machine, and {', and '.join(reasons)}: get it elsewhere, and give its folder or "
        "archive as --data_dir."
    )
