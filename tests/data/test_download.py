"""Downloads from a faulty server, and archives that would write outside their folder."""

from __future__ import annotations

import hashlib
import io
import re
import shutil
import tarfile
import zipfile
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from hf_speech.data import download as module
from hf_speech.data.download import download, extract, is_archive
from hf_speech.errors import CorpusError

CONTENT = bytes(range(256)) * 4096  # 1 MiB
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def content(server: ThreadingHTTPServer) -> None:
    server.content = CONTENT


def get(server: ThreadingHTTPServer, tmp_path: Path, sha256: str | None = DIGEST) -> bytes:
    target = download(server.url, tmp_path / "new" / "corpus.tar.gz", sha256, wait_seconds=0)
    assert not list(target.parent.glob("*.part"))
    return target.read_bytes()


@pytest.mark.parametrize("says_length", [True, False])
def test_downloads_a_file(server, tmp_path, says_length):
    server.says_length = says_length
    assert get(server, tmp_path) == CONTENT


def test_does_not_download_existing_files(server, tmp_path):
    get(server, tmp_path)
    get(server, tmp_path)
    assert server.requests == [None]


def test_resumes_a_broken_connection(server, tmp_path):
    server.breaks = 2
    assert get(server, tmp_path) == CONTENT
    third = len(CONTENT) // 3
    assert server.requests == [None, f"bytes={third}-", f"bytes={third + (len(CONTENT) - third) // 3}-"]


def test_starts_over_with_a_server_without_ranges(server, tmp_path):
    server.breaks, server.knows_ranges = 1, False
    assert get(server, tmp_path) == CONTENT
    assert len(server.requests) == 2


def test_does_not_append_a_wrong_range(server, tmp_path):
    server.breaks, server.shift = 1, 5
    with pytest.raises(CorpusError, match="is not the file expected"):
        get(server, tmp_path)  # the answer is taken for a whole file, and the digest finds that it is none


@pytest.mark.parametrize("sha256", [DIGEST, None])
def test_continues_an_earlier_download(server, tmp_path, sha256):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "corpus.tar.gz.part").write_bytes(CONTENT[:1000])
    assert get(server, tmp_path, sha256) == CONTENT
    assert server.requests == ["bytes=1000-"]


def test_uses_a_complete_partial_file(server, tmp_path):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "corpus.tar.gz.part").write_bytes(CONTENT)
    assert get(server, tmp_path) == CONTENT
    assert server.requests == [f"bytes={len(CONTENT)}-"]


def test_starts_over_if_the_partial_file_is_too_long(server, tmp_path):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "corpus.tar.gz.part").write_bytes(CONTENT + b"more")
    assert get(server, tmp_path) == CONTENT
    assert server.requests == [f"bytes={len(CONTENT) + 4}-", None]


def test_rejects_and_removes_a_corrupted_file(server, tmp_path):
    server.content = CONTENT[:-1] + b"?"
    with pytest.raises(CorpusError, match=rf"{server.url} is not the file expected"):
        get(server, tmp_path)
    assert list((tmp_path / "new").iterdir()) == []


def test_retries_a_busy_server(server, tmp_path):
    server.busy = module.ATTEMPTS - 1
    assert get(server, tmp_path) == CONTENT
    server.busy = module.ATTEMPTS
    with pytest.raises(CorpusError, match="the server answers 503"):
        download(server.url, tmp_path / "other", wait_seconds=0)


def test_does_not_retry_a_missing_file(server, tmp_path):
    with pytest.raises(CorpusError, match=r"/gone cannot be downloaded \(404"):
        download(server.url.replace("corpus.tar.gz", "gone"), tmp_path / "gone", wait_seconds=0)
    assert len(server.requests) == 1


def test_one_sentence_error_without_a_server(tmp_path):
    with pytest.raises(CorpusError, match=r"cannot be downloaded .*refused"):
        download("http://127.0.0.1:9/x", tmp_path / "x", wait_seconds=0)


