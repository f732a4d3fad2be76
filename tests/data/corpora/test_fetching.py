"""Downloads of corpora: once, from the first working address, without leftovers of failed downloads."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

import pytest

from hf_speech.data.corpora.fetching import content_digest, fetch_archive
from hf_speech.errors import CorpusError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_SPEECH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    return tmp_path / "cache"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An archive with one folder and one file in it."""
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "a.txt").write_text("a")
    with tarfile.open(tmp_path / "corpus.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "corpus", "corpus")
    return tmp_path / "corpus.tar.gz"


def test_tries_the_next_address_if_one_fails(archive, cache):
    urls = ["http://127.0.0.1:9/corpus.tar.gz", archive.as_uri()]  # the discard port is closed
    folder = fetch_archive("The corpus", "some/corpus", urls)
    assert folder == cache / "some" / "corpus" / "corpus"
    assert (folder / "a.txt").read_text() == "a"
    archive.unlink()
    assert fetch_archive("The corpus", "some/corpus", urls) == folder
    assert not list((cache / "downloads").iterdir())


def test_error_lists_every_address(archive):
    urls = ["http://127.0.0.1:9/a.tar.gz", (archive.parent / "gone.tar.gz").as_uri()]
    with pytest.raises(CorpusError, match=r"^The corpus is not on.*:9/a\.tar.*and file.*gone\.tar.*--data_dir\.$"):
        fetch_archive("The corpus", "corpus", urls)


def test_rejects_and_removes_a_wrong_archive(archive, cache):
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    with pytest.raises(CorpusError, match="is not the file expected"):
        fetch_archive("The corpus", "corpus", [archive.as_uri()], sha256="0" * 64)
    assert not (cache / "corpus").exists()
    assert fetch_archive("The corpus", "corpus", [archive.as_uri()], sha256=digest).is_dir()


def test_rejects_and_removes_wrong_contents(archive, cache):
    def verify(folder: Path) -> None:
        assert (folder / "a.txt").is_file()
        raise CorpusError("not it")

    with pytest.raises(CorpusError, match="not it"):
        fetch_archive("The corpus", "corpus", [archive.as_uri()], verify=verify)
    assert not (cache / "corpus").exists()
    assert not list((cache / "downloads").iterdir())


def test_digest_depends_only_on_names_and_contents(tmp_path):
    files = {"a/x.wav": b"1", "b/y.wav": b"2"}
    for folder in ("first", "second"):
        for name, content in files.items():
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True)
            path.write_bytes(content)
    digest = content_digest(sorted((tmp_path / "first").rglob("*.wav")))
    assert digest == content_digest(sorted((tmp_path / "second").rglob("*.wav"), reverse=True))
    (tmp_path / "second" / "b" / "y.wav").rename(tmp_path / "second" / "b" / "z.wav")
    assert digest != content_digest((tmp_path / "second").rglob("*.wav"))
    (tmp_path / "first" / "b" / "y.wav").write_bytes(b"3")
    assert digest != content_digest((tmp_path / "first").rglob("*.wav"))


def test_accepts_md5_if_the_publisher_has_no_better_checksum(archive, cache):
    digest = hashlib.md5(archive.read_bytes()).hexdigest()
    with pytest.raises(CorpusError, match=r"is not the file expected \(md5 .*, not 0{32}\)"):
        fetch_archive("The corpus", "corpus", [archive.as_uri()], md5="0" * 32)
    assert not (cache / "corpus").exists()
    assert fetch_archive("The corpus", "corpus", [archive.as_uri()], md5=digest).is_dir()


def test_does_not_resume_from_a_partial_download_of_another_file(archive, tmp_path):
    """Two corpora whose archives have the same name; the first was interrupted before it was unpacked."""

    def interrupt(folder: Path) -> None:
        raise KeyboardInterrupt

    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / archive.name
    with tarfile.open(other, "w:gz") as tar:
        tar.add(tmp_path / "corpus" / "a.txt", "corpus/b.txt")
    with pytest.raises(KeyboardInterrupt):
        fetch_archive("The corpus", "first", [other.as_uri()], verify=interrupt)
    assert (fetch_archive("The corpus", "second", [archive.as_uri()]) / "a.txt").is_file()
