"""Cached folders are made once, completely or not at all."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from hf_speech.data.cache import build_once, cache_dir
from hf_speech.errors import CorpusError


def test_cache_folder_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_SPEECH_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.delenv("HF_SPEECH_CACHE")
    monkeypatch.setenv("HOME", "/home/anna")
    assert cache_dir() == Path("/home/anna/.cache/hf_speech")


def test_makes_a_folder_once(tmp_path):
    for expected in (True, False):
        with build_once(tmp_path / "deep" / "corpus") as part:
            assert (part is not None) is expected
            if part is not None:
                assert not (tmp_path / "deep" / "corpus").exists()
                (part / "a").write_text("a")
    assert (tmp_path / "deep" / "corpus" / "a").read_text() == "a"


def test_a_failure_leaves_no_files(tmp_path):
    def interrupted() -> None:
        with build_once(tmp_path / "corpus") as part:
            (part / "a").write_text("a")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".lock"] == []


def test_removes_files_of_a_killed_run(tmp_path):
    (tmp_path / "corpus.part").mkdir()
    (tmp_path / "corpus.part" / "half").write_text("x")
    with build_once(tmp_path / "corpus") as part:
        assert list(part.iterdir()) == []


def test_other_processes_wait_for_the_first(tmp_path):
    made = []

    def build() -> None:
        with build_once(tmp_path / "corpus") as part:
            if part is not None:
                threading.Event().wait(0.05)
                made.append(part)

    threads = [threading.Thread(target=build) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1


def test_one_sentence_error_for_a_read_only_cache(tmp_path):
    (tmp_path / "file").write_text("x")
    with (
        pytest.raises(CorpusError, match=r"cannot be written.*HF_SPEECH_CACHE"),
        build_once(tmp_path / "file" / "corpus"),
    ):
        pass
