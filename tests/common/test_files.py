from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from hf_speech.common import files
from hf_speech.common.files import FileError, replacing, replacing_all, write_json, write_text


def test_creates_parent_folders(tmp_path: Path) -> None:
    write_json(tmp_path / "a" / "b.json", {"ü": [1]})
    assert (tmp_path / "a" / "b.json").read_bytes() == '{\n  "ü": [\n    1\n  ]\n}\n'.encode()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.json"]


def test_file_permissions_follow_the_umask(tmp_path: Path) -> None:
    previous = os.umask(0o027)
    try:
        write_text(tmp_path / "a.txt", "x")
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o640
    (tmp_path / "a.txt").chmod(0o604)
    write_text(tmp_path / "a.txt", "y")
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o604


def test_keeps_the_old_file_after_an_error(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")

    def fail() -> None:
        with replacing(tmp_path / "a.txt") as part:
            part.write_text("half", encoding="utf-8")
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        fail()
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_one_sentence_error_for_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "replace", full)
    with pytest.raises(FileError, match="the disk is full: free some space"):
        write_text(tmp_path / "a.txt", "x")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_writes_all_files_of_a_group_or_none(tmp_path: Path, failing: int) -> None:
    paths = [tmp_path / name for name in ("a.json", "b.csv", "c.png")]
    write_text(paths[1], "old")

    def write(fail: bool) -> None:
        with replacing_all(*paths) as parts:
            for number, part in enumerate(parts):
                with replacing(part) as inner:  # As a library does that takes a path.
                    if fail and number == failing:
                        raise OSError(28, "No space left on device")
                    inner.write_text("new")

    with pytest.raises(FileError, match=rf"{paths[failing].name}' cannot be written: the disk is full"):
        write(fail=True)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("b.csv", "old")]
    write(fail=False)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {path.name: "new" for path in paths}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("folder", "it is a folder"),
        ("file/below", "a part of its path is a file"),
        ("x" * 300, "its name is too long"),
        ("loop/x", "a broken link"),
        ("a\0b", "null"),
    ],
)
def test_rejects_targets_that_cannot_be_files(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(FileError, match=reason):
        write_text(tmp_path / name, "x")


@pytest.mark.parametrize(("name", "suffix"), [("model.onnx", ".onnx"), ("samples.npy", ".npy"), ("LICENSE", ".part")])
def test_the_temporary_file_has_the_suffix_of_the_target(tmp_path: Path, name: str, suffix: str) -> None:
    """Libraries choose a format by the suffix, or append one that is missing."""
    with replacing(tmp_path / name) as part:
        assert part.suffix == suffix
        part.write_text("x")
    assert [path.name for path in tmp_path.iterdir()] == [name]
