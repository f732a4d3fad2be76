"""Uploads: lookup, storage limits, and erasure."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture
def module(space_module: Callable[[str, str], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "temporary"))
    return space_module("classify", "uploads")


@pytest.fixture
def uploads(module: ModuleType, tmp_path: Path) -> Any:
    (tmp_path / "uploads").mkdir()
    return module.Uploads(keep_seconds=60, max_bytes=1000, root=tmp_path / "uploads")


def add(uploads: Any, name: str = "a.wav", content: bytes = b"sound") -> str:
    return str(uploads.add(name, io.BytesIO(content)).path)


def files(uploads: Any) -> list[Path]:
    return [path for path in uploads.root.rglob("*") if path.is_file()]


def age(path: Path, seconds: float) -> None:
    os.utime(path, (time.time() - seconds,) * 2)


def test_makes_a_new_folder_for_gradio(module: ModuleType, tmp_path: Path) -> None:
    assert module.ROOT.parent == tmp_path / "temporary"
    assert os.environ["GRADIO_TEMP_DIR"] == str(module.ROOT)


def test_finds_uploads_only_by_exact_path(uploads: Any) -> None:
    path = add(uploads)
    assert uploads.find(path).name == "a.wav"
    assert Path(path).read_bytes() == b"sound"
    folder = str(Path(path).parent)
    (uploads.root / "other").write_text("not an upload")
    for other in (
        *(folder, str(uploads.root), f"{folder}/../{Path(folder).name}/sound.wav", f"{folder}//sound.wav"),
        *(str(uploads.root / "other"), "/etc/passwd", "", None, 5, ["x"], {"path": path}, path + "\0"),
    ):
        assert uploads.find(other) is None


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a b.flac", "a b.flac"),
        ("../../etc/passwd", "passwd"),
        ("C:\\x\\y.mp3", "y.mp3"),
        ("\x1b[2Jred\u202e.wav", "[2Jred.wav"),
        ("\ud800\ufeff\x00", "sound"),
        ("..", "sound"),
        ("", "sound"),
        ("שלום.ogg", "שלום.ogg"),
        ("<img src=x>.wav", "<img src=x>.wav"),  # text, which page.js never makes markup
    ],
)
def test_file_names_of_visitors_are_only_shown(uploads: Any, name: str, shown: str) -> None:
    upload = uploads.add(name, io.BytesIO(b"x"))
    assert upload.name == shown
    assert upload.path.parent.parent == uploads.root
    assert upload.path.stem == "sound"
    assert upload.path.suffix in ("", ".flac", ".mp3", ".wav", ".ogg")
    assert len(uploads.add("x" * 5000 + ".wav", io.BytesIO(b"x")).name) <= 100


def test_erases_uploads_of_a_closed_page(uploads: Any, tmp_path: Path) -> None:
    mine, common = add(uploads), add(uploads)
    (tmp_path / "seven.flac").write_bytes(b"example")
    example = uploads.add_example(tmp_path / "seven.flac")
    for page, path in (("here", mine), ("here", common), ("there", common), ("here", example), ("here", None)):
        uploads.use(page, path)
    uploads.close_page("here")
    assert not Path(mine).parent.exists()
    assert uploads.find(mine) is None
    assert Path(common).exists()  # another page still uses it
    assert Path(example).exists()
    uploads.close_page("there")
    assert not Path(common).exists()
    uploads.close_page("there")  # has no effect a second time
    uploads.use(None, common)
    uploads.close_page(None)
    assert files(uploads) == [Path(example)]


def test_erases_only_uploads(uploads: Any, tmp_path: Path) -> None:
    """Visitors can claim that any path is the sound."""
    other, mine = Path(add(uploads)), Path(add(uploads))
    outside = tmp_path / "outside" / "precious"
    outside.parent.mkdir()
    outside.write_text("precious")
    link = mine.parent / "link.wav"
    link.symlink_to(outside)
    for claim in (
        *(uploads.root, uploads.root.parent, mine.parent, other.parent, outside, outside.parent, "/", "."),
        *(link, f"{mine.parent}/../{other.parent.name}/sound.wav", "", uploads.root / "nowhere"),
    ):
        uploads.use("visitor", str(claim))
    uploads.close_page("visitor")
    assert all(path.is_file() for path in (other, mine, outside))
    uploads.use("visitor", str(mine))
    mine.unlink()
    mine.symlink_to(outside)  # a path can become something else after it was noted
    uploads.close_page("visitor")
    assert outside.read_text() == "precious"


def test_sweeps_only_old_files(uploads: Any, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("precious")
    (tmp_path / "seven.flac").write_bytes(b"example")
    example, new = Path(uploads.add_example(tmp_path / "seven.flac")), Path(add(uploads))
    uploads.keep_seconds = 0.05
    old = Path(add(uploads))
    time.sleep(0.1)
    uploads.keep_seconds = 60
    uploads._table[str(old)] = uploads._table[str(old)].__class__(old, "a", 1, time.monotonic() - 61)
    # Files and folders that gradio, or an upload that was broken off, left behind.
    left, empty, young = uploads.root / "left" / "file", uploads.root / "empty", uploads.root / "young"
    for folder in (left.parent, empty, young):
        folder.mkdir()
    left.write_text("x")
    (uploads.root / "link").symlink_to(outside)
    for path in (left, left.parent, empty, outside, outside / "file", example):
        age(path, 100)
    os.utime(uploads.root / "link", (time.time() - 100,) * 2, follow_symlinks=False)
    uploads.sweep()
    assert not old.exists()
    assert not left.exists()
    assert not empty.exists()
    assert young.is_dir()
    assert new.is_file()
    assert example.is_file()
    assert (outside / "file").read_text() == "precious"
    for folder in uploads.root.iterdir():
        age(folder, 100)
    uploads.sweep()
    assert not left.parent.exists()
    assert uploads.root.is_dir()


def test_limits_the_total_size_and_erases_the_oldest_first(uploads: Any, tmp_path: Path) -> None:
    (tmp_path / "seven.flac").write_bytes(bytes(5000))
    example = uploads.add_example(tmp_path / "seven.flac")
    paths = [add(uploads, content=bytes(300)) for _ in range(10)]
    assert [uploads.find(path) is not None for path in paths] == [False] * 7 + [True] * 3
    assert {str(path) for path in files(uploads)} == {*paths[-3:], example}
    big = add(uploads, content=bytes(3000))  # larger than all: stored alone, for a request is bounded already
    assert {str(path) for path in files(uploads)} == {big, example}
    assert len(list(uploads.root.iterdir())) == 2


def test_erases_all_of_two_thousand_uploads(uploads: Any) -> None:
    uploads.max_bytes = 1e9
    for index in range(2000):
        path = add(uploads, f"{index}.wav", b"sound")
        uploads.use(f"page {index % 50}", path)
        if index % 3 == 0:
            uploads.close_page(f"page {index % 50}")
    uploads.keep_seconds = -1.0
    uploads.sweep()
    uploads.sweep()
    assert list(uploads.root.iterdir()) == []
    assert not uploads._table
    assert not uploads._pages