@pytest.mark.parametrize("kind", ["zip", "tar", "gztar", "bztar", "xztar"])
def test_unpacks_archives_of_every_kind(tmp_path, kind):
    (tmp_path / "corpus" / "low").mkdir(parents=True)
    (tmp_path / "corpus" / "low" / "a.wav").write_bytes(b"sound")
    archive = Path(shutil.make_archive(str(tmp_path / "archive"), kind, tmp_path, "corpus"))
    assert is_archive(archive)
    folder = extract(archive, tmp_path / "out")
    assert (folder / "corpus" / "low" / "a.wav").read_bytes() == b"sound"
    archive.unlink()
    assert extract(archive, folder) == folder, "what is unpacked needs its archive no more"


@pytest.mark.parametrize("name", ["../evil.wav", "low/../../evil.wav", "/evil.wav"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_cannot_write_outside_its_folder(tmp_path, kind, name):
    archive = tmp_path / f"evil.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as zipped:
            zipped.writestr(name, b"evil")
    else:
        with tarfile.open(archive, "w") as tar:
            member = tarfile.TarInfo(name)
            member.size = 4
            tar.addfile(member, io.BytesIO(b"evil"))
    if (kind, name) == ("tar", "/evil.wav"):  # the tar filter removes the slash
        assert (extract(archive, tmp_path / "out" / "in") / "evil.wav").read_bytes() == b"evil"
    else:
        with pytest.raises(CorpusError, match=rf"evil\.{kind} would write outside its folder"):
            extract(archive, tmp_path / "out" / "in")
        assert not (tmp_path / "out" / "in").exists()
    assert not list(tmp_path.glob("evil.wav"))
    assert not list(tmp_path.glob("out/evil.wav"))
    assert not Path("/evil.wav").exists()


def test_rejects_a_link_out_of_an_archive(tmp_path):
    with tarfile.open(tmp_path / "evil.tar", "w") as tar:
        member = tarfile.TarInfo("link")
        member.type, member.linkname = tarfile.SYMTYPE, "../../secret"
        tar.addfile(member)
    with pytest.raises(CorpusError, match="would write outside its folder"):
        extract(tmp_path / "evil.tar", tmp_path / "out")


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.tar.xz", "a.tar.bz2"])
@pytest.mark.parametrize("damage", ["cut", "text"])
def test_rejects_a_damaged_archive_and_leaves_nothing(tmp_path, name, damage):
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "a.wav").write_bytes(CONTENT)
    kind = {"a.zip": "zip", "a.tar.gz": "gztar", "a.tar.xz": "xztar", "a.tar.bz2": "bztar"}[name]
    archive = Path(shutil.make_archive(str(tmp_path / "a"), kind, tmp_path, "corpus"))
    archive.write_bytes(b"text" if damage == "text" else archive.read_bytes()[:-200])
    with pytest.raises(CorpusError, match=f"{re.escape(name)} cannot be unpacked"):
        extract(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob("*.part"))


class Zeros(io.RawIOBase):
    """Bytes that compress a thousandfold."""

    def __init__(self, size: int) -> None:
        self.left = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        count = min(len(buffer), self.left)
        buffer[:count] = bytes(count)
        self.left -= count
        return count


def bomb(path: Path, size: int) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as zipped:
            for half in "ab":
                with zipped.open(f"{half}.bin", "w") as file:
                    shutil.copyfileobj(Zeros(size // 2), file, 1 << 20)
        return path
    with tarfile.open(path, f"w:{path.suffix[1:]}") as tar:
        for half in "ab":
            member = tarfile.TarInfo(f"{half}.bin")
            member.size = size // 2
            tar.addfile(member, io.BufferedReader(Zeros(size // 2)))
    return path


@pytest.mark.parametrize("name", ["bomb.zip", "bomb.tar.gz", "bomb.tar.bz2", "bomb.tar.xz"])
def test_rejects_a_zip_bomb(tmp_path, monkeypatch, name):
    monkeypatch.setattr(module, "MIN_UNPACKED_BYTES", 1_000_000)
    archive = bomb(tmp_path / name, 20_000_000)
    with pytest.raises(CorpusError, match=r"has 0\.\d MB and is more than .* MB unpacked: .*set trust_archive"):
        extract(archive, tmp_path / "unpacked")
    assert not list(tmp_path.glob("unpacked*/*"))
    assert sum(file.stat().st_size for file in extract(archive, tmp_path / "trusted", trusted=True).iterdir()) == 2e7
